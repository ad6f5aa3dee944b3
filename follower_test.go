package cqrs_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/store"
	"github.com/cqrs-server/cqrs/store/bolt"
)

// A second read side: how often each amount was added.

type amount struct{ By, Times int }

var amounts = cqrs.NewTable("amounts", func(a amount) int { return a.By })

type byAmount struct {
	factor int
	gate   chan struct{} // when not nil, folds wait for it
}

func (f byAmount) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	if f.gate != nil {
		<-f.gate
	}
	if e, ok := e.(added); ok {
		a, _ := amounts.Get(tx, e.By)
		return amounts.Put(tx, amount{e.By, a.Times + f.factor})
	}
	return nil
}

func amountsOf(t *testing.T, v cqrs.View) string {
	t.Helper()
	s := ""
	for a, err := range amounts.All(v) {
		if err != nil {
			t.Fatal(err)
		}
		s += fmt.Sprintf("%d:%d ", a.By, a.Times)
	}
	return s
}

func fill(t *testing.T, rt *cqrs.Runtime, n int) {
	t.Helper()
	fillWith(t, rt, n, "")
}

// fillLarge fills with commits so large that building takes a step for every 2,000 of them.
func fillLarge(t *testing.T, rt *cqrs.Runtime, n int) {
	t.Helper()
	fillWith(t, rt, n, strings.Repeat("x", 4100))
}

func fillWith(t *testing.T, rt *cqrs.Runtime, n int, mode string) {
	t.Helper()
	commands := make([]add, n)
	for i := range commands {
		commands[i] = add{Name: "a", By: i % 3, Mode: mode}
	}
	receipts := sendAll(t, rt, commands...)
	for _, r := range receipts {
		if _, err := r.Wait(patience(t)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAggregateAddedLaterIsAsIfItHadAlwaysBeenThere(t *testing.T) {
	dir := t.TempDir()
	rt, _, stop := start(t, dir, counterConfig())
	fill(t, rt, 2500)
	stop()

	cfg := counterConfig()
	cfg.Aggregates = []cqrs.Aggregate{{Name: "amounts", Aggregator: byAmount{factor: 1}, Tables: []cqrs.AnyTable{amounts}}}
	var mu sync.Mutex
	var heard []cqrs.Progress
	cfg.Progress = func(p cqrs.Progress) { mu.Lock(); defer mu.Unlock(); heard = append(heard, p) }
	for range 2 { // the second time it goes on where it was
		rt, _, stop = start(t, dir, cfg)
		side := rt.Shard(0).Aggregate("amounts")
		if _, err := side.AtLeast(patience(t), 2500); err != nil {
			t.Fatal(err)
		}
		if got := amountsOf(t, side.AsOf(2500)); got != "0:834 1:833 2:833 " {
			t.Errorf("amounts %s", got)
		}
		if got := amountsOf(t, side.AsOf(4)); got != "0:2 1:1 2:1 " {
			t.Errorf("as of 4 %s", got)
		}
		fill(t, rt, 3)
		if _, err := side.AtLeast(patience(t), rt.View().T()); err != nil {
			t.Fatal(err)
		}
		mine, at := side.Digest()
		if theirs, _ := rt.Shard(0).Digest(); mine != theirs || at != rt.View().T() {
			t.Error("the digests differ")
		}
		stop()
	}
	mu.Lock()
	defer mu.Unlock()
	if len(heard) == 0 || heard[0].Aggregate != "amounts" || heard[0].Of < 2500 || heard[0].Rate <= 0 {
		t.Errorf("progress %+v", heard)
	}
	if rt.Shard(0).Aggregate("nobody") != nil {
		t.Error("an aggregate that nobody named")
	}
}

func TestOldVersionServesUntilTheNewOneHasCaughtUp(t *testing.T) {
	dir, cfg := t.TempDir(), counterConfig()
	old := cqrs.Aggregate{Name: "amounts", Version: "1", Aggregator: byAmount{factor: 1}, Tables: []cqrs.AnyTable{amounts}}
	cfg.Aggregates = []cqrs.Aggregate{old}
	rt, _, stop := start(t, dir, cfg)
	fill(t, rt, 30)
	if _, err := rt.Shard(0).Aggregate("amounts").AtLeast(patience(t), 30); err != nil {
		t.Fatal(err)
	}
	stop()

	gate := make(chan struct{})
	next := cqrs.Aggregate{Name: "amounts", Version: "2", Aggregator: byAmount{factor: 10, gate: gate}, Tables: []cqrs.AnyTable{amounts}}
	cfg.Aggregates = []cqrs.Aggregate{old, next}
	rt, _, _ = start(t, dir, cfg)
	fill(t, rt, 3) // also while commands flow
	side := rt.Shard(0).Aggregate("amounts")
	if v, err := side.AtLeast(patience(t), 33); err != nil || side.Version() != "1" || amountsOf(t, v) != "0:11 1:11 2:11 " {
		t.Errorf("version %s %v", side.Version(), err)
	}
	close(gate)
	for ctx := patience(t); rt.Shard(0).Aggregate("amounts").Version() != "2"; {
		mustDeadline(t, ctx)
	}
	v, err := rt.Shard(0).Aggregate("amounts").AtLeast(patience(t), 33)
	if err != nil || amountsOf(t, v) != "0:110 1:110 2:110 " {
		t.Errorf("%s %v", amountsOf(t, v), err)
	}
}

type doubling struct{}

func (doubling) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	if e, ok := e.(added); ok {
		c, _ := counters.Get(tx, e.Name)
		return counters.Put(tx, counter{Name: e.Name, Value: c.Value + 2*e.By})
	}
	return nil
}

func TestChangedVersionIsBuiltAnewByOpen(t *testing.T) {
	dir, cfg := t.TempDir(), counterConfig()
	rt, _, stop := start(t, dir, cfg)
	fill(t, rt, 2100)
	first := mustDo(t, rt, add{Name: "b", By: 7})
	digest, at := rt.Shard(0).Digest()
	size := rt.Health()[0].FileBytes
	stop()

	cfg.Version, cfg.Aggregator = "2", doubling{}
	for range 2 {
		rt, _, stop = start(t, dir, cfg)
		if got := value(t, rt.View(), "b"); got != 14 {
			t.Errorf("b is %d", got)
		}
		if got := value(t, rt.AsOf(3), "a"); got != 6 {
			t.Errorf("as of 3 a is %d", got)
		}
		if d, n := rt.Shard(0).Digest(); d != digest || n != at {
			t.Error("the digest changed")
		}
		if again := mustDo(t, rt, add{Name: "b", By: 7}, cqrs.WithID(first.Command)); !again.Repeat || again.T != first.T {
			t.Errorf("a repeated command: %+v", again)
		}
		stop()
	}
	cfg.Version, cfg.Aggregator = "3", counting{}
	rt, _, _ = start(t, dir, cfg)
	if got := value(t, rt.View(), "b"); got != 7 || rt.Shard(0).Version() != "3" {
		t.Errorf("b is %d in version %s", got, rt.Shard(0).Version())
	}
	if got := rt.Health()[0].FileBytes; got > 3*size {
		t.Errorf("the file grew from %d to %d bytes: old versions were not dropped", size, got)
	}
}

func TestBadAggregates(t *testing.T) {
	_, err := cqrs.Open(t.TempDir(), cqrs.Config{Version: "a/b", Aggregates: []cqrs.Aggregate{
		{}, {Name: "../x", Aggregator: byAmount{}}, {Name: "a", Aggregator: byAmount{}}, {Name: "a", Aggregator: byAmount{}},
	}})
	for _, want := range []string{`Version is "a/b"`, "Aggregates[0]", "Aggregates[1]", "Aggregator is nil", "named twice"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
}

// A Version that was forgotten is not taken for another one.
func TestVersionThatWasForgotten(t *testing.T) {
	dir, cfg := t.TempDir(), counterConfig()
	_, _, stop := start(t, dir, cfg)
	stop()
	cfg.Version = "2"
	rt, _, stop := start(t, dir, cfg)
	fill(t, rt, 5)
	stop()
	cfg.Version, cfg.Aggregator = "", doubling{}
	_, err := cqrs.Open(dir, cfg)
	for _, want := range []string{"shard-0.db", `version "2"`, "Config.Version is empty", `set it to "2"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("the error does not say %q: %v", want, err)
		}
	}
	cfg.Version, cfg.Aggregator = "2", counting{}
	if rt, _, _ := start(t, dir, cfg); value(t, rt.View(), "a") != 4 {
		t.Error("the tables have changed")
	}
}

// counted counts what it folds, and waits at one event until it is released.
type counted struct {
	byAmount
	folded   *atomic.Int64
	waitAt   int64
	waiting  chan struct{}
	released chan struct{}
}

func (c counted) AggregateEvent(ctx context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	if c.folded.Add(1) == c.waitAt {
		close(c.waiting)
		<-c.released
	}
	return c.byAmount.AggregateEvent(ctx, tx, e)
}

// An aggregate that is being built while commands flow can be stopped, and goes on where it was.
func TestAggregateStoppedWhileItIsBuilt(t *testing.T) {
	dir, cfg := t.TempDir(), counterConfig()
	rt, _, stop := start(t, dir, cfg)
	fillLarge(t, rt, 7000)
	stop()

	c := counted{byAmount{factor: 1}, new(atomic.Int64), 3000, make(chan struct{}), make(chan struct{})}
	cfg.Aggregates = []cqrs.Aggregate{{Name: "amounts", Aggregator: c, Tables: []cqrs.AnyTable{amounts}}}
	rt, err := cqrs.Open(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stopRun := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- rt.Run(ctx) }()
	<-c.waiting
	fill(t, rt, 30) // commands do not wait for it
	if side := rt.Shard(0).Aggregate("amounts"); side.View().T() == 0 || side.View().T() >= 3000 {
		t.Errorf("it has come to t %d", side.View().T())
	}
	stopRun()
	close(c.released)
	if err := errors.Join(<-ended, rt.Close()); err != nil {
		t.Fatal(err)
	}

	if rt, err = cqrs.Open(dir, cfg); err != nil {
		t.Fatal(err)
	}
	came := rt.Shard(0).Aggregate("amounts").View().T()
	if err := rt.Close(); err != nil || came == 0 || came >= 7000 {
		t.Fatalf("it had come to t %d (%v)", came, err)
	}
	before := c.folded.Load()
	rt, _, _ = start(t, dir, cfg)
	side := rt.Shard(0).Aggregate("amounts")
	fill(t, rt, 30)
	at := rt.View().T()
	if _, err := side.AtLeast(patience(t), at); err != nil {
		t.Fatal(err)
	}
	if again := before + int64(at-came); c.folded.Load() != again {
		t.Errorf("%d events were folded, wanted %d: it did not go on where it was", c.folded.Load(), again)
	}
	sum := 0
	for a, err := range amounts.All(side.AsOf(at)) {
		if sum += a.Times; err != nil {
			t.Fatal(err)
		}
	}
	if mine, _ := side.Digest(); uint64(sum) != at {
		t.Errorf("%d of %d events are counted (%x)", sum, at, mine)
	}
}

// plainStore gives its log as records only.
type plainStore struct{ store.Store }

func TestAggregateFromAStoreOfRecords(t *testing.T) {
	dir := t.TempDir()
	archive, err := bolt.Open(filepath.Join(dir, "archive.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	cfg := counterConfig()
	cfg.Store = plainStore{archive}
	rt, _, stop := start(t, filepath.Join(dir, "data"), cfg)
	fill(t, rt, 700)
	stop()
	cfg.Aggregates = []cqrs.Aggregate{{Name: "amounts", Aggregator: byAmount{factor: 1}, Tables: []cqrs.AnyTable{amounts}}}
	rt, _, _ = start(t, filepath.Join(dir, "data"), cfg)
	side := rt.Shard(0).Aggregate("amounts")
	v, err := side.AtLeast(patience(t), 700)
	if err != nil || amountsOf(t, v) != "0:234 1:233 2:233 " {
		t.Errorf("%s %v", amountsOf(t, v), err)
	}
	mine, _ := side.Digest()
	if theirs, at := rt.Shard(0).Digest(); mine != theirs || at != 700 {
		t.Error("the digests differ")
	}
}
