package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs/examples/internal/servers"
)

// On Kafka and DynamoDB the slice gives the table that it gives on local files, in one shard and in four, worked by one process and by three, and
// every process shows the same.
func TestSliceOnServers(t *testing.T) {
	for _, shards := range []int{1, 4} {
		for _, processes := range []int{1, 3} {
			t.Run(fmt.Sprintf("shards=%d/processes=%d", shards, processes), func(t *testing.T) {
				on := servers.ForTest(t)
				on.Shards = shards
				checkServed(t, on, processes)
			})
		}
	}
}

func checkServed(t *testing.T, on servers.Flags, processes int) {
	expect, dirs := expectFile(t), []string{t.TempDir()}
	workers := []*exec.Cmd{nil}
	for range processes - 1 {
		dir := t.TempDir()
		workers, dirs = append(workers, startWorker(t, on, dir)), append(dirs, dir)
	}
	table := ""
	for i, dir := range dirs {
		args := append(on.Args(), "-data", dir, "-expect", expect)
		if i == 0 {
			args = append(args, slice) // the others have read what this one sent
		} else {
			stopWorker(t, workers[i])
		}
		out := served(t, args...)
		if !strings.Contains(out, "as expected: 15 carriers") || table != "" && out != table {
			t.Errorf("process %d shows\n%sand the first one\n%s", i, out, table)
		}
		table = out
	}
	checkServedQuestions(t, append(on.Args(), "-data", dirs[0]))
}

// checkServedQuestions compares answers that come from all shards with those of local files.
func checkServedQuestions(t *testing.T, args []string) {
	local := filled(t)
	for _, question := range [][]string{
		{"-tail", "N14228"}, {"-origin", "EWR", "-day", "2013-01-01"}, {"-carrier", "UA"}, {"-asof", "2013-01-02"},
		{"-tail", "N14228", "-asof", "2013-01-02 12:00"},
	} {
		got, want := served(t, append(args, question...)...), ask(t, local, question...)
		if got != want {
			t.Errorf("%v:\n%sand on local files\n%s", question, got, want)
		}
	}
	const flight = "UA1545/2013-01-01/EWR"
	if got := lines(served(t, append(args, "-history", flight)...)); len(got) != 5 || !strings.HasSuffix(got[4], "flight/landed landed 2") {
		t.Errorf("the history: %q", got)
	}
}

func served(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := run(ctx, args, nil, &out, &errs); err != nil {
		t.Fatalf("%v: %v\n%s%s", args, err, &out, &errs)
	}
	return out.String()
}

// startWorker starts a process that works for the others.
func startWorker(t *testing.T, on servers.Flags, dir string) *exec.Cmd {
	t.Helper()
	cmd := process(append(on.Args(), "-data", dir, "-work")...)
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	text := bufio.NewReader(errs)
	for line := ""; line != "working\n"; {
		if line, err = text.ReadString('\n'); err != nil {
			t.Fatalf("the worker has ended: %v", cmd.Wait())
		}
	}
	go io.Copy(io.Discard, text)
	return cmd
}

func stopWorker(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("a worker that was told to end: %v", err)
	}
}

func TestBadServers(t *testing.T) {
	for want, args := range map[string][]string{
		"needs -kafka":  {"-work"},
		"takes no file": {"-work", "-kafka", "127.0.0.1:1", slice},
	} {
		err := run(t.Context(), append([]string{"-data", t.TempDir()}, args...), nil, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", args, err)
		}
	}
}
