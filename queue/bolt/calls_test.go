package bolt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/queue"
)

func TestTopicNames(t *testing.T) {
	ctx := context.Background()
	q := On(openFor(t, "a.db"))
	for name, good := range map[string]bool{
		"a": true, "command/in-queue": true, "A.b_c-9": true, "/": true, strings.Repeat("x", 249): true,
		"": false, strings.Repeat("x", 250): false, "a b": false, "ä": false, "a\x00": false, "a:b": false, "a\\": false,
	} {
		err := q.Append(ctx, name, 0, texts("a"))
		if good != (err == nil) || !good && !errors.Is(err, queue.ErrNoTopic) {
			t.Errorf("%q: %v", name, err)
		}
		if !good && q.Own(ctx, name, nil) == nil {
			t.Errorf("%q is owned", name)
		}
	}
}

func TestReadBoundsItsBytes(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	q := On(openFor(t, "a.db"))
	sizes := []int{3 << 20, 3 << 20, 3 << 20, 12 << 20, 1, 1, 8<<20 - 500, 1}
	for _, size := range sizes {
		must(t, q.Append(ctx, "a", 0, []queue.Message{{Value: make([]byte, size)}}))
	}
	var from int64
	for i, want := range []int{2, 1, 1, 4} {
		msgs, err := q.Read(ctx, "a", 0, from, 100)
		must(t, err)
		if len(msgs) != want {
			t.Errorf("read %d gave %d messages, and %d fit", i, len(msgs), want)
		}
		from += int64(len(msgs))
	}
	if int(from) != len(sizes) {
		t.Errorf("%d messages of %d", from, len(sizes))
	}
}

// A message that comes between the look and the wait is not missed. A second queue on the file appends it, so that nobody
// wakes the reader.
func TestReadRegistersBeforeItLooks(t *testing.T) {
	f := openFor(t, "a.db")
	q, other := On(f), On(f)
	read := make(chan error, 1)
	q.wakes.mu.Lock()
	go func() { _, err := q.Read(context.Background(), "a", 0, 0, 1); read <- err }()
	select {
	case err := <-read:
		t.Fatalf("the read returned: %v", err)
	case <-time.After(50 * time.Millisecond): // by now it waits for the lock
	}
	appendTo(t, other, "a", "1")
	q.wakes.mu.Unlock()
	must(t, soon(t, "the read", read))
}

func TestReadOfNothing(t *testing.T) {
	q := On(openFor(t, "a.db"))
	for _, max := range []int{0, -1} {
		if _, err := q.Read(context.Background(), "a", 0, 0, max); err == nil {
			t.Errorf("at most %d messages: want an error, and not to wait", max)
		}
	}
}

func TestAppendsShareCommits(t *testing.T) {
	q := On(openFor(t, "a.db"))
	const appenders, each = 64, 10
	before := txid(t, q.File(0))
	var all sync.WaitGroup
	for range appenders {
		all.Go(func() {
			for range each {
				if err := q.Append(context.Background(), "a", 0, texts("x")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if commits := txid(t, q.File(0)) - before; commits > appenders*each/4 {
		t.Errorf("%d appends took %d commits", appenders*each, commits)
	}
}

func txid(t *testing.T, f *boltfile.File) (id int) {
	t.Helper()
	must(t, f.View(func(tx *bbolt.Tx) error { id = tx.ID(); return nil }))
	return id
}

// Pages of an append-only bucket are left nearly full.
func TestAppendFillsPages(t *testing.T) {
	q := On(openFor(t, "a.db"))
	value := strings.Repeat("x", 100)
	for range 200 {
		appendTo(t, q, "a", slicesOf(value, 50)...)
	}
	must(t, q.File(0).View(func(tx *bbolt.Tx) error {
		s := tx.Bucket([]byte("queue/a")).Stats()
		if used := float64(s.LeafInuse) / float64(s.LeafAlloc); used < 0.9 {
			t.Errorf("pages are filled to %.2f", used)
		}
		return nil
	}))
}

func slicesOf(value string, n int) []string {
	values := make([]string, n)
	for i := range values {
		values[i] = value
	}
	return values
}

func TestErrorsSayWhere(t *testing.T) {
	q := On(openFor(t, "a.db"))
	path := q.File(0).Path()
	disk := errors.New("no space left on device")
	for name, c := range map[string]struct {
		err             error
		unknown, closed bool
	}{
		"plain":   {fmt.Errorf("write: %w", disk), false, false},
		"unknown": {fmt.Errorf("write: %w: %w", boltfile.ErrUnknown, disk), true, false},
		"closed":  {fmt.Errorf("%w: %w", boltfile.ErrClosed, disk), false, true},
	} {
		got := q.explain("append to", partition{"some-topic", 0}, c.err)
		if errors.Is(got, queue.ErrUnknown) != c.unknown || errors.Is(got, queue.ErrClosed) != c.closed || !errors.Is(got, disk) {
			t.Errorf("%s: %v", name, got)
		}
		for _, part := range []string{"append to", `"some-topic"`, "shard 0", path} {
			if !strings.Contains(got.Error(), part) {
				t.Errorf("%s: want %q in %q", name, part, got)
			}
		}
	}
}

func TestFileClosedBelowTheQueue(t *testing.T) {
	ctx := context.Background()
	f := openFor(t, "a.db")
	q := On(f)
	must(t, f.Close())
	_, _, err := q.Bounds(ctx, "a", 0)
	for _, err := range []error{err, q.Append(ctx, "a", 0, texts("a")), q.Commit(ctx, "a", 0, 1)} {
		if !errors.Is(err, queue.ErrClosed) || !strings.Contains(err.Error(), f.Path()) {
			t.Errorf("want ErrClosed and the path: %v", err)
		}
	}
}

func TestCommitOfNegative(t *testing.T) {
	q := On(openFor(t, "a.db"))
	if err := q.Commit(context.Background(), "a", 0, -1); err == nil {
		t.Error("want an error")
	}
}

func TestCloseLeavesFilesOfOthersOpen(t *testing.T) {
	f := openFor(t, "a.db")
	q := On(f)
	appendTo(t, q, "a", "1")
	must(t, q.Close())
	if got := stored(t, On(f), "a"); len(got) != 1 {
		t.Errorf("%q", got)
	}
}

func TestOnRefusesWrongFiles(t *testing.T) {
	f := openFor(t, "a.db")
	for name, files := range map[string][]*boltfile.File{"none": nil, "one twice": {f, f}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: want a panic", name)
				}
			}()
			On(files...)
		}()
	}
}

// The identity changes with any of the files.
func TestIdentityIsOfTheFiles(t *testing.T) {
	a, b, c := openFor(t, "a.db"), openFor(t, "b.db"), openFor(t, "c.db")
	seen := map[string]bool{}
	for _, q := range []*Queue{On(a, b), On(a, c), On(b, a), On(a)} {
		id, err := q.Identity(context.Background(), "a")
		must(t, err)
		seen[id] = true
	}
	if len(seen) != 4 {
		t.Errorf("4 queues have the identities %v", seen)
	}
}

func TestOwnGoesOnWhenWorkReturns(t *testing.T) {
	q := On(openFor(t, "a.db"), openFor(t, "b.db"))
	ctx, cancel := context.WithCancel(context.Background())
	returned, owned := make(chan int, 10), make(chan error, 1)
	go func() {
		owned <- q.Own(ctx, "a", func(_ context.Context, shard int) error { returned <- shard; return nil })
	}()
	soon(t, "work", returned)
	soon(t, "work", returned)
	select {
	case err := <-owned:
		t.Fatalf("it returned before its context ended: %v", err)
	case shard := <-returned:
		t.Fatalf("work was called again for shard %d", shard)
	default:
	}
	cancel()
	if err := soon(t, "Own to return", owned); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// An error while draining is not hidden by the end of the context.
func TestOwnTellsOfWorkThatFailsToDrain(t *testing.T) {
	q := On(openFor(t, "a.db"), openFor(t, "b.db"))
	ctx, cancel := context.WithCancel(context.Background())
	broken := errors.New("broken")
	started := make(chan int, 2)
	owned := make(chan error, 1)
	go func() {
		owned <- q.Own(ctx, "a", func(ctx context.Context, shard int) error {
			started <- shard
			<-ctx.Done()
			if shard == 0 {
				return ctx.Err()
			}
			return broken
		})
	}()
	soon(t, "work", started)
	soon(t, "work", started)
	cancel()
	if err := soon(t, "Own to return", owned); !errors.Is(err, broken) {
		t.Errorf("want the error of work: %v", err)
	}
}
