package cqrs_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/google/uuid"
	"go.etcd.io/bbolt"
	"go.uber.org/goleak"
)

// openFiles counts this process's open files, or says that it can't.
func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Skipf("this system does not tell which files are open: %v", err)
	}
	return len(list)
}

// changeMeta changes what a shard's file says of itself.
func changeMeta(t *testing.T, path, key, value string) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte(key), []byte(value)) })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// Each reason why a folder can't be opened is told, and leaves neither an open file nor a goroutine, nor a lock.
func TestOpenThatFailsLeavesNothing(t *testing.T) {
	other := cqrs.NewTable("counters", func(c counter) int { return c.Value })
	for name, c := range map[string]struct {
		spoil func(t *testing.T, dir string)
		cfg   func(cfg *cqrs.Config)
		want  []string
		is    error
	}{
		"bad config":     {cfg: func(c *cqrs.Config) { c.Batch = -1 }, want: []string{"Batch is -1"}},
		"other shards":   {cfg: func(c *cqrs.Config) { c.Shards = 3 }, want: []string{"made with Shards 2"}},
		"other keys":     {cfg: func(c *cqrs.Config) { c.Tables = []cqrs.AnyTable{other} }, want: []string{"table counters was made with keys of type string"}},
		"bad plan":       {cfg: func(c *cqrs.Config) { p := cqrs.DefaultPlan(); delete(p.Catalog, "event/store"); c.Plan = &p }, want: []string{"Plan", "event/store"}},
		"second is cut":  {spoil: func(t *testing.T, dir string) { cut(t, dir, 5000) }, want: []string{"shard-1.db", "damaged"}},
		"second is void": {spoil: func(t *testing.T, dir string) { cut(t, dir, 0) }, want: []string{"shard-1.db", "damaged"}},
		"another format": {spoil: func(t *testing.T, dir string) { changeMeta(t, filepath.Join(dir, "shard-1.db"), "format", "\x63") },
			want: []string{"shard-1.db", "format version [99]", "version 1"}},
		"another kind": {spoil: func(t *testing.T, dir string) { changeMeta(t, filepath.Join(dir, "shard-1.db"), "kind", "diary") },
			want: []string{"shard-1.db", `"diary"`}},
		"locked": {spoil: hold, want: []string{"shard-1.db"}, is: cqrs.ErrLocked},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := counterConfig()
			cfg.Shards, cfg.LockTimeout = 2, 50*time.Millisecond
			dir := t.TempDir()
			rt, err := cqrs.Open(dir, cfg)
			if err != nil || rt.Close() != nil {
				t.Fatal(err)
			}
			if c.spoil != nil {
				c.spoil(t, dir)
			}
			checkOpenFails(t, dir, cfg, c.cfg, c.want, c.is)
		})
	}
}

func cut(t *testing.T, dir string, size int64) {
	t.Helper()
	if err := os.Truncate(filepath.Join(dir, "shard-1.db"), size); err != nil {
		t.Fatal(err)
	}
}

// hold has the second shard's file open until the test ends.
func hold(t *testing.T, dir string) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(dir, "shard-1.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
}

func checkOpenFails(t *testing.T, dir string, good cqrs.Config, change func(*cqrs.Config), want []string, is error) {
	t.Helper()
	bad := good
	if change != nil {
		change(&bad)
	}
	before, running := openFiles(t), goleak.IgnoreCurrent()
	for range 5 {
		rt, err := cqrs.Open(dir, bad)
		if err == nil {
			rt.Close()
			t.Fatal("it opened")
		}
		for _, text := range append(want, dir) {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("the error does not say %q: %v", text, err)
			}
		}
		if is != nil && !errors.Is(err, is) {
			t.Errorf("%v is not %v", err, is)
		}
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d files were open, and now %d are", before, after)
	}
	if err := goleak.Find(running); err != nil {
		t.Error(err)
	}
	if change == nil {
		return
	}
	rt, err := cqrs.Open(dir, good) // nothing is locked
	if err != nil {
		t.Fatal(err)
	}
	rt.Close()
}

// Runtimes that are opened, run and closed again and again leave nothing either.
func TestCloseLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	before, running := openFiles(t), goleak.IgnoreCurrent()
	for range 20 {
		rt, _, stop := start(t, dir, counterConfig())
		mustDo(t, rt, add{Name: "a", By: 1})
		stop()
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d files were open, and now %d are", before, after)
	}
	if err := goleak.Find(running); err != nil {
		t.Error(err)
	}
}

// dayClock is a clock that a test sets.
type dayClock struct{ millis atomic.Int64 }

func (c *dayClock) now() time.Time       { return time.UnixMilli(c.millis.Load()) }
func (c *dayClock) jump(d time.Duration) { c.millis.Add(d.Milliseconds()) }

func newDayClock() *dayClock {
	c := &dayClock{}
	c.millis.Store(1_700_000_000_000)
	return c
}

// Invariant 24: the clock gives commands their time, and decides nothing else: the same commands under a clock that jumps by a day in either
// direction give the same ids, order and rows, and a repeated command still does nothing.
func TestClockJumps(t *testing.T) {
	type end struct {
		events []uuid.UUID
		at     []uint64
		sum    int
		last   uuid.UUID
	}
	var ends [2]end
	for i, jump := range []time.Duration{0, 24 * time.Hour} {
		clock := newDayClock()
		cfg := counterConfig()
		cfg.Now = clock.now
		rt, _, stop := start(t, t.TempDir(), cfg)
		for n := range 40 {
			clock.jump(jump * time.Duration([]int{1, -1, -2, 3}[n%4]))
			id := cqrs.WithID(uuid.UUID{6: 0x40, 15: byte(n % 30)}) // the last ten are repeated
			out := mustDo(t, rt, add{Name: "a", By: n % 30}, id)
			if out.Repeat != (n >= 30) {
				t.Errorf("command %d: %+v", n, out)
			}
			ends[i].events, ends[i].at = append(ends[i].events, out.Events[0].ID), append(ends[i].at, out.T)
		}
		c, err := counters.Get(rt.View(), "a")
		if err != nil {
			t.Fatal(err)
		}
		ends[i].sum, ends[i].last = c.Value, c.Last
		checkLog(t, rt)
		stop()
	}
	if !equalJSON(t, ends[0], ends[1]) {
		t.Errorf("without jumps: %+v\nwith jumps: %+v", ends[0], ends[1])
	}
}

// Invariants 1 and 6: retention lets go of messages that were handled and are old, and of nothing else. Dedup and dead letters outlive it.
func TestRetention(t *testing.T) {
	clock := newDayClock()
	cfg := counterConfig()
	cfg.Now, cfg.Retention, cfg.MaxInFlight = clock.now, time.Hour, 1
	cfg.Batch = 10 // so that commands still wait when old messages are let go
	dir := t.TempDir()
	rt, _, stop := start(t, dir, cfg)
	ids := make([]uuid.UUID, 30)
	for i := range ids {
		ids[i] = uuid.New()
		_, _ = do(t, rt, retained(i), cqrs.WithID(ids[i]))
	}
	stop()
	waiting := sendOld(t, dir, cfg)

	clock.jump(48 * time.Hour)
	rt, _, _ = start(t, dir, cfg)
	if _, err := rt.Shard(0).AtLeast(patience(t), 10+uint64(waiting)); err != nil {
		t.Fatalf("commands that waited were not all decided: %v", err)
	}
	mustDo(t, rt, add{Name: "b", By: 1})
	clock.jump(2 * time.Minute)
	mustDo(t, rt, add{Name: "b", By: 1})
	start, end := cqrs.CommandBounds(t, rt)
	from, to := cqrs.FeedbackBounds(t, rt)
	if start < int64(len(ids)+waiting) || start >= end || from == 0 || from >= to {
		t.Errorf("commands %d to %d, feedback %d to %d", start, end, from, to)
	}
	for i, id := range ids {
		before := rt.View().T()
		out, err := do(t, rt, retained(i), cqrs.WithID(id))
		if again := i%3 == 0 && err == nil && out.Repeat; i%3 < 2 && again == (err != nil) || rt.View().T() != before {
			t.Errorf("command %d, again: %+v %v", i, out, err)
		}
	}
	checkEnded(t, rt, ids[:0])
	if letters, err := rt.DeadLetters(t.Context()); err != nil || len(letters) != 20 {
		t.Errorf("%d dead letters, %v", len(letters), err)
	}
}

// retained is accepted, refused or dead, in turns.
func retained(i int) add { return add{Name: "a", By: 1, Mode: []string{"", "reject", "panic"}[i%3]} }

// sendOld sends commands that nobody works on yet.
func sendOld(t *testing.T, dir string, cfg cqrs.Config) (n int) {
	t.Helper()
	rt, err := cqrs.Open(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	for n = range 25 {
		if _, err := rt.Send(t.Context(), add{Name: "a", By: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	return n + 1
}
