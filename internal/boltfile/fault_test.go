package boltfile

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

var errDisk = errors.New("the disk is on fire")

// failing are the ways in which a commit can end with an error.
var failing = map[string]func(*bbolt.Tx) error{
	"lost":       func(tx *bbolt.Tx) error { return errors.Join(errDisk, tx.Rollback()) },
	"left open":  func(*bbolt.Tx) error { return errDisk },
	"took place": func(tx *bbolt.Tx) error { return errors.Join(errDisk, tx.Commit()) },
}

// failOnce makes the next commits end in these ways, one after the other; those after them succeed.
func failCommits(f *File, ways ...string) {
	f.commit = func(tx *bbolt.Tx) error {
		if len(ways) == 0 {
			return tx.Commit()
		}
		way := failing[ways[0]]
		ways = ways[1:]
		return way(tx)
	}
}

// Invariant 21.
func TestCommitReadsBackWhatHappened(t *testing.T) {
	for name, c := range map[string]struct {
		ways    []string
		there   bool
		unknown bool
	}{
		"lost":                         {[]string{"lost"}, false, false},
		"left open":                    {[]string{"left open"}, false, false},
		"took place":                   {[]string{"took place"}, true, false},
		"took place, confirming lost":  {[]string{"took place", "lost"}, true, true},
		"took place, confirming stuck": {[]string{"took place", "left open"}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := open(t)
			must(t, update(f, "earlier"))
			var told atomic.Int64
			defer f.Reopened(func() { told.Add(1) })()
			failCommits(f, c.ways...)
			checkOutcome(t, f, update(f, "k"), c.there, c.unknown)
			if told.Load() != 1 {
				t.Errorf("Reopened was called %d times", told.Load())
			}
		})
	}
}

func checkOutcome(t *testing.T, f *File, err error, there, unknown bool) {
	t.Helper()
	if succeeded := there && !unknown; (err == nil) != succeeded || errors.Is(err, ErrUnknown) != unknown {
		t.Errorf("the outcome is %v", err)
	}
	if err != nil && (!errors.Is(err, errDisk) || !strings.Contains(err.Error(), f.Path())) {
		t.Errorf("want the cause and the path: %v", err)
	}
	if has(t, f, "k") != there || !has(t, f, "earlier") {
		t.Errorf("k is there: %v", has(t, f, "k"))
	}
	must(t, update(f, "later"))
	if !has(t, f, "later") {
		t.Error("a later write is not there")
	}
}

func TestReopenedStops(t *testing.T) {
	f := open(t)
	f.Reopened(func() { t.Error("it was stopped") })()
	failCommits(f, "lost")
	_ = update(f, "k")
}

// While a failed commit is read back, no other transaction may begin: it would build on a handle in doubt, and what it
// leaves in the file would be taken for the failed one's.
func TestCommitReadBackIsAlone(t *testing.T) {
	f := open(t)
	tx := begin(t, f)
	must(t, put(tx.Tx, "lost", nil))
	began := make(chan *Tx, 1)
	f.commit = func(tx *bbolt.Tx) error {
		f.commit = (*bbolt.Tx).Commit
		err := failing["lost"](tx)
		go func() {
			other, err := f.Begin()
			if err != nil {
				t.Error(err)
			}
			began <- other
		}()
		never(t, "another transaction begins", began)
		return err
	}
	if err := tx.Commit(); !errors.Is(err, errDisk) || errors.Is(err, ErrUnknown) {
		t.Errorf("want the cause: %v", err)
	}
	must(t, soon(t, "the other transaction", began).Rollback())
}

func TestCommitUnknownWhenTheFileIsGone(t *testing.T) {
	f := open(t)
	must(t, update(f, "k"))
	aside := f.Path() + ".aside"
	f.commit = func(tx *bbolt.Tx) error {
		f.commit = (*bbolt.Tx).Commit
		return errors.Join(failing["took place"](tx), os.Rename(f.Path(), aside))
	}
	if err := update(f, "k2"); !errors.Is(err, ErrUnknown) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("want ErrUnknown and the reason: %v", err)
	}
	if err := update(f, "k3"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("want the reason: %v", err)
	}
	if _, err := os.Stat(f.Path()); !os.IsNotExist(err) {
		t.Errorf("the file was made anew: %v", err)
	}
	must(t, os.Rename(aside, f.Path()))
	must(t, update(f, "k4"))
	if !has(t, f, "k") || !has(t, f, "k2") || has(t, f, "k3") || !has(t, f, "k4") {
		t.Error("work does not go on where it was")
	}
}

func TestCommitUnknownWhenAnotherFileTookItsPlace(t *testing.T) {
	f := open(t)
	f.commit = func(tx *bbolt.Tx) error {
		err := failing["took place"](tx)
		must(t, os.Remove(f.Path()))
		must(t, openAt(t, f.Path()).Close())
		return err
	}
	if err := update(f, "k"); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "took its place") {
		t.Errorf("want ErrUnknown and the reason: %v", err)
	}
	if err := f.View(func(*bbolt.Tx) error { return nil }); !errors.Is(err, ErrFormat) {
		t.Errorf("want ErrFormat: %v", err)
	}
}

func TestCommitUnknownWhenAnotherProcessWroteInBetween(t *testing.T) {
	f := open(t)
	f.commit = func(tx *bbolt.Tx) error {
		f.commit = (*bbolt.Tx).Commit
		err := failing["lost"](tx)
		must(t, f.db.Close())
		other := openAt(t, f.Path())
		must(t, update(other, "of another"))
		must(t, other.Close())
		return err
	}
	if err := update(f, "k"); !errors.Is(err, ErrUnknown) {
		t.Errorf("want ErrUnknown: %v", err)
	}
	must(t, update(f, "k2"))
	if !has(t, f, "of another") || !has(t, f, "k2") {
		t.Error("work does not go on")
	}
}

func TestCommitLockedByAnotherProcessInBetween(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	f, err := Open(path, Options{Kind: "test", Timeout: 50 * time.Millisecond})
	must(t, err)
	defer f.Close()
	var other *File
	f.commit = func(tx *bbolt.Tx) error {
		f.commit = (*bbolt.Tx).Commit
		err := failing["took place"](tx)
		must(t, f.db.Close())
		other = openAt(t, path)
		return err
	}
	if err := update(f, "k"); !errors.Is(err, ErrUnknown) || !errors.Is(err, ErrLocked) {
		t.Errorf("want ErrUnknown and ErrLocked: %v", err)
	}
	if _, err := f.Begin(); !errors.Is(err, ErrLocked) {
		t.Errorf("want ErrLocked: %v", err)
	}
	must(t, other.Close())
	if !has(t, f, "k") {
		t.Error("work does not go on")
	}
}

// A file that could not be opened again is opened by whoever uses it next, a reader of its own transaction as well.
func TestReadOpensAgain(t *testing.T) {
	f := open(t)
	aside := f.Path() + ".aside"
	f.commit = func(tx *bbolt.Tx) error {
		f.commit = (*bbolt.Tx).Commit
		return errors.Join(failing["took place"](tx), os.Rename(f.Path(), aside))
	}
	if err := update(f, "k"); !errors.Is(err, ErrUnknown) {
		t.Errorf("want ErrUnknown: %v", err)
	}
	if _, err := f.Read(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("want the reason: %v", err)
	}
	must(t, os.Rename(aside, f.Path()))
	tx, err := f.Read()
	must(t, err)
	defer tx.Close()
	if !hasKey(tx.Tx, "k") {
		t.Error("k is not there")
	}
}

// model remembers what the calls of a run were told.
type model struct {
	mu      sync.Mutex
	present map[string]bool // by key; keys of unknown outcome are left out
}

func (m *model) note(key string, err error) {
	if errors.Is(err, ErrUnknown) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.present[key] = err == nil
}

func (m *model) check(t *testing.T, path string) {
	t.Helper()
	f := openAt(t, path)
	defer f.Close()
	for key, want := range m.present {
		if has(t, f, key) != want {
			t.Errorf("%s: told %v, and the file has %v", key, want, !want)
		}
	}
}

// Callers, contexts that end, hosts that come, go, commit and roll back, commits that fail in every way, and a Close in
// the middle: each call returns, and what it was told is true.
func TestUpdateUnderAllInterleavings(t *testing.T) {
	rounds := 30
	if testing.Short() {
		rounds = 5
	}
	for seed := range rounds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { interleave(t, uint64(seed)) })
	}
}

func interleave(t *testing.T, seed uint64) {
	path := filepath.Join(t.TempDir(), "a.db")
	f, err := Open(path, Options{Kind: "test", NoSync: true})
	must(t, err)
	failAtRandom(f, rand.New(rand.NewPCG(seed, 1)))
	m := &model{present: map[string]bool{}}
	var callers, others sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	for c := range 12 {
		callers.Go(func() { callAtRandom(f, m, c, rand.New(rand.NewPCG(seed, uint64(c)+10))) })
	}
	others.Go(func() { hostAtRandom(ctx, t, f, rand.New(rand.NewPCG(seed, 2))) })
	others.Go(func() { readAtRandom(ctx, t, f) })
	if seed%3 == 0 {
		closeAfter(t, f, m, 100)
	}
	finished := make(chan struct{})
	go func() { callers.Wait(); close(finished) }()
	soon(t, "all calls", finished)
	stop()
	others.Wait()
	must(t, f.Close())
	m.check(t, path)
}

// failAtRandom makes one commit in five fail. Commits run one at a time, so one source of chance is enough.
func failAtRandom(f *File, r *rand.Rand) {
	ways := []string{"lost", "left open", "took place"}
	f.commit = func(tx *bbolt.Tx) error {
		if r.IntN(5) > 0 {
			return tx.Commit()
		}
		return failing[ways[r.IntN(len(ways))]](tx)
	}
}

func callAtRandom(f *File, m *model, caller int, r *rand.Rand) {
	for i := range 40 {
		ctx, cancel := context.Background(), func() {}
		if r.IntN(3) == 0 {
			ctx, cancel = context.WithTimeout(ctx, time.Duration(r.IntN(2000))*time.Microsecond)
		}
		key := fmt.Sprint(caller, "/", i)
		m.note(key, f.Update(ctx, putting(key)))
		cancel()
	}
}

func hostAtRandom(ctx context.Context, t *testing.T, f *File, r *rand.Rand) {
	for ctx.Err() == nil {
		woken := make(chan struct{}, 1)
		release := f.Host(func() {
			select {
			case woken <- struct{}{}:
			default:
			}
		})
		for range r.IntN(6) {
			select {
			case <-woken:
				hostOnce(t, f, r)
			case <-ctx.Done():
			case <-time.After(time.Millisecond):
			}
		}
		release()
	}
}

func hostOnce(t *testing.T, f *File, r *rand.Rand) {
	tx, err := f.Begin()
	if errors.Is(err, ErrClosed) {
		return
	}
	if err != nil {
		t.Error(err)
		return
	}
	tx.TakeWaiting()
	if r.IntN(3) == 0 {
		_ = tx.Rollback()
		return
	}
	_ = tx.Commit()
}

func readAtRandom(ctx context.Context, t *testing.T, f *File) {
	for ctx.Err() == nil {
		err := f.View(func(tx *bbolt.Tx) error { hasKey(tx, "0/0"); return nil })
		if err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
}

// closeAfter closes the file once so many calls were told their outcome.
func closeAfter(t *testing.T, f *File, m *model, calls int) {
	t.Helper()
	eventually(t, "enough calls returned", func() bool { m.mu.Lock(); defer m.mu.Unlock(); return len(m.present) >= calls })
	must(t, f.Close())
}
