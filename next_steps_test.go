package cqrs_test

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/internal/steps"

	boltqueue "github.com/cqrs-server/cqrs/queue/bolt"
	boltstore "github.com/cqrs-server/cqrs/store/bolt"
	"go.etcd.io/bbolt"
)

// Two processes on one queue and one store, run step by step: a seed chooses who steps, who crashes, and which commit of a file fails, and how.

type stepWorld struct {
	t       *testing.T
	random  *rand.Rand
	dir     string
	cfg     cqrs.Config
	nodes   [2]steps.Process
	owner   steps.Owner // of the first
	before  [2]cqrs.View
	seen    [2]string // of before
	failed  int       // commits
	reached [2]int64  // of the log
}

func newStepWorld(t *testing.T, seed uint64) *stepWorld {
	w := &stepWorld{t: t, random: rand.New(rand.NewPCG(seed, 3)), dir: t.TempDir()}
	q, err := boltqueue.Open(filepath.Join(w.dir, "queue"), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	s, err := boltstore.Open(filepath.Join(w.dir, "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	w.cfg = versionConfig("1", 1)
	w.cfg.Queue, w.cfg.Store, w.cfg.Batch, w.cfg.Log = q, s, 7, slog.New(slog.DiscardHandler)
	w.open(0)
	w.open(1)
	t.Cleanup(func() { w.crash(0); w.crash(1) })
	return w
}

func (w *stepWorld) open(i int) {
	w.t.Helper()
	p, err := steps.Open(filepath.Join(w.dir, fmt.Sprint(i)), w.cfg, steps.How{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.nodes[i] = p
	if i == 0 {
		if w.owner, err = p.Own(w.t.Context(), 0); err != nil {
			w.t.Fatal(err)
		}
	}
	w.before[i], w.reached[i] = cqrs.View{}, 0
}

func (w *stepWorld) runtime(i int) *cqrs.Runtime { return w.nodes[i].Runtime().(*cqrs.Runtime) }

func (w *stepWorld) crash(i int) { w.nodes[i].Crash() }

// failCommits has one commit in ten fail; of those, half take place all the same.
func (w *stepWorld) failCommits(i int) {
	w.nodes[i].CommitBy(func(_ int, tx *bbolt.Tx) error {
		if w.random.IntN(10) > 0 {
			return tx.Commit()
		}
		w.failed++
		lost := errors.New("a lost disk")
		if w.random.IntN(2) == 0 {
			return lost
		}
		return errors.Join(lost, tx.Commit())
	})
}

func (w *stepWorld) step(i int) {
	ctx := w.t.Context()
	if i == 0 {
		_, _ = w.owner.Step(ctx) // what fails is tried again
		return
	}
	_, _ = w.nodes[i].Follow(ctx, 0)
	_, _ = w.nodes[i].Listen(ctx, 0)
}

func (w *stepWorld) send() {
	for range 1 + w.random.IntN(20) {
		var c cqrs.Command = add{Name: fmt.Sprint("n", w.random.IntN(5)), By: 1 + w.random.IntN(3), Mode: flowModes[w.random.IntN(len(flowModes))]}
		if w.random.IntN(3) == 0 {
			c = look{}
		}
		if _, err := w.runtime(w.random.IntN(2)).Send(w.t.Context(), c); err != nil {
			w.t.Fatal(err)
		}
	}
}

// watch keeps a view, and compares what it reads later.
func (w *stepWorld) watch(i int) {
	rt := w.runtime(i)
	if at := w.nodes[i].Reached(0); at < w.reached[i] {
		w.t.Errorf("process %d had read the log up to %d, and goes on at %d", i, w.reached[i], at)
	} else {
		w.reached[i] = at
	}
	if v := w.before[i]; v != (cqrs.View{}) {
		if got := viewText(w.t, v); got != w.seen[i] {
			w.t.Errorf("a view of t %d is %s, and was %s", v.T(), got, w.seen[i])
		}
	}
	if w.random.IntN(3) == 0 || w.before[i] == (cqrs.View{}) {
		w.before[i] = rt.View()
		w.seen[i] = viewText(w.t, w.before[i])
	}
}

func viewText(t *testing.T, v cqrs.View) (text string) {
	t.Helper()
	for c, err := range counters.All(v) {
		if err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintln(c)
	}
	for c, err := range witnesses.All(v) {
		if err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintln(c)
	}
	return text
}

func (w *stepWorld) drain() {
	for i := range w.nodes {
		w.nodes[i].CommitBy(func(_ int, tx *bbolt.Tx) error { return tx.Commit() })
	}
	for range 500 {
		w.step(0)
		w.step(1)
		a, at := w.runtime(0).Shard(0).Digest()
		b, bt := w.runtime(1).Shard(0).Digest()
		if h := w.runtime(0).Health()[0]; h.Backlog == 0 && a == b && at == bt && h.Building == nil && w.runtime(1).Health()[0].Building == nil {
			return
		}
	}
	w.t.Fatalf("it does not come to an end: %+v %+v", w.runtime(0).Health(), w.runtime(1).Health())
}

// Invariants 5, 6, 8, 11 to 13, 21.
func TestNextVersionStepByStep(t *testing.T) {
	seeds := 60
	if testing.Short() {
		seeds = 15
	}
	failed, both := 0, 0
	for seed := range seeds {
		w := newStepWorld(t, uint64(seed))
		w.send()
		w.drain()
		for i := range w.nodes { // now with the next version
			w.crash(i)
		}
		w.cfg = withNext(w.cfg, "2", versioned{version: 2, times: 10})
		w.open(0)
		w.open(1)
		w.failCommits(0)
		w.failCommits(1)
		for range 40 {
			switch i := w.random.IntN(2); w.random.IntN(12) {
			case 0:
				w.crash(i)
				w.open(i)
				w.failCommits(i)
			case 1, 2, 3:
				w.send()
			default:
				w.step(i)
				w.watch(i)
			}
		}
		w.drain()
		seen := checkLooks(t, w.runtime(0), 10)
		if seen[1] > 0 && seen[2] > 0 {
			both++
		}
		failed += w.failed
		for i := range w.nodes {
			if got, want := valuesFrom(t, w.runtime(i).Shard(0), 0), valuesFrom(t, w.runtime(0).Shard(0), 0); got != want {
				t.Errorf("process %d is\n%s\nand the first\n%s", i, got, want)
			}
			checkScrubbed(t, w.runtime(i))
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if failed == 0 || both == 0 {
		t.Errorf("%d commits failed, %d histories have decisions on both versions", failed, both)
	}
}
