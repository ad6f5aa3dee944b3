package cqrs_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/store"
	"github.com/cqrs-server/cqrs/workflow"
	"github.com/google/uuid"
)

func init() { children["kill"] = sendUntilKilled }

func decodeAdded(t *testing.T, e store.Event) (a added) {
	t.Helper()
	if err := json.Unmarshal(e.Data, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

// notes is a file of lines that a kill cannot take back: each is one write, to the system at once.
type notes struct{ file *os.File }

func openNotes(t *testing.T, path string) notes {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return notes{f}
}

// Flush makes it an output of a plan: it notes the t of each commit.
func (n notes) Flush(_ context.Context, segs []workflow.Segment) error {
	var b bytes.Buffer
	for _, s := range segs {
		fmt.Fprintln(&b, s.(*cqrs.Commit).T)
	}
	_, err := n.file.Write(b.Bytes())
	return err
}

// withAudit adds an output of the program's own, which is flushed after the commit.
func withAudit(cfg cqrs.Config, out workflow.Sink) cqrs.Config {
	plan := cqrs.DefaultPlan()
	plan.Workflow = append(plan.Workflow, workflow.Edge{From: "event/store", To: "audit"})
	plan.Catalog["audit"] = workflow.Task{Kind: workflow.Output, Out: out}
	cfg.Plan = &plan
	return cfg
}

const killSenders = 12

// sendUntilKilled sends from many goroutines, and notes each command once Send has taken it.
func sendUntilKilled(t *testing.T, dir string) {
	cfg := withAudit(counterConfig(), openNotes(t, filepath.Join(dir, "audit")))
	cfg.NoSync = false
	rt, _, _ := start(t, filepath.Join(dir, "data"), cfg)
	taken := openNotes(t, filepath.Join(dir, "taken"))
	failed := make(chan error)
	for range killSenders {
		go func() { failed <- sendForEver(rt, taken) }()
	}
	t.Fatal(<-failed)
}

func sendForEver(rt *cqrs.Runtime, taken notes) error {
	modes := []string{"", "", "", "", "reject", "reject-odd", "panic", "fold-error", "nothing", "many"}
	ctx := context.Background()
	for {
		c := add{Name: fmt.Sprint("n", rand.IntN(5)), By: rand.IntN(4) + 1, Mode: modes[rand.IntN(len(modes))]}
		id := uuid.New()
		if rand.IntN(2) == 0 {
			id = uuid.Must(uuid.NewV7())
		}
		r, err := rt.Send(ctx, c, cqrs.WithID(id))
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(taken.file, id); err != nil {
			return err
		}
		if err := followUp(ctx, rt, r, c); err != nil {
			return err
		}
	}
}

// followUp sends some commands again, or others under their ids, and waits for some.
func followUp(ctx context.Context, rt *cqrs.Runtime, r *cqrs.Receipt, c add) error {
	var err error
	switch n := rand.IntN(8); {
	case n == 0 && c.Mode != "panic":
		_, err = rt.Send(ctx, c, cqrs.WithID(r.ID))
	case n == 1 && c.Mode != "panic":
		_, err = rt.Send(ctx, add{Name: "other", By: 1000}, cqrs.WithID(r.ID))
	case n < 5:
		if _, err = r.Wait(ctx); isCommandError(err) {
			err = nil
		}
	}
	return err
}

func isCommandError(err error) bool {
	_, ok := errors.AsType[*cqrs.Error](err)
	return ok
}

// Invariants 1, 3, 8, 12 and 15: a process that is killed with -9 at any moment loses nothing that Send took, and does nothing twice.
func TestKilledWhileManySend(t *testing.T) {
	kills := 100
	if testing.Short() {
		kills = 10
	}
	dir, seed := t.TempDir(), uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range kills {
		killSender(t, dir, time.Duration(random.IntN(150))*time.Millisecond)
	}
	rt := quiet(t, filepath.Join(dir, "data"), withAudit(counterConfig(), openNotes(t, filepath.Join(dir, "audit"))))
	sent := readIDs(t, filepath.Join(dir, "taken"))
	accepted, refused, dead := checkEnded(t, rt, sent)
	figure(t, "kills of a folder on which many send", "%d; %d commands were taken: %d accepted, %d refused, %d dead letters", kills, len(sent),
		accepted, refused, dead)
	if accepted == 0 || refused == 0 || dead == 0 {
		t.Error("not every way to end was met")
	}
	checkAudit(t, rt, filepath.Join(dir, "audit"))
}

// killSender lets the child work until it has taken a command, and a while longer.
func killSender(t *testing.T, dir string, after time.Duration) {
	t.Helper()
	killChild(t, "kill", dir, after)
}

// killChild lets a child work until it has written to the file of what was taken, and a while longer.
func killChild(t *testing.T, name, dir string, after time.Duration) {
	t.Helper()
	taken := filepath.Join(dir, "taken")
	before := sizeOf(taken)
	var out bytes.Buffer
	cmd := asChild(exec.Command(os.Args[0], childArgs), name, dir)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	for ctx := patience(t); sizeOf(taken) == before; {
		select {
		case <-ended:
			t.Fatalf("the child ended by itself:\n%s", out.String())
		default:
			mustDeadline(t, ctx)
		}
	}
	select {
	case <-ended:
		t.Fatalf("the child ended by itself:\n%s", out.String())
	case <-time.After(after):
	}
	_ = cmd.Process.Kill()
	<-ended
}

func sizeOf(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// quiet opens a runtime, and runs it until nothing waits any more.
func quiet(t *testing.T, dir string, cfg cqrs.Config) *cqrs.Runtime {
	t.Helper()
	rt, _, _ := start(t, dir, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for rt.Health()[0].Backlog > 0 {
		mustDeadline(t, ctx)
	}
	mustDo(t, rt, add{Name: "last", By: 1})
	return rt
}

func readIDs(t *testing.T, path string) (ids []uuid.UUID) {
	t.Helper()
	return parseIDs(readLines(t, path))
}

func parseIDs(lines []string) (ids []uuid.UUID) {
	for _, line := range lines {
		ids = append(ids, uuid.MustParse(line))
	}
	return ids
}

func readLines(t *testing.T, path string) (lines []string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		lines = append(lines, s.Text())
	}
	return lines
}

// checkAudit: the output outside the file saw every commit, each for the first time in its order.
func checkAudit(t *testing.T, rt *cqrs.Runtime, path string) {
	t.Helper()
	var first []uint64
	again := 0
	saw := func() bool { return len(first) > 0 && first[len(first)-1] >= rt.View().T() }
	for ctx := patience(t); !saw(); mustDeadline(t, ctx) {
		first, again = nil, 0
		for _, line := range readLines(t, path) {
			n, err := strconv.ParseUint(line, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			if len(first) == 0 || n > first[len(first)-1] {
				first = append(first, n)
			} else {
				again++
			}
		}
	}
	for i, n := range first {
		if n != uint64(i+1) {
			t.Fatalf("the audit saw t %d after t %v", n, first[max(0, i-3):i])
		}
	}
	t.Logf("the audit saw t 1 to %d, %d of them again", len(first), again)
	if !slices.IsSorted(first) {
		t.Error("out of order")
	}
}
