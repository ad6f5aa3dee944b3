package cqrstest

import (
	"os"
	"os/exec"
	"syscall"
)

// otherHost gives the process a name space of its own for the host's name.
func otherHost(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUTS | syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}},
	}
}

// hostSpace names the name space that the host's name is in.
func hostSpace() string {
	space, _ := os.Readlink("/proc/self/ns/uts") // without it the name is left alone
	return space
}

// renameHost is for a process in a name space of its own.
func renameHost(name string) { _ = syscall.Sethostname([]byte(name)) }
