package cqrs_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/workflow"
)

// Invariants 1, 5, 6, 8, 11, 12, 13: the next version is built and takes over while commands of all kinds flow. No command is lost or done
// twice, no decision sees a mix, and what serves then is what Open builds in one go.
func TestNextVersionTakesOverWhileCommandsFlow(t *testing.T) {
	dir := t.TempDir()
	rt, _, stop := start(t, dir, versionConfig("1", 1))
	fill(t, rt, 4000)
	stop()

	cfg := withNext(versionConfig("1", 1), "2", second)
	var mu sync.Mutex
	var heard []cqrs.Progress
	cfg.Progress = func(p cqrs.Progress) { mu.Lock(); defer mu.Unlock(); heard = append(heard, p) }
	rt, _, stop = start(t, dir, cfg)
	f := startFlow(t, rt, 8)
	awaitVersion(t, rt, "2")
	for from, ctx := f.ended(), patience(t); f.ended() < from+200; {
		mustDeadline(t, ctx)
	}
	f.stop()
	checkEnded(t, rt, f.taken)
	if seen := checkLooks(t, rt, 1); seen[2] == 0 {
		t.Errorf("decisions by version: %v", seen)
	}
	if h := rt.Health()[0]; h.Building != nil || h.Version != "2" || h.Retrying != nil {
		t.Errorf("health %+v", h)
	}
	checkScrubbed(t, rt)
	want := valuesFrom(t, rt.Shard(0), 0)
	stop()
	mu.Lock()
	if n := len(heard); n == 0 || heard[n-1].Version != "2" || heard[n-1].Aggregate != "main" || heard[n-1].Rate <= 0 || heard[n-1].T < 4000 {
		t.Errorf("progress %+v", heard)
	}
	heard = nil
	mu.Unlock()

	again := versionConfig("2", 2)
	again.Progress = cfg.Progress
	for _, cfg := range []cqrs.Config{cfg, again, versionConfig("3", 2)} { // the last one is built by Open
		rt, _, stop = start(t, dir, cfg)
		if got := valuesFrom(t, rt.Shard(0), 0); got != want {
			t.Errorf("version %s is\n%s\nand was\n%s", rt.Shard(0).Version(), got, want)
		}
		if n := cqrs.Versions(t, rt); n != 1 {
			t.Errorf("the file holds %d versions", n)
		}
		stop()
	}
	if len(heard) > 0 {
		t.Errorf("something was built: %+v", heard)
	}
}

func checkScrubbed(t *testing.T, rt *cqrs.Runtime) {
	t.Helper()
	report, err := rt.Scrub(t.Context(), cqrs.ScrubOptions{Tables: true})
	if err != nil || report.Different > 0 {
		t.Errorf("scrub: %v %v", report.Differences, err)
	}
}

// Each shard takes over by itself. Bounded history is pruned in both versions.
func TestNextVersionOfSeveralShardsWithBoundedHistory(t *testing.T) {
	dir := t.TempDir()
	bounded := func(cfg cqrs.Config) cqrs.Config {
		cfg.Shards, cfg.KeepHistory = 3, 100
		return cfg
	}
	rt, _, stop := start(t, dir, bounded(versionConfig("1", 1)))
	f := startFlow(t, rt, 8)
	for ctx := patience(t); f.ended() < 2000; {
		mustDeadline(t, ctx)
	}
	f.stop()
	stop()
	rt, _, stop = start(t, dir, bounded(withNext(versionConfig("1", 1), "2", second)))
	f = startFlow(t, rt, 8)
	awaitVersion(t, rt, "2")
	for from, ctx := f.ended(), patience(t); f.ended() < from+500; {
		mustDeadline(t, ctx)
	}
	f.stop()
	checkScrubbed(t, rt)
	var want []string
	for n := range 3 {
		if _, err := counters.Get(rt.Shard(n).AsOf(1), "n1"); !errors.Is(err, cqrs.ErrPruned) {
			t.Errorf("shard %d as of t 1: %v", n, err)
		}
		want = append(want, valuesFrom(t, rt.Shard(n), rt.Shard(n).View().T()-90))
	}
	stop()
	rt, _, _ = start(t, dir, bounded(versionConfig("3", 2)))
	for n := range 3 {
		if got := valuesFrom(t, rt.Shard(n), rt.Shard(n).View().T()-90); got != want[n] {
			t.Errorf("shard %d is\n%s\nand was\n%s", n, got, want[n])
		}
	}
}

// halfBuilt is a folder with 4,000 commits, of which the next version has about the first ones.
func halfBuilt(t *testing.T) (dir string, cfg cqrs.Config, folded *atomic.Int64) {
	t.Helper()
	dir = t.TempDir()
	rt, _, stop := start(t, dir, versionConfig("1", 1))
	fillLarge(t, rt, 4000)
	stop()
	folded = new(atomic.Int64)
	reached, released := make(chan struct{}), make(chan struct{})
	f := second
	f.seen = func() {
		if folded.Add(1) == 2000 {
			close(reached)
			<-released
		}
	}
	cfg = withNext(versionConfig("1", 1), "2", f)
	rt, err := cqrs.Open(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- rt.Run(ctx) }()
	<-reached
	cancel()
	close(released)
	if err := errors.Join(<-ended, rt.Close()); err != nil {
		t.Fatal(err)
	}
	return dir, cfg, folded
}

// Stopped, it goes on where it was, in a copy of the folder as well. A program that does not name it gives it up.
func TestNextVersionStoppedGoesOn(t *testing.T) {
	dir, cfg, folded := halfBuilt(t)
	rt, err := cqrs.Open(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	h := rt.Health()[0]
	if h.Version != "1" || h.Building == nil || h.Building.T == 0 || h.Building.T >= 2000 || h.Building.Of != 4000 || h.Building.Version != "2" {
		t.Errorf("health %+v %+v", h, h.Building)
	}
	checkScrubbed(t, rt)
	if report, err := rt.Audit(t.Context(), cqrs.AuditOptions{}); err != nil || report.Different > 0 || report.Same == 0 {
		t.Errorf("audit %+v %v", report, err)
	}
	var snapshot bytes.Buffer
	if err := errors.Join(rt.Snapshot(t.Context(), &snapshot), rt.Compact(t.Context()), rt.Close()); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	if err := cqrs.Restore(t.Context(), copied, &snapshot); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{copied, dir} {
		before := folded.Load()
		rt, _, stop := start(t, at, cfg)
		awaitVersion(t, rt, "2")
		if again := folded.Load() - before; again != int64(4000-h.Building.T) {
			t.Errorf("%d events were folded, and %d were left", again, 4000-h.Building.T)
		}
		if got := value(t, rt.View(), "a"); got != 3999 {
			t.Errorf("a is %d", got)
		}
		stop()
	}
}

func TestNextVersionGivenUp(t *testing.T) {
	dir, _, _ := halfBuilt(t)
	rt, _, _ := start(t, dir, versionConfig("1", 1))
	if n := cqrs.Versions(t, rt); n != 1 || rt.Shard(0).Version() != "1" {
		t.Errorf("the file holds %d versions, and %s serves", n, rt.Shard(0).Version())
	}
	checkScrubbed(t, rt)
}

// A view reads the version that it was taken from, as long as the runtime is open.
func TestViewsBeforeAndAfterTheNextVersion(t *testing.T) {
	dir := t.TempDir()
	rt, _, stop := start(t, dir, versionConfig("1", 1))
	fill(t, rt, 300)
	stop()
	rt, err := cqrs.Open(dir, withNext(versionConfig("1", 1), "2", versioned{version: 2, times: 10}))
	if err != nil {
		t.Fatal(err)
	}
	before, past := rt.View(), rt.AsOf(150)
	if _, err := sums.Get(before, "a"); err == nil || !strings.Contains(err.Error(), `version "1" of the aggregate has a table sums that is another`) {
		t.Errorf("a table that version 1 lacks: %v", err)
	}
	if _, err := amounts.Get(before, 1); err == nil || !strings.Contains(err.Error(), `version "1" of the aggregate has no table amounts`) {
		t.Errorf("a table that nobody has: %v", err)
	}
	receipt, err := rt.Send(t.Context(), ask{"a"}) // it can't be decided on version 1
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- rt.Run(context.Background()) }()
	defer func() {
		if err := errors.Join(rt.Close(), <-ended); err != nil {
			t.Error(err)
		}
	}()
	awaitVersion(t, rt, "2")
	out, err := receipt.Wait(patience(t))
	if err != nil || out.Events[0].Value != (looked{2, 3000}) {
		t.Errorf("ask: %+v %v", out, err)
	}
	mustDo(t, rt, add{Name: "a", By: 1})
	for name, c := range map[string]struct{ got, want int }{
		"before": {value(t, before, "a"), 300}, "before, as of 150": {value(t, past, "a"), 150},
		"after": {value(t, rt.View(), "a"), 3010}, "after, as of 150": {value(t, rt.AsOf(150), "a"), 1500},
	} {
		if c.got != c.want {
			t.Errorf("%s: a is %d, wanted %d", name, c.got, c.want)
		}
	}
	checkOldView(t, rt, before)
}

func checkOldView(t *testing.T, rt *cqrs.Runtime, before cqrs.View) {
	t.Helper()
	what, _, err := before.With(t.Context(), cqrs.IfSent(add{Name: "a", By: 5}))
	if err != nil || value(t, what, "a") != 305 || value(t, rt.View(), "a") != 3010 {
		t.Errorf("with: %d %v", value(t, what, "a"), err)
	}
	what, _, err = rt.View().With(t.Context(), cqrs.IfSent(add{Name: "a", By: 5}))
	if err != nil || value(t, what, "a") != 3060 {
		t.Errorf("with: %d %v", value(t, what, "a"), err)
	}
	for _, err := range counters.Diff(before, rt.View()) {
		if err == nil || !strings.Contains(err.Error(), `views of versions "1" and "2"`) {
			t.Errorf("diff: %v", err)
		}
	}
	for s, err := range sumsByAll.Whole().Rows(rt.View()) {
		if err != nil || s != (sumOf{"a", 3010}) {
			t.Errorf("by the index: %+v %v", s, err)
		}
	}
}

// A folder that is new, or has neither version, gets Next at once.
func TestNextVersionWithoutOneThatServes(t *testing.T) {
	cfg := withNext(versionConfig("1", 1), "2", second)
	rt, _, stop := start(t, t.TempDir(), cfg)
	if rt.Shard(0).Version() != "2" || rt.Health()[0].Building != nil {
		t.Errorf("version %s", rt.Shard(0).Version())
	}
	stop()
	dir := t.TempDir()
	rt, _, stop = start(t, dir, versionConfig("0", 1))
	fill(t, rt, 100)
	stop()
	rt, _, _ = start(t, dir, cfg)
	if rt.Shard(0).Version() != "2" || value(t, rt.View(), "a") != 99 || cqrs.Versions(t, rt) != 1 {
		t.Errorf("version %s", rt.Shard(0).Version())
	}
}

func TestBadNext(t *testing.T) {
	bad := func(next cqrs.Aggregate) error {
		cfg := versionConfig("1", 1)
		cfg.Next = &next
		_, err := cqrs.Open(t.TempDir(), cfg)
		return err
	}
	for want, next := range map[string]cqrs.Aggregate{
		`Name is "x"`:       {Name: "x", Version: "2", Aggregator: second},
		`Version is ""`:     {Aggregator: second},
		`Version is "a/b"`:  {Version: "a/b", Aggregator: second},
		`Version is "1"`:    {Version: "1", Aggregator: second},
		"Aggregator is nil": {Version: "2"},
		"named twice":       {Version: "2", Aggregator: second, Tables: []cqrs.AnyTable{sums, oldSums}},
	} {
		if err := bad(next); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
	dir := t.TempDir()
	_, _, stop := start(t, dir, versionConfig("1", 1))
	stop()
	_, err := cqrs.Open(dir, withNext(versionConfig("", 1), "2", second))
	if err == nil || !strings.Contains(err.Error(), "Config.Version is empty") {
		t.Errorf("a version that was forgotten: %v", err)
	}
}

// seenBy counts how often each commit comes to an output outside the file.
type seenBy struct {
	fails atomic.Bool
	mu    sync.Mutex
	times map[uint64]int
}

func (s *seenBy) Flush(_ context.Context, segs []workflow.Segment) error {
	if s.fails.Load() {
		return errors.New("the output is down")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seg := range segs {
		if c, ok := seg.(*cqrs.Commit); ok {
			s.times[c.T]++
		}
	}
	return nil
}

func (s *seenBy) upTo(t uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.times[t] > 0
}

// What outputs outside the file have seen they do not see again because another version has taken over, and what they have not seen is not lost.
func TestNextVersionKnowsWhatOutputsHaveSeen(t *testing.T) {
	dir, s := t.TempDir(), &seenBy{times: map[uint64]int{}}
	rt, _, stop := start(t, dir, withAudit(versionConfig("1", 1), s))
	fill(t, rt, 500)
	eventually(t, func() bool { return s.upTo(500) })
	s.fails.Store(true)
	sendAll(t, rt, add{Name: "a", By: 1}, add{Name: "a", By: 1})
	eventually(t, func() bool { return rt.View().T() == 502 })
	stop()
	rt, _, stop = start(t, dir, withAudit(withNext(versionConfig("1", 1), "2", second), s))
	awaitVersion(t, rt, "2")
	stop()
	s.fails.Store(false)
	rt, _, stop = start(t, dir, withAudit(versionConfig("2", 2), s))
	fill(t, rt, 10)
	eventually(t, func() bool { return s.upTo(512) })
	stop()
	for at := uint64(1); at <= 512; at++ {
		if s.times[at] != 1 {
			t.Errorf("t %d was seen %d times", at, s.times[at])
		}
	}
}
