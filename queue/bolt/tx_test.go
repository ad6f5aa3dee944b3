package bolt

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/queue"
)

// begin starts a worker's own transaction. It ends with the test at the latest.
func begin(t *testing.T, f *boltfile.File) *boltfile.Tx {
	t.Helper()
	tx, err := f.Begin()
	must(t, err)
	t.Cleanup(func() { _ = tx.Rollback() })
	return tx
}

func TestTxSeesItsOwnMessages(t *testing.T) {
	q := On(openFor(t, "a.db"))
	appendTo(t, q, "a", "0", "1")
	tx := begin(t, q.File(0))
	msgs := texts("2", "3")
	must(t, q.AppendTx(tx.Tx, "a", 0, msgs))
	if msgs[0].Offset != 2 || msgs[1].Offset != 3 {
		t.Errorf("offsets %d, %d", msgs[0].Offset, msgs[1].Offset)
	}
	checkReadTx(t, q, tx.Tx, 1, 10, "1", "2", "3")
	checkReadTx(t, q, tx.Tx, 0, 3, "0", "1", "2")
	checkReadTx(t, q, tx.Tx, 4, 3)
	checkReadTx(t, q, tx.Tx, 0, 0)
	if start, end, err := q.BoundsTx(tx.Tx, "a", 0); start != 0 || end != 4 || err != nil {
		t.Errorf("bounds %d, %d, %v", start, end, err)
	}
	if got := stored(t, q, "a"); len(got) != 2 {
		t.Errorf("others see %q before the commit", got)
	}
	must(t, tx.Commit())
	if got := stored(t, q, "a"); !slices.Equal(got, []string{"0", "1", "2", "3"}) {
		t.Errorf("after the commit: %q", got)
	}
}

func checkReadTx(t *testing.T, q *Queue, tx *bbolt.Tx, from int64, max int, want ...string) {
	t.Helper()
	dst := texts("kept")
	dst, err := q.ReadTx(tx, "a", 0, from, max, dst)
	must(t, err)
	var got []string
	for i, m := range dst {
		if got = append(got, string(m.Value)); i > 0 && m.Offset != from+int64(i-1) {
			t.Errorf("message %d has offset %d", i, m.Offset)
		}
	}
	if !slices.Equal(got, append([]string{"kept"}, want...)) {
		t.Errorf("from %d, %d at most: %q, and %q were expected", from, max, got, want)
	}
}

func TestTxRolledBackLeavesNothing(t *testing.T) {
	ctx := context.Background()
	q := On(openFor(t, "a.db"))
	appendTo(t, q, "a", "0", "1", "2")
	must(t, q.Commit(ctx, "a", 0, 1))
	tx := begin(t, q.File(0))
	must(t, q.AppendTx(tx.Tx, "a", 0, texts("lost")))
	must(t, q.AppendTx(tx.Tx, "new", 0, texts("lost")))
	must(t, q.CommitTx(tx.Tx, "a", 0, 3))
	if next, err := q.CommittedTx(tx.Tx, "a", 0); next != 3 || err != nil {
		t.Errorf("inside, committed is %d, %v", next, err)
	}
	if n, err := q.TrimTx(tx.Tx, "a", 0, 3, 2); n != 2 || err != nil {
		t.Errorf("trimmed %d, %v", n, err)
	}
	must(t, tx.Rollback())
	appendTo(t, q, "a", "3")
	if got := stored(t, q, "a"); !slices.Equal(got, []string{"0", "1", "2", "3"}) || stored(t, q, "new") != nil {
		t.Errorf("%q", got)
	}
	if next, err := q.Committed(ctx, "a", 0); next != 1 || err != nil {
		t.Errorf("committed is %d, %v", next, err)
	}
}

// What a worker writes elsewhere in the file, its messages and the calls of others share one commit.
func TestTxSharesOneCommit(t *testing.T) {
	f := openFor(t, "a.db")
	q := On(f)
	woken := make(chan struct{}, 8)
	defer f.Host(func() { woken <- struct{}{} })()
	tx := begin(t, f)
	id := tx.ID()
	must(t, q.AppendTx(tx.Tx, "a", 0, texts("of the worker")))
	done := make(chan error, 1)
	go func() { done <- q.Append(context.Background(), "a", 0, texts("of a sender")) }()
	soon(t, "the wake-up", woken)
	tx.TakeWaiting()
	must(t, tx.Commit())
	must(t, soon(t, "the sender", done))
	must(t, f.View(func(tx *bbolt.Tx) error {
		if tx.ID() != id {
			t.Errorf("transaction %d, after %d", tx.ID(), id)
		}
		return nil
	}))
	if got := stored(t, q, "a"); !slices.Equal(got, []string{"of the worker", "of a sender"}) {
		t.Errorf("%q", got)
	}
}

func TestAppendTxDoesNotKeepTheBytes(t *testing.T) {
	q := On(openFor(t, "a.db"))
	tx := begin(t, q.File(0))
	msgs := texts("good")
	must(t, q.AppendTx(tx.Tx, "a", 0, msgs))
	copy(msgs[0].Value, "evil")
	must(t, tx.Commit())
	if got := stored(t, q, "a"); got[0] != "good" {
		t.Errorf("%q", got)
	}
}

func TestAppendTxErrorWritesNothing(t *testing.T) {
	q := On(openFor(t, "a.db"))
	tx := begin(t, q.File(0))
	large := append(texts("small"), queue.Message{Value: make([]byte, limit+1)})
	var tooLarge *queue.TooLargeError
	if err := q.AppendTx(tx.Tx, "a", 0, large); !errors.As(err, &tooLarge) {
		t.Errorf("want a TooLargeError: %v", err)
	}
	for name, err := range map[string]error{
		"topic": q.AppendTx(tx.Tx, "a b", 0, texts("a")), "shard": q.AppendTx(tx.Tx, "a", 1, texts("a")),
	} {
		if !errors.Is(err, queue.ErrNoTopic) {
			t.Errorf("%s: want ErrNoTopic: %v", name, err)
		}
	}
	must(t, tx.Commit())
	if got := stored(t, q, "a"); got != nil {
		t.Errorf("%q", got)
	}
}

// A transaction on another file than the shard's would hide the messages.
func TestTxOnAnotherFileIsRefused(t *testing.T) {
	q := On(openFor(t, "a.db"), openFor(t, "b.db"))
	tx := begin(t, q.File(1))
	_, readErr := q.ReadTx(tx.Tx, "a", 0, 0, 1, nil)
	_, _, boundsErr := q.BoundsTx(tx.Tx, "a", 0)
	_, committedErr := q.CommittedTx(tx.Tx, "a", 0)
	_, trimErr := q.TrimTx(tx.Tx, "a", 0, 1, 1)
	for i, err := range []error{
		q.AppendTx(tx.Tx, "a", 0, texts("a")), q.CommitTx(tx.Tx, "a", 0, 1), readErr, boundsErr, committedErr, trimErr,
	} {
		if err == nil || !strings.Contains(err.Error(), "b.db") {
			t.Errorf("call %d: want an error that names the file: %v", i, err)
		}
	}
	must(t, q.AppendTx(tx.Tx, "a", 1, texts("a")))
}

func TestReadTxOutOfRange(t *testing.T) {
	q := On(openFor(t, "a.db"))
	appendTo(t, q, "a", "0", "1", "2")
	_, err := q.Trim(context.Background(), "a", 0, 2, 10)
	must(t, err)
	tx := begin(t, q.File(0))
	for _, from := range []int64{-1, 1, 4} {
		var got *queue.RangeError
		_, err := q.ReadTx(tx.Tx, "a", 0, from, 10, nil)
		want := &queue.RangeError{Topic: "a", Want: from, Start: 2, End: 3}
		if !errors.As(err, &got) || !reflect.DeepEqual(got, want) {
			t.Errorf("want %v: %v", want, err)
		}
	}
}

func TestNotify(t *testing.T) {
	ctx := context.Background()
	q := On(openFor(t, "a.db"), openFor(t, "b.db"))
	var told []string // each call below has returned before it is read
	note := func(name string) func() { return func() { told = append(told, name) } }
	stopA0 := q.Notify("a", 0, note("a0"))
	stopTwice := q.Notify("a", 0, note("a0"))
	defer q.Notify("a", 1, note("a1"))()
	defer q.Notify("b", 0, note("b0"))()
	check := func(want ...string) {
		t.Helper()
		if !slices.Equal(told, want) {
			t.Errorf("told %q, and %q were expected", told, want)
		}
		told = nil
	}
	must(t, q.Append(ctx, "a", 0, texts("1")))
	check("a0", "a0")
	stopTwice()
	must(t, q.Append(ctx, "a", 1, texts("1")))
	must(t, q.Commit(ctx, "a", 1, 1))
	check("a1")
	tx := begin(t, q.File(0))
	must(t, q.AppendTx(tx.Tx, "a", 0, texts("2")))
	must(t, q.AppendTx(tx.Tx, "b", 0, texts("2")))
	check()
	must(t, tx.Commit())
	check("a0", "b0")
	tx = begin(t, q.File(0))
	must(t, q.AppendTx(tx.Tx, "a", 0, texts("lost")))
	must(t, tx.Rollback())
	check()
	stopA0()
	stopA0()
	must(t, q.Append(ctx, "a", 0, texts("3")))
	check()
}

func TestAppendTxWakesReaders(t *testing.T) {
	q := On(openFor(t, "a.db"))
	read := make(chan string, 1)
	go func() {
		msgs, err := q.Read(context.Background(), "a", 0, 0, 10)
		read <- fmt.Sprint(len(msgs), err)
	}()
	tx := begin(t, q.File(0))
	must(t, q.AppendTx(tx.Tx, "a", 0, texts("1")))
	must(t, tx.Commit())
	if got := soon(t, "the read", read); got != "1<nil>" && got != "1 <nil>" {
		t.Error(got)
	}
}

// A read that waits holds no transaction: the file does not grow, and can be closed.
func TestReadThatWaitsHoldsNoTransaction(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	f, err := boltfile.Open(path, boltfile.Options{Kind: "shard"})
	must(t, err)
	q := On(f)
	done := make(chan error, 1)
	go func() { _, err := q.Read(context.Background(), "a", 0, 0, 1); done <- err }()
	for i := range 50 {
		appendTo(t, q, "b", strings.Repeat("x", 100_000))
		_, err := q.Trim(context.Background(), "b", 0, int64(i+1), 10)
		must(t, err)
	}
	if size := f.Size(); size > 2_000_000 {
		t.Errorf("the file has %d bytes, for a message of 100,000", size)
	}
	closed := make(chan error, 1)
	go func() { closed <- f.Close() }()
	must(t, soon(t, "the file to close", closed))
	must(t, q.Close())
	if err := soon(t, "the read", done); !errors.Is(err, queue.ErrClosed) {
		t.Errorf("want ErrClosed: %v", err)
	}
}

// A Trim that gives up, because another call of the same transaction is slow, shares nothing with what still runs (the race
// detector tells).
func TestTrimGivenUpWhileItsTransactionGoesOn(t *testing.T) {
	q := On(openFor(t, "a.db"))
	appendTo(t, q, "a", "0", "1", "2")
	woken, slow, done := make(chan struct{}, 8), make(chan error, 1), make(chan error, 1)
	defer q.File(0).Host(func() { woken <- struct{}{} })()
	go func() {
		slow <- q.File(0).Update(context.Background(), func(*bbolt.Tx) error { <-time.After(600 * time.Millisecond); return nil })
	}()
	soon(t, "the wake-up", woken)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { _, err := q.Trim(ctx, "a", 0, 2, 10); done <- err }()
	soon(t, "the wake-up", woken)
	tx := begin(t, q.File(0))
	time.AfterFunc(50*time.Millisecond, cancel)
	tx.TakeWaiting()
	must(t, tx.Commit())
	must(t, soon(t, "the slow call", slow))
	if err := soon(t, "Trim", done); err != nil && !errors.Is(err, queue.ErrUnknown) { // it may as well wait for the outcome
		t.Errorf("want ErrUnknown: %v", err)
	}
	if got := stored(t, q, "a"); !slices.Equal(got, []string{"2"}) {
		t.Errorf("%q", got)
	}
}
