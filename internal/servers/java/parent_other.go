//go:build !linux

package java

import "syscall"

// DieWithParent has a process killed when the one that started it is gone, on Linux. Here it does nothing.
func DieWithParent() *syscall.SysProcAttr { return nil }
