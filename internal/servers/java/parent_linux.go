package java

import "syscall"

// DieWithParent has a process killed when the one that started it is gone. A process group of its own keeps an interrupt
// from the keyboard away from it, so that it outlives the tests that need it.
func DieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
