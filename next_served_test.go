package cqrs_test

import (
	"context"
	"errors"
	"iter"
	"math"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/store"
	"github.com/cqrs-server/cqrs/store/bolt"
)

// The same on a queue and a store of their own: owners, followers and replicas each build the next version in their own folder.

// gatedStore gives its log up to a t only, until it is opened.
type gatedStore struct {
	store.Store
	upTo   atomic.Uint64
	damage atomic.Bool // what it gives is not what was put
}

func (g *gatedStore) Log(ctx context.Context, shard int, from uint64) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		for r, err := range g.Store.Log(ctx, shard, from) {
			if err == nil && r.T > g.upTo.Load() {
				return
			}
			if g.damage.Load() && r.T == 7 {
				r.Code = "other"
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

func openGated(t *testing.T) *gatedStore {
	t.Helper()
	archive, err := bolt.Open(filepath.Join(t.TempDir(), "archive.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { archive.Close() })
	g := &gatedStore{Store: archive}
	g.upTo.Store(math.MaxUint64)
	return g
}

// filledBehindGate is a folder whose version 1 has 300 commands behind it, in a store with a gate.
func filledBehindGate(t *testing.T) (dir string, g *gatedStore, cfg cqrs.Config) {
	t.Helper()
	dir, g, cfg = t.TempDir(), openGated(t), versionConfig("1", 1)
	cfg.Store = g
	rt, _, stop := start(t, dir, cfg)
	fill(t, rt, 300)
	stop()
	return dir, g, cfg
}

// While the store lacks some of the log the old version serves, and commands flow.
func TestNextVersionWaitsForTheStore(t *testing.T) {
	dir, g, cfg := filledBehindGate(t)
	g.upTo.Store(200)
	cfg = withNext(cfg, "2", second)
	rt, _, stop := start(t, dir, cfg)
	eventually(t, func() bool { b := rt.Health()[0].Building; return b != nil && b.T == 200 })
	f := startFlow(t, rt, 4)
	for ctx := patience(t); f.ended() < 200; {
		mustDeadline(t, ctx)
	}
	if h := rt.Health()[0]; h.Version != "1" || h.Building == nil || h.Building.T != 200 || h.Building.Of < 300 {
		t.Errorf("health %+v %+v", h, h.Building)
	}
	g.upTo.Store(math.MaxUint64)
	awaitVersion(t, rt, "2")
	f.stop()
	checkEnded(t, rt, f.taken)
	checkLooks(t, rt, 1)
	checkScrubbed(t, rt)
	stop()
}

// A store that does not have what the log had is found by the digest: the next version never serves.
func TestNextVersionOfAnotherHistoryNeverServes(t *testing.T) {
	dir, g, cfg := filledBehindGate(t)
	g.damage.Store(true)
	rt, _, stop := start(t, dir, withNext(cfg, "2", second))
	eventually(t, func() bool { return rt.Health()[0].Retrying != nil })
	f := startFlow(t, rt, 4)
	for ctx := patience(t); f.ended() < 100; {
		mustDeadline(t, ctx)
	}
	f.stop()
	if h := rt.Health()[0]; h.Version != "1" {
		t.Errorf("health %+v", h)
	}
	stop()
	g.damage.Store(false)
	rt, _, _ = start(t, dir, cfg) // nothing is wrong with what serves
	checkEnded(t, rt, f.taken)
}

func TestNextVersionOnEachProcess(t *testing.T) {
	c := newCluster(t, 2)
	c.config = versionConfig("1", 1)
	a, b := c.add(""), c.add("")
	r := c.add("", func(cfg *cqrs.Config) { cfg.Role = cqrs.Replica })
	c.load(patience(t), 8, 40, a.rt, b.rt).Wait()
	stop := c.keepLoading(patience(t), 6, a.rt)
	next := func(cfg *cqrs.Config) { *cfg = withNext(*cfg, "2", second) }
	var members []*member
	for _, m := range []*member{b, r} { // a rolling deployment: both versions decide meanwhile
		m.stop()
		m = c.add(m.dir, next, func(cfg *cqrs.Config) {
			if m == r {
				cfg.Role = cqrs.Replica
			}
		})
		awaitVersion(t, m.rt, "2")
		members = append(members, m)
	}
	stop()
	a.stop()
	a = c.add(a.dir, next)
	stop = c.keepLoading(patience(t), 6, a.rt, members[0].rt)
	awaitVersion(t, a.rt, "2")
	stop()
	c.check(a, members[0], members[1])
	for _, m := range append(members, a) {
		for n := range 2 {
			if got, want := valuesFrom(t, m.rt.Shard(n), 0), valuesFrom(t, a.rt.Shard(n), 0); got != want {
				t.Errorf("shard %d is\n%s\nand elsewhere\n%s", n, got, want)
			}
		}
	}
}

// The work changes hands while the next version is built.
func TestNextVersionWhileTheWorkChangesHands(t *testing.T) {
	c := newCluster(t, 1)
	c.config = versionConfig("1", 1)
	a, b := c.add(""), c.add("")
	c.load(patience(t), 8, 100, a.rt, b.rt).Wait()
	a.stop()
	b.stop()
	slow := second
	slow.seen = func() { busy(20_000) }
	next := func(cfg *cqrs.Config) { *cfg = withNext(*cfg, "2", slow) }
	a, b = c.add(a.dir, next), c.add(b.dir, next)
	stop := c.keepLoading(patience(t), 6, b.rt)
	a.stop()
	a = c.add(a.dir, next)
	awaitVersion(t, a.rt, "2")
	awaitVersion(t, b.rt, "2")
	stop()
	c.check(a, b)
}

var worked atomic.Int64

// busy takes a moment's work.
func busy(n int) {
	for range n {
		worked.Add(1)
	}
}

// A commit of the take-over whose outcome can't be learned: no batch begins before it is known which version serves.
func TestNextVersionOfUnknownOutcome(t *testing.T) {
	for _, took := range []bool{true, false} {
		dir := t.TempDir()
		rt, _, stop := start(t, dir, versionConfig("1", 1))
		fill(t, rt, 300)
		stop()
		rt, err := cqrs.Open(dir, withNext(versionConfig("1", 1), "2", second))
		if err != nil {
			t.Fatal(err)
		}
		lost := cqrs.LoseTakeOver(t, rt, "1", "2", took)
		ended := make(chan error, 1)
		go func() { ended <- rt.Run(context.Background()) }()
		f := startFlow(t, rt, 4)
		awaitVersion(t, rt, "2")
		for from, ctx := f.ended(), patience(t); f.ended() < from+100; {
			mustDeadline(t, ctx)
		}
		f.stop()
		if !lost.Done.Load() || lost.Wrong.Load() {
			t.Errorf("the take-over failed: %v; the old version was written then: %v", lost.Done.Load(), lost.Wrong.Load())
		}
		checkEnded(t, rt, f.taken)
		checkLooks(t, rt, 1)
		if err := errors.Join(rt.Close(), <-ended); err != nil {
			t.Error(err)
		}
		rt, _, stop = start(t, dir, versionConfig("2", 2))
		checkEnded(t, rt, f.taken)
		stop()
	}
}
