package cqrs_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/queue"
	"github.com/google/uuid"

	boltqueue "github.com/cqrs-server/cqrs/queue/bolt"
)

// mute is a queue whose feedback does what a test says.
type mute struct {
	*boltqueue.Queue
	mu   sync.Mutex
	tell func(n int) error // called before each append, with its number from 1 on
	n    int
	deaf atomic.Bool // nobody learns where it ends
	hang atomic.Bool // no append comes to its end before its context
}

func (q *mute) Bounds(ctx context.Context, topic string, shard int) (start, end int64, err error) {
	if topic == "feedback" && q.deaf.Load() {
		return 0, 0, errors.New("injected: no answer")
	}
	return q.Queue.Bounds(ctx, topic, shard)
}

func (q *mute) Append(ctx context.Context, topic string, shard int, msgs []queue.Message) error {
	if topic == "feedback" {
		q.mu.Lock()
		q.n++
		n := q.n
		q.mu.Unlock()
		if err := q.tell(n); err != nil {
			return err
		}
		if q.hang.Load() {
			<-ctx.Done()
			return ctx.Err()
		}
	}
	return q.Queue.Append(ctx, topic, shard, msgs)
}

func startMute(t *testing.T, tell func(n int) error) (*cqrs.Runtime, *mute, func()) {
	t.Helper()
	inner, err := boltqueue.Open(filepath.Join(t.TempDir(), "queue"), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { inner.Close() })
	q := &mute{Queue: inner, tell: tell}
	cfg := counterConfig()
	cfg.Queue = q
	rt, _, stop := start(t, t.TempDir(), cfg)
	return rt, q, stop
}

// heardOf counts in the feedback queue what was told of each command.
func heardOf(t *testing.T, q queue.Queue, rt *cqrs.Runtime) map[uuid.UUID]int {
	t.Helper()
	_, end, err := q.Bounds(t.Context(), "feedback", 0)
	if err != nil {
		t.Fatal(err)
	}
	heard := map[uuid.UUID]int{}
	if end == 0 {
		return heard
	}
	for f, err := range rt.Feedback(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if heard[f.Command]++; f.Offset+1 >= end {
			break
		}
	}
	return heard
}

// Feedback that does not arrive is told again, whatever was decided meanwhile.
func TestFeedbackThatDoesNotArriveIsToldAgain(t *testing.T) {
	rt, q, _ := startMute(t, func(n int) error {
		if n%3 == 0 {
			return errors.New("no feedback at the moment")
		}
		return nil
	})
	var sent []uuid.UUID
	for i := range 60 {
		mode, name := []string{"", "reject", "error", "nothing", "unnamed"}[i%5], "a"
		if mode == "unnamed" { // refused, and not in the log
			name = ""
		}
		r, err := rt.Send(t.Context(), add{Name: name, By: 1, Mode: mode})
		if err != nil {
			t.Fatal(err)
		}
		sent = append(sent, r.ID)
		if _, err := r.Wait(t.Context()); err != nil && (mode == "" || mode == "nothing") {
			t.Fatal(err)
		}
	}
	eventually(t, func() bool {
		heard := heardOf(t, q, rt)
		for _, id := range sent {
			if heard[id] == 0 {
				return false
			}
		}
		return true
	})
	if at := rt.View().T(); at != 24 {
		t.Errorf("t is %d", at)
	}
}

// A command has not been handled, for the next owner, before its feedback has arrived.
func TestHandledOnlyWhenTold(t *testing.T) {
	release := make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	defer free()
	rt, q, _ := startMute(t, func(int) error {
		<-release
		return nil
	})
	mustDo(t, rt, add{Name: "a", By: 1}) // its sender knows
	second := make(chan error, 1)
	go func() {
		r, err := rt.Send(t.Context(), add{Name: "a", By: 1})
		if err == nil {
			_, err = r.Wait(t.Context())
		}
		second <- err
	}()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range 24 { // offsets are told every half second
		<-tick.C
		handled, err1 := q.Committed(t.Context(), "commands", 0)
		settled, err2 := q.Committed(t.Context(), "events", 0)
		if err := errors.Join(err1, err2); err != nil || handled > 0 || settled > 0 {
			t.Fatalf("handled up to %d, settled up to %d, %v: and nobody was told", handled, settled, err)
		}
	}
	free()
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		handled, err := q.Committed(t.Context(), "commands", 0)
		return err == nil && handled == 2
	})
	if heard := heardOf(t, q, rt); len(heard) != 2 {
		t.Errorf("%v", heard)
	}
}

// Feedback of later batches that has arrived does not stand for that of an earlier one which has not.
func TestFeedbackThatIsLostBeforeOtherArrives(t *testing.T) {
	later := make(chan struct{})
	rt, q, _ := startMute(t, func(n int) error {
		switch n {
		case 1:
			<-later
			return errors.New("no feedback at the moment")
		case 3:
			close(later)
		}
		return nil
	})
	var sent []uuid.UUID
	for _, name := range []string{"", "a", "b"} { // the first is refused, and not in the log
		r, err := rt.Send(t.Context(), add{Name: name, By: 1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Wait(t.Context()); (err != nil) != (name == "") {
			t.Fatal(err)
		}
		sent = append(sent, r.ID)
	}
	eventually(t, func() bool {
		heard := heardOf(t, q, rt)
		return heard[sent[0]] > 0 && heard[sent[1]] > 0 && heard[sent[2]] > 0
	})
	eventually(t, func() bool {
		handled, err := q.Committed(t.Context(), "commands", 0)
		return err == nil && handled == 3
	})
}

// Commands that were not sent, because it can't be learned where their ends will be told, are not followed either.
func TestReceiptsOfWhatWasNotSentAreForgotten(t *testing.T) {
	inner, err := boltqueue.Open(filepath.Join(t.TempDir(), "queue"), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { inner.Close() })
	cfg, q := counterConfig(), &mute{Queue: inner}
	cfg.Queue, cfg.MaxInFlight = q, 2
	rt, err := cqrs.Open(t.TempDir(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	q.deaf.Store(true)
	e := cqrs.Envelope{Type: "counter/add", Data: []byte(`{"Name":"a","By":1}`)}
	if _, err := rt.Submit(t.Context(), e, e, e); err == nil || errors.Is(err, cqrs.ErrUnknown) {
		t.Errorf("it was sent: %v", err)
	}
	if n := rt.Followed(); n != 0 {
		t.Errorf("%d receipts are followed", n)
	}
}

// The feedback was dropped before somebody asked for it: it is said what to do, and that helps.
func TestFeedbackThatWasDropped(t *testing.T) {
	_, q, _ := startMute(t, func(int) error { return nil })
	cfg := counterConfig()
	cfg.Queue, cfg.Role, cfg.MaxInFlight = q, cqrs.Sender, 1
	rt, err := cqrs.Open("", cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	e := cqrs.Envelope{ID: uuid.Must(uuid.NewV7()), Type: "counter/add", Data: []byte(`{"name":"a","by":2}`)}
	other := cqrs.Envelope{Type: e.Type, Data: []byte(`{"name":"a","by":1}`)}
	receipts, err := rt.Submit(t.Context(), other, e) // the first one is followed, and the second is not
	if err != nil {
		t.Fatal(err)
	}
	mustDo(t, rt, add{Name: "a", By: 3})
	_, end, err := q.Bounds(t.Context(), "feedback", 0)
	if err == nil {
		_, err = q.Trim(t.Context(), "feedback", 0, end, 100)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err = receipts[1].Wait(patience(t)); err == nil || !strings.Contains(err.Error(), "send it again under the same id") {
		t.Fatal(err)
	}
	again, err := rt.Submit(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := again[0].Wait(patience(t)); err != nil || !out.Repeat || out.T != 2 {
		t.Errorf("%+v %v", out, err)
	}
}
