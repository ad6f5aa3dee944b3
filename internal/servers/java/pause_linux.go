package java

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// pause waits until all threads of the process have stopped: those that run on another processor go on for a moment.
func pause(p *os.Process) error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for {
		err := unix.Waitid(unix.P_PID, p.Pid, nil, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return err
		}
	}
}
