package java

import "syscall"

// dieWithParent has a process killed when the thread that started it is gone. A process group of its own keeps an interrupt
// from the keyboard away from it, so that it outlives the tests that need it.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// EndWithParent has a process asked to end when the thread that started it is gone, on Linux. Elsewhere it does nothing.
func EndWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}
