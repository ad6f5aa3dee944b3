package boltfile

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// countCommits counts the commits from now on.
func countCommits(f *File) *atomic.Int64 {
	var n atomic.Int64
	f.commit = func(tx *bbolt.Tx) error {
		n.Add(1)
		return tx.Commit()
	}
	return &n
}

func begin(t *testing.T, f *File) *Tx {
	t.Helper()
	tx, err := f.Begin()
	must(t, err)
	return tx
}

func TestUpdateSharesOneCommit(t *testing.T) {
	f := open(t)
	commits := countCommits(f)
	tx := begin(t, f)
	var calls []<-chan error
	for i := range 64 {
		calls = append(calls, updating(f, fmt.Sprint(i)))
	}
	waitFor(t, f, 64)
	must(t, tx.Rollback())
	for i, c := range calls {
		must(t, soon(t, "an update", c))
		if !has(t, f, fmt.Sprint(i)) {
			t.Errorf("call %d is not there", i)
		}
	}
	if n := commits.Load(); n != 1 {
		t.Errorf("64 calls took %d commits", n)
	}
}

func TestUpdateManyCallersFewCommits(t *testing.T) {
	f := open(t)
	commits := countCommits(f)
	const callers, each = 64, 20
	var all sync.WaitGroup
	for c := range callers {
		all.Go(func() {
			for i := range each {
				if err := update(f, fmt.Sprint(c, " ", i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n := commits.Load(); n > callers*each/4 {
		t.Errorf("%d calls took %d commits", callers*each, n)
	} else {
		t.Logf("%d calls took %d commits", callers*each, n)
	}
	for c := range callers {
		for i := range each {
			if key := fmt.Sprint(c, " ", i); !has(t, f, key) {
				t.Errorf("%s is not there", key)
			}
		}
	}
}

func TestUpdateErrorIsItsOwn(t *testing.T) {
	f := open(t)
	commits := countCommits(f)
	refused := errors.New("refused")
	tx := begin(t, f)
	good := []<-chan error{updating(f, "a"), updating(f, "b")}
	bad := make(chan error, 1)
	go func() { bad <- f.Update(context.Background(), func(*bbolt.Tx) error { return refused }) }()
	waitFor(t, f, 3)
	must(t, tx.Rollback())
	if err := soon(t, "the refused call", bad); !errors.Is(err, refused) {
		t.Errorf("want its own error: %v", err)
	}
	for _, c := range good {
		must(t, soon(t, "a good call", c))
	}
	if err := f.Update(context.Background(), func(*bbolt.Tx) error { return refused }); !errors.Is(err, refused) {
		t.Error(err)
	}
	if n := commits.Load(); n != 1 {
		t.Errorf("%d commits: a call that is refused needs none", n)
	}
}

func TestUpdateWithdrawnByContext(t *testing.T) {
	f := open(t)
	tx := begin(t, f)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Update(ctx, putting("withdrawn")) }()
	waitFor(t, f, 1)
	cancel()
	if err := soon(t, "the cancelled call", done); !errors.Is(err, context.Canceled) {
		t.Fatalf("want ctx's error: %v", err)
	}
	if f.Waiting() {
		t.Error("it still waits")
	}
	must(t, tx.Rollback())
	if err := f.Update(ctx, putting("withdrawn")); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that had ended: %v", err)
	}
	must(t, update(f, "after"))
	if has(t, f, "withdrawn") {
		t.Error("it was written")
	}
}

func TestUpdateTakenIsWaitedFor(t *testing.T) {
	f := open(t)
	ctx, cancel := context.WithCancel(context.Background())
	tx := begin(t, f)
	done := make(chan error, 1)
	go func() { done <- f.Update(ctx, putting("taken")) }()
	waitFor(t, f, 1)
	if n := tx.TakeWaiting(); n != 1 {
		t.Fatalf("took %d", n)
	}
	cancel()
	never(t, "the call returns before its commit", done)
	must(t, tx.Commit())
	must(t, soon(t, "the taken call", done))
	if !has(t, f, "taken") {
		t.Error("it is not there")
	}
}

// never checks that a channel stays silent for a while.
func never[T any](t *testing.T, what string, c <-chan T) {
	t.Helper()
	select {
	case <-c:
		t.Fatal(what)
	case <-time.After(50 * time.Millisecond):
	}
}

func TestRollbackGivesCallsBack(t *testing.T) {
	f := open(t)
	var runs atomic.Int64
	done := make(chan error, 1)
	tx := begin(t, f)
	go func() {
		done <- f.Update(context.Background(), func(tx *bbolt.Tx) error { runs.Add(1); return putting("k")(tx) })
	}()
	waitFor(t, f, 1)
	tx.TakeWaiting()
	must(t, tx.Rollback())
	must(t, soon(t, "the call that was given back", done))
	if runs.Load() != 2 || !has(t, f, "k") {
		t.Errorf("it ran %d times", runs.Load())
	}
}

func TestRollbackEndsCallsWhoseContextHasEnded(t *testing.T) {
	f := open(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	tx := begin(t, f)
	go func() { done <- f.Update(ctx, putting("k")) }()
	waitFor(t, f, 1)
	tx.TakeWaiting()
	cancel()
	must(t, tx.Rollback())
	if err := soon(t, "the call", done); !errors.Is(err, context.Canceled) || has(t, f, "k") {
		t.Errorf("want ctx's error and nothing written: %v", err)
	}
}

func TestTxEndsOnce(t *testing.T) {
	f := open(t)
	tx := begin(t, f)
	must(t, tx.Commit())
	for _, end := range []func() error{tx.Commit, tx.Rollback} {
		if err := end(); !errors.Is(err, berrors.ErrTxClosed) {
			t.Errorf("want ErrTxClosed: %v", err)
		}
	}
	must(t, update(f, "the file is free again"))
}

func TestHostTakesWaitingAlong(t *testing.T) {
	f := open(t)
	commits := countCommits(f)
	woken := make(chan struct{}, 1)
	release := f.Host(func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	})
	defer release()
	done := updating(f, "from outside")
	soon(t, "the wake-up", woken)
	if !f.Waiting() {
		t.Error("nothing waits")
	}
	tx := begin(t, f)
	must(t, put(tx.Tx, "of the host", nil))
	tx.TakeWaiting()
	never(t, "the call returns before the host's commit", done)
	must(t, tx.Commit())
	must(t, soon(t, "the call", done))
	if n := commits.Load(); n != 1 || !has(t, f, "from outside") {
		t.Errorf("%d commits", n)
	}
}

func TestHostIsToldOfCallsThatWaitAlready(t *testing.T) {
	f := open(t)
	tx := begin(t, f)
	done := updating(f, "k")
	waitFor(t, f, 1)
	woken := make(chan struct{}, 8)
	release := f.Host(func() { woken <- struct{}{} })
	defer release()
	soon(t, "the wake-up", woken)
	tx.TakeWaiting()
	must(t, tx.Commit())
	must(t, soon(t, "the call", done))
}

func TestHostGoesAndALeaderTakesOver(t *testing.T) {
	f := open(t)
	release := f.Host(func() {})
	done := updating(f, "k")
	waitFor(t, f, 1)
	never(t, "somebody else commits for the host", done)
	release()
	must(t, soon(t, "the call", done))
	release()
	must(t, update(f, "k2"))
}

func TestHostTakesOverFromALeader(t *testing.T) {
	f := open(t)
	inCommit, goOn := make(chan struct{}), make(chan struct{})
	f.commit = func(tx *bbolt.Tx) error {
		f.commit = (*bbolt.Tx).Commit
		close(inCommit)
		<-goOn
		return tx.Commit()
	}
	first := updating(f, "of the leader")
	soon(t, "the leader's commit", inCommit)
	woken := make(chan struct{}, 8)
	defer f.Host(func() { woken <- struct{}{} })()
	second := updating(f, "of the host")
	soon(t, "the wake-up", woken)
	close(goOn)
	must(t, soon(t, "the first call", first))
	never(t, "the leader goes on beside the host", second)
	tx := begin(t, f)
	tx.TakeWaiting()
	must(t, tx.Commit())
	must(t, soon(t, "the second call", second))
}

func TestHostReplacedByAnother(t *testing.T) {
	f := open(t)
	woken := make(chan struct{}, 8)
	releaseFirst := f.Host(func() { t.Error("the first host is woken") })
	release := f.Host(func() { woken <- struct{}{} })
	releaseFirst()
	done := updating(f, "k")
	soon(t, "the wake-up of the second host", woken)
	release()
	must(t, soon(t, "the call", done))
}

// A host that rolls back is woken for the calls it gave back.
func TestHostIsWokenForWhatItGaveBack(t *testing.T) {
	f := open(t)
	woken := make(chan struct{}, 8)
	release := f.Host(func() { woken <- struct{}{} })
	defer release()
	done := updating(f, "k")
	soon(t, "the first wake-up", woken)
	tx := begin(t, f)
	tx.TakeWaiting()
	must(t, tx.Rollback())
	soon(t, "the second wake-up", woken)
	tx = begin(t, f)
	tx.TakeWaiting()
	must(t, tx.Commit())
	must(t, soon(t, "the call", done))
}

func TestCloseEndsCallsThatWait(t *testing.T) {
	f := open(t)
	defer f.Host(func() {})() // so that no leader stands in Close's way
	tx := begin(t, f)
	taken := updating(f, "taken")
	waitFor(t, f, 1)
	tx.TakeWaiting()
	waiting := updating(f, "waiting")
	waitFor(t, f, 1)
	closed := make(chan error, 1)
	go func() { closed <- f.Close() }()
	if err := soon(t, "the waiting call", waiting); !errors.Is(err, ErrClosed) {
		t.Errorf("want ErrClosed: %v", err)
	}
	never(t, "Close returns while a transaction is open", closed)
	if has(t, f, "taken") { // reading beside the open transaction does not block
		t.Error("it is there before its commit")
	}
	must(t, tx.Commit())
	must(t, soon(t, "the taken call", taken))
	must(t, soon(t, "Close", closed))
	checkClosed(t, f)
}

func checkClosed(t *testing.T, f *File) {
	t.Helper()
	_, err := f.Begin()
	for _, err := range []error{err, update(f, "k"), f.View(func(*bbolt.Tx) error { return nil })} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("want ErrClosed: %v", err)
		}
	}
	must(t, f.Close())
	if f.group.leading {
		t.Error("a goroutine is left")
	}
}

func TestCloseThenRollbackEndsTakenCalls(t *testing.T) {
	f := open(t)
	tx := begin(t, f)
	taken := updating(f, "taken")
	waitFor(t, f, 1)
	tx.TakeWaiting()
	closed := make(chan error, 1)
	go func() { closed <- f.Close() }()
	eventually(t, "the group is closed", func() bool { f.group.mu.Lock(); defer f.group.mu.Unlock(); return f.group.closed })
	must(t, tx.Rollback())
	if err := soon(t, "the taken call", taken); !errors.Is(err, ErrClosed) {
		t.Errorf("want ErrClosed: %v", err)
	}
	must(t, soon(t, "Close", closed))
	checkClosed(t, f)
}
