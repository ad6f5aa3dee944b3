package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs/examples/internal/servers"
)

// The test binary is the command itself when this is set, so that it can be killed.
const asCommand = "SERVICE_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// Three processes on real servers, one of them killed with -9 and started again: every command has a final answer, the same wherever it is asked
// for, and all processes have the same in the end.
func TestKilledInstance(t *testing.T) {
	on := servers.ForTest(t)
	on.Shards, on.Session = 4, 6*time.Second
	t.Setenv(asCommand, "1")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var out bytes.Buffer
	err := demo(ctx, options{servers: on, phase: 2 * time.Second}, &out)
	t.Logf("\n%s", &out)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "nothing is lost, nothing counts twice") {
		t.Error("the demonstration ended early")
	}
}
