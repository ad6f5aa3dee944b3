//go:build !linux

package java

import "syscall"

func dieWithParent() *syscall.SysProcAttr { return nil }

// EndWithParent has a process asked to end when the thread that started it is gone, on Linux. Elsewhere it does nothing.
func EndWithParent() *syscall.SysProcAttr { return nil }
