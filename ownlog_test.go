package cqrs_test

import (
	"context"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/queue"

	boltqueue "github.com/cqrs-server/cqrs/queue/bolt"
)

// rewritten is a queue of which a topic lost its end and was written again, as far as it had come, by others.
type rewritten struct {
	*boltqueue.Queue
	topic string
	from  atomic.Int64 // from this offset on; 0: not yet
}

func (q *rewritten) Read(ctx context.Context, topic string, shard int, from int64, max int) ([]queue.Message, error) {
	msgs, err := q.Queue.Read(ctx, topic, shard, from, max)
	for i := range msgs {
		if at := q.from.Load(); topic == q.topic && at > 0 && msgs[i].Offset >= at {
			msgs[i].Value = append([]byte{}, "another message"...)
		}
	}
	return msgs, err
}

func TestOwnerFindsThatItsLogWasWrittenAgain(t *testing.T) {
	inner, err := boltqueue.Open(filepath.Join(t.TempDir(), "queue"), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { inner.Close() })
	q := &rewritten{Queue: inner, topic: "events"}
	cfg := counterConfig()
	cfg.Queue = q
	dir := t.TempDir()
	rt, _, stop := start(t, dir, cfg)
	for range 3 {
		mustDo(t, rt, add{Name: "a", By: 1})
	}
	q.from.Store(2)
	eventually(t, func() bool { // it looks at what it had applied the time before
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if r, err := rt.Send(ctx, add{Name: "a", By: 1}); err == nil {
			_, _ = r.Wait(ctx)
		}
		return stopped(rt)
	})
	before := rt.View().T()
	if r, err := rt.Send(t.Context(), add{Name: "a", By: 1}); err == nil {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _ = r.Wait(ctx)
	}
	if at := rt.View().T(); at != before {
		t.Errorf("it went on from t %d to %d", before, at)
	}
	stop()
	q.from.Store(0) // what it has appended last is there
	rt, _, _ = start(t, dir, cfg)
	eventually(t, func() bool { return stopped(rt) })
}

// Commands that came in the place of others that were handled would wait for ever.
func TestOwnerFindsThatItsCommandsWereWrittenAgain(t *testing.T) {
	inner, err := boltqueue.Open(filepath.Join(t.TempDir(), "queue"), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { inner.Close() })
	cfg, q := counterConfig(), &rewritten{Queue: inner, topic: "commands"}
	cfg.Queue = q
	rt, _, _ := start(t, t.TempDir(), cfg)
	for began := time.Now(); time.Since(began) < 1200*time.Millisecond; { // it looks again and again, and all is well
		mustDo(t, rt, add{Name: "a", By: 1})
	}
	if stopped(rt) {
		t.Fatal(rt.Health()[0].Retrying)
	}
	q.from.Store(2)
	eventually(t, func() bool { return stopped(rt) })
	if why := rt.Health()[0].Retrying.Error(); !strings.Contains(why, "the commands of shard 0") {
		t.Error(why)
	}
}

// So does one that was not there meanwhile.
func TestOwnerThatComesBackFindsThatItsCommandsWereWrittenAgain(t *testing.T) {
	inner, err := boltqueue.Open(filepath.Join(t.TempDir(), "queue"), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { inner.Close() })
	cfg, dir, q := counterConfig(), t.TempDir(), &rewritten{Queue: inner, topic: "commands"}
	cfg.Queue = q
	rt, _, stop := start(t, dir, cfg)
	for range 3 {
		mustDo(t, rt, add{Name: "a", By: 1})
	}
	stop()
	q.from.Store(1)
	rt, _, stop = start(t, dir, cfg)
	eventually(t, func() bool { return stopped(rt) })
	stop()
	q.from.Store(0) // as it was
	rt, _, _ = start(t, dir, cfg)
	mustDo(t, rt, add{Name: "a", By: 1})
}

func stopped(rt *cqrs.Runtime) bool {
	why := rt.Health()[0].Retrying
	return why != nil && strings.Contains(why.Error(), "holds another message")
}
