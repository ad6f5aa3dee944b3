package cqrs_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
)

const (
	childEnv  = "CQRS_TEST_CHILD"
	childArgs = "-test.run=^TestChild$"
	childDir  = "CQRS_TEST_CHILD_DIR"
)

// children are what this test binary does when it is started again as a process of its own, to be killed, or limited.
var children = map[string]func(t *testing.T, dir string){}

// TestChild is the child's side; in the parent it does nothing.
func TestChild(t *testing.T) {
	if child := children[os.Getenv(childEnv)]; child != nil {
		child(t, os.Getenv(childDir))
	}
}

// asChild makes a command the child of that name. (A command given as the last argument of another program is one, too.)
func asChild(cmd *exec.Cmd, name, dir string) *exec.Cmd {
	cmd.Env = append(os.Environ(), childEnv+"="+name, childDir+"="+dir)
	return cmd
}

// logOf gives all records of the first shard, after checking that t has no gap and that no command is there twice.
func logOf(t *testing.T, rt *cqrs.Runtime) (records []store.Record, at map[uuid.UUID]uint64) {
	t.Helper()
	at = map[uuid.UUID]uint64{}
	for r, err := range rt.Store().Log(context.Background(), 0, 1) {
		if err != nil {
			t.Fatal(err)
		}
		if r.T != uint64(len(records)+1) {
			t.Fatalf("t %d follows t %d", r.T, len(records))
		}
		if at[r.Command] != 0 {
			t.Fatalf("command %s is at t %d and at t %d", r.Command, at[r.Command], r.T)
		}
		at[r.Command] = r.T
		records = append(records, r)
	}
	return records, at
}

// checkLog compares what the file's parts say of the log: store, marks, position, digest and tables.
func checkLog(t *testing.T, rt *cqrs.Runtime) map[uuid.UUID]uint64 {
	t.Helper()
	records, at := logOf(t, rt)
	failed := cqrs.FailedFolds(t, rt)
	digest, last := rt.Shard(0).Digest()
	if last != uint64(len(records)) || digest != cqrs.DigestOf(records) {
		t.Errorf("%d records give the digest %x, and the shard has %x at t %d", len(records), cqrs.DigestOf(records), digest, last)
	}
	want := map[string]int{}
	for _, r := range records {
		if end, refused := cqrs.End(t, rt, r.Command); end != r.T || refused {
			t.Errorf("command %s is at t %d, and its mark says %d, %v", r.Command, r.T, end, refused)
		}
		for i, e := range r.Events {
			if e.Type != (added{}).EventType() {
				continue
			}
			a, lacks := decodeAdded(t, e), failed[[2]uint64{r.T, uint64(i)}]
			if lacks != strings.HasPrefix(a.Mode, "fold-") {
				t.Errorf("event %d of t %d, of mode %q: the aggregate lacks it: %v", i, r.T, a.Mode, lacks)
			}
			if !lacks {
				want[a.Name] += a.By
			}
		}
	}
	if n := rt.Health()[0].Failed; n != uint64(len(failed)) {
		t.Errorf("the aggregate lacks %d events, and Health says %d", len(failed), n)
	}
	for c, err := range counters.All(rt.View()) {
		if err != nil || c.Value != want[c.Name] {
			t.Errorf("counter %q is %d, and the log says %d (%v)", c.Name, c.Value, want[c.Name], err)
		}
		delete(want, c.Name)
	}
	for name, sum := range want {
		t.Errorf("counter %q is missing: the log says %d", name, sum)
	}
	return at
}

// checkEnded: each command that Send took ended in exactly one way: accepted, refused, or as a dead letter.
func checkEnded(t *testing.T, rt *cqrs.Runtime, sent []uuid.UUID) (accepted, refused, dead int) {
	t.Helper()
	letters, err := rt.DeadLetters(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	inLetters := map[uuid.UUID]int{}
	for _, l := range letters {
		if !l.Fold {
			inLetters[l.Command.ID]++
		}
	}
	at := checkLog(t, rt)
	for _, id := range sent {
		_, no := cqrs.End(t, rt, id)
		ways := inLetters[id]
		if at[id] > 0 {
			ways++
			accepted++
		}
		if no {
			ways++
			refused++
		}
		if dead += inLetters[id]; ways != 1 {
			t.Errorf("command %s: t %d, refused %v, %d dead letters", id, at[id], no, inLetters[id])
		}
	}
	return accepted, refused, dead
}

// checkFeedback: each command has its feedback, and each feedback says what the marks say. Of those whose feedback is trimmed nothing is known.
func checkFeedback(t *testing.T, rt *cqrs.Runtime, sent []uuid.UUID) {
	t.Helper()
	missing := map[uuid.UUID]bool{}
	for _, id := range sent {
		missing[id] = true
	}
	start, end := cqrs.FeedbackBounds(t, rt)
	if start == end && len(sent) == 0 {
		return
	}
	ctx := patience(t) // the last feedback may be on its way
	for f, err := range rt.Feedback(ctx, 0, start) {
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if at, _ := cqrs.End(t, rt, f.Command); f.Err == nil && at != f.T {
			t.Errorf("the feedback of command %s says t %d, and its mark t %d", f.Command, f.T, at)
		}
		if delete(missing, f.Command); f.Offset >= end-1 && int64(len(missing)) <= start {
			return
		}
	}
	t.Errorf("%d of %d commands have no feedback, and %d are trimmed", len(missing), len(sent), start)
}
