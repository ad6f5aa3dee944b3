package cqrstest

import (
	"os"
	"os/exec"
	"testing"

	"github.com/cqrs-server/cqrs"
)

// CheckAs is CheckDeterministic for a TB that stands for a real test.
func CheckAs(tb testing.TB, real *testing.T, where string, config cqrs.Config, happened []cqrs.Event, commands ...cqrs.Command) {
	c := checker{TB: tb, real: real, where: where}
	c.check(config, happened, commands)
}

// HostCanBeRenamed tells whether the system gives a process a host name of its own.
func HostCanBeRenamed() bool {
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	otherHost(cmd)
	return hostSpace() != "" && cmd.Run() == nil
}
