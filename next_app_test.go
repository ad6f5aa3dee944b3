package cqrs_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/cqrs-server/cqrs"
	"github.com/google/uuid"
)

// The counters in two versions. Each fold says in a second table by which version it was made, so that a decision that reads both tables sees
// whether what it reads is all of one version.

type witness struct {
	Name    string
	Value   int // as the counter's
	Version int
}

var (
	witnesses = cqrs.NewTable("witnesses", func(w witness) string { return w.Name })

	// Of the second version only: another table under the name of the first one's, and a new one with an index.
	sums      = cqrs.NewTable("sums", func(s sumOf) string { return s.Name })
	oldSums   = cqrs.NewTable("sums", func(s oldSum) int { return s.ID })
	sumsByAll = cqrs.NewIndex(sums, "all", func(s sumOf) int { return s.All })
)

type (
	sumOf struct {
		Name string
		All  int
	}
	oldSum struct{ ID, All int }
)

// versioned is the fold of a version. What is added to counters is multiplied.
type versioned struct {
	version, times int
	seen           func() // hears of each event; may be nil
}

func (f versioned) AggregateEvent(ctx context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	if f.seen != nil {
		f.seen()
	}
	a, ok := e.(added)
	if !ok {
		return nil
	}
	before, _ := counters.Get(tx, a.Name)
	a.By *= f.times
	err := counting{}.AggregateEvent(ctx, tx, a)
	now := before.Value + a.By
	return errors.Join(err, witnesses.Put(tx, witness{a.Name, now, f.version}), f.sum(tx, a, now))
}

func (f versioned) sum(tx *cqrs.Tx, a added, now int) error {
	if f.version == 1 {
		return oldSums.Put(tx, oldSum{ID: len(a.Name), All: now})
	}
	return sums.Put(tx, sumOf{a.Name, now})
}

// look says what a decision sees: the version, and the sum of all counters.
type look struct{ Note string }

type looked struct{ Version, Sum int }

func (look) CommandType() string { return "counter/look" }
func (looked) EventType() string { return "counter/looked" }

func (look) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	seen := looked{}
	for w, err := range witnesses.All(d) {
		if err != nil {
			return nil, err
		}
		c, err := counters.Get(d, w.Name)
		if err != nil || c.Value != w.Value || seen.Version != 0 && w.Version != seen.Version {
			return nil, fmt.Errorf("a mix: %+v, %+v, %+v: %v", w, c, seen, err)
		}
		seen.Version, seen.Sum = w.Version, seen.Sum+c.Value
	}
	return []cqrs.Event{seen}, nil
}

// ask reads a table that the second version only has.
type ask struct{ Name string }

func (ask) CommandType() string { return "counter/ask" }

func (c ask) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	s, err := sums.Get(d, c.Name)
	return []cqrs.Event{looked{Version: 2, Sum: s.All}}, err
}

var tablesOf = map[int][]cqrs.AnyTable{1: {counters, witnesses, oldSums}, 2: {counters, witnesses, sums}}

// versionConfig is the program with one version.
func versionConfig(name string, version int) cqrs.Config {
	cfg := counterConfig()
	cfg.Commands = append(cfg.Commands, look{}, ask{})
	cfg.Events = append(cfg.Events, looked{})
	cfg.Version, cfg.Aggregator, cfg.Tables = name, versioned{version: version, times: 1}, tablesOf[version]
	return cfg
}

// withNext names a second version beside.
func withNext(cfg cqrs.Config, name string, f versioned) cqrs.Config {
	cfg.Next = &cqrs.Aggregate{Version: name, Aggregator: f, Tables: tablesOf[2]}
	return cfg
}

var second = versioned{version: 2, times: 1}

// flow is commands of all kinds, from several senders, until it is stopped.
type flow struct {
	mu    sync.Mutex
	taken []uuid.UUID // Send has taken them
	done  chan struct{}
	all   sync.WaitGroup
	count int
}

func startFlow(t *testing.T, rt *cqrs.Runtime, senders int) *flow {
	f := &flow{done: make(chan struct{})}
	for i := range senders {
		f.all.Go(func() { f.send(t, rt, rand.New(rand.NewPCG(uint64(i), 5))) })
	}
	t.Cleanup(f.stop)
	return f
}

func (f *flow) stop() {
	f.mu.Lock()
	select {
	case <-f.done:
	default:
		close(f.done)
	}
	f.mu.Unlock()
	f.all.Wait()
}

// ended is how many commands have ended.
func (f *flow) ended() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count
}

var flowModes = []string{"", "", "", "", "look", "look", "reject", "reject-odd", "panic", "fold-error", "nothing", "many", "remark"}

func (f *flow) send(t *testing.T, rt *cqrs.Runtime, r *rand.Rand) {
	ctx := t.Context()
	for {
		select {
		case <-f.done:
			return
		default:
		}
		id := uuid.Must(uuid.NewV7())
		mode := flowModes[r.IntN(len(flowModes))]
		name := fmt.Sprint("n", r.IntN(5))
		var c cqrs.Command = add{Name: name, By: r.IntN(4) + 1, Mode: mode}
		if mode == "look" {
			c = look{}
		}
		key := cqrs.WithKey(name)
		receipt, err := rt.Send(ctx, c, cqrs.WithID(id), key)
		if err != nil {
			t.Error(err)
			return
		}
		out, err := receipt.Wait(ctx)
		if err != nil && !isCommandError(err) || mode == "look" && err != nil {
			t.Errorf("%+v: %v", c, err)
			return
		}
		f.note(id)
		if err == nil && r.IntN(4) == 0 {
			f.repeat(t, rt, c, out, key)
		}
	}
}

func (f *flow) note(id uuid.UUID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.taken, f.count = append(f.taken, id), f.count+1
}

// repeat sends a command that was accepted again: it ends as it did.
func (f *flow) repeat(t *testing.T, rt *cqrs.Runtime, c cqrs.Command, out cqrs.Outcome, key cqrs.SendOption) {
	receipt, err := rt.Send(t.Context(), c, cqrs.WithID(out.Command), key)
	if err != nil {
		t.Error(err)
		return
	}
	if again, err := receipt.Wait(t.Context()); err != nil || !again.Repeat || again.T != out.T {
		t.Errorf("sent again: %+v, %v; it was t %d", again, err, out.T)
	}
}

// awaitVersion waits until a version serves on all shards.
func awaitVersion(t *testing.T, rt *cqrs.Runtime, version string) {
	t.Helper()
	ctx := patience(t)
	for n := range rt.Shards() {
		for rt.Shard(n).Version() != version {
			if ctx.Err() != nil {
				t.Fatalf("shard %d: version %s still serves: %+v", n, rt.Shard(n).Version(), rt.Health()[n])
			}
			mustDeadline(t, ctx)
		}
	}
}

// checkLooks: each decision saw all that was before it, by one version; the second one from some t on.
func checkLooks(t *testing.T, rt *cqrs.Runtime, times int) (seen [3]int) {
	t.Helper()
	failed := cqrs.FailedFolds(t, rt)
	sum := 0
	for c, err := range rt.Shard(0).Log(t.Context(), 1, rt.View().T()) {
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range c.Values {
			switch v := v.(type) {
			case added:
				if !failed[[2]uint64{c.T, uint64(i)}] {
					sum += v.By
				}
			case looked:
				seen[v.Version]++
				if v.Version == 1 && seen[2] > 0 {
					t.Errorf("t %d was decided on version 1, behind some on version 2", c.T)
				}
				if want := map[int]int{1: sum, 2: times * sum}[v.Version]; v.Sum != want && v.Version > 0 {
					t.Errorf("t %d was decided on version %d and sum %d, and it was %d", c.T, v.Version, v.Sum, want)
				}
			}
		}
	}
	return seen
}

// versionRows is all rows as of a t.
func versionRows(t *testing.T, s *cqrs.Shard, at uint64) string {
	t.Helper()
	v, text := s.AsOf(at), strings.Builder{}
	for _, all := range []func() error{
		func() (err error) {
			for c, e := range counters.All(v) {
				fmt.Fprintln(&text, c)
				err = errors.Join(err, e)
			}
			return err
		},
		func() (err error) {
			for c, e := range witnesses.All(v) {
				fmt.Fprintln(&text, c)
				err = errors.Join(err, e)
			}
			return err
		},
		func() (err error) {
			for c, e := range sumsByAll.All(v) {
				fmt.Fprintln(&text, c)
				err = errors.Join(err, e)
			}
			return err
		},
	} {
		if err := all(); err != nil {
			t.Fatal(err)
		}
	}
	return text.String()
}

// valuesFrom is the digest, and the rows as of many t, from one on.
func valuesFrom(t *testing.T, s *cqrs.Shard, from uint64) string {
	t.Helper()
	digest, last := s.Digest()
	text := fmt.Sprintf("%x %d\n", digest, last)
	for at := max(from, 1); at <= last; at += 1 + (last-from)/29 {
		text += fmt.Sprintln(at, versionRows(t, s, at))
	}
	return text + versionRows(t, s, last)
}
