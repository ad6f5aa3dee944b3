//go:build unix

package java

import (
	"os"
	"syscall"
)

func terminate(p *os.Process) { p.Signal(syscall.SIGTERM) }

func resume(p *os.Process) error { return p.Signal(syscall.SIGCONT) }
