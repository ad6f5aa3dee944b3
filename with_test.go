package cqrs_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/google/uuid"
)

func mustWith(t *testing.T, v cqrs.View, supposed ...cqrs.Supposed) (cqrs.View, []cqrs.Outcome) {
	t.Helper()
	w, outcomes, err := v.With(patience(t), supposed...)
	if err != nil {
		t.Fatal(err)
	}
	return w, outcomes
}

func TestWithIsNeverKept(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	fill(t, rt, 3)
	before := cqrs.Commits(t, rt)
	w, outcomes := mustWith(t, rt.View(), cqrs.IfSent(add{Name: "a", By: 40}), cqrs.IfHappened(added{Name: "a", By: 2}, added{Name: "b", By: 5}))
	if w.T() != 5 || value(t, w, "a") != 45 || value(t, w, "b") != 5 || len(outcomes) != 2 || len(outcomes[1].Events) != 2 {
		t.Errorf("t %d, a %d, b %d, %+v", w.T(), value(t, w, "a"), value(t, w, "b"), outcomes)
	}
	if rt.View().T() != 3 || value(t, rt.View(), "a") != 3 || value(t, rt.View(), "b") != 0 || cqrs.Commits(t, rt) != before {
		t.Error("it was kept")
	}
	on, _ := mustWith(t, w, cqrs.IfSent(add{Name: "b", By: 1}))
	if value(t, on, "b") != 6 || value(t, w, "b") != 5 || on.T() != 6 {
		t.Errorf("going on: b %d, was %d", value(t, on, "b"), value(t, w, "b"))
	}
	for change, err := range counters.Diff(rt.View(), on) {
		if err != nil || change.After.Name == "b" && (change.WasThere || change.After.Value != 6) {
			t.Errorf("%+v %v", change, err)
		}
	}
}

func TestWithGivesTheRealIDs(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	id := uuid.New()
	_, supposed := mustWith(t, rt.View(), cqrs.IfSent(add{Name: "a", Mode: "random"}, cqrs.WithID(id)))
	really := mustDo(t, rt, add{Name: "a", Mode: "random"}, cqrs.WithID(id))
	if supposed[0].Events[0].ID != really.Events[0].ID || supposed[0].Events[0].Value != really.Events[0].Value {
		t.Errorf("supposed %+v, and it was %+v", supposed[0].Events, really.Events)
	}

	// A command that came before is a Repeat, with what it gave then; another one under its id is refused.
	w, again := mustWith(t, rt.View(), cqrs.IfSent(add{Name: "a", Mode: "random"}, cqrs.WithID(id)))
	if w.T() != 1 || !again[0].Repeat || again[0].T != 1 || again[0].Events[0].ID != really.Events[0].ID {
		t.Errorf("t %d, %+v", w.T(), again)
	}
	_, _, err := rt.View().With(t.Context(), cqrs.IfSent(add{Name: "other"}, cqrs.WithID(id)))
	wantError(t, err, cqrs.User, "id-conflict")
	if w, out := mustWith(t, rt.AsOf(0), cqrs.IfSent(add{Name: "a", By: 1}, cqrs.WithID(id))); w.T() != 1 || out[0].Repeat {
		t.Error("as of t 0 the command had not come yet")
	}

	// The same holds of one that is only supposed.
	id2 := uuid.New()
	w, out := mustWith(t, rt.View(), cqrs.IfSent(add{Name: "a", By: 1}, cqrs.WithID(id2)), cqrs.IfSent(add{Name: "a", By: 1}, cqrs.WithID(id2)))
	if w.T() != 2 || out[0].Repeat || !out[1].Repeat || out[1].T != 2 || value(t, w, "a") != 1 {
		t.Errorf("t %d, %+v", w.T(), out)
	}
	_, _, err = w.With(t.Context(), cqrs.IfSent(add{Name: "a", By: 2}, cqrs.WithID(id2)))
	wantError(t, err, cqrs.User, "id-conflict")
	if _, err := do(t, rt, add{Name: "x", Mode: "reject"}, cqrs.WithID(id2)); err == nil {
		t.Fatal("not refused")
	}
	_, _, err = rt.View().With(t.Context(), cqrs.IfSent(add{Name: "x", Mode: "reject"}, cqrs.WithID(id2)))
	wantError(t, err, cqrs.User, "rejected")
}

func TestWithSaysWhatFails(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	fine := cqrs.IfSent(add{Name: "a", By: 1})
	for name, c := range map[string]struct {
		last  cqrs.Supposed
		level cqrs.Level // 0: no *Error
		tag   string
		says  string
	}{
		"a refusal":             {cqrs.IfSent(add{Name: "x", Mode: "reject"}), cqrs.User, "rejected", "command counter/add"},
		"data that is not fit":  {cqrs.IfSent(add{}), cqrs.User, "validation", "name"},
		"a panic":               {cqrs.IfSent(add{Name: "x", Mode: "panic"}), cqrs.Dev, "process-command", "panic: "},
		"an error":              {cqrs.IfSent(add{Name: "x", Mode: "error"}), cqrs.Dev, "process-command", ""},
		"a fold that fails":     {cqrs.IfSent(add{Name: "a", Mode: "fold-error"}), cqrs.Dev, "aggregate-event", "counter/added"},
		"a fold that panics":    {cqrs.IfHappened(added{Name: "a", Mode: "fold-panic"}), cqrs.Dev, "aggregate-event", "panic: fold"},
		"an error passed over":  {cqrs.IfHappened(added{Name: "a", Mode: "fold-ignored"}), cqrs.Dev, "aggregate-event", "16384"},
		"an unknown event":      {cqrs.IfHappened(unregistered{}), cqrs.Dev, "process-command", "not named in Config.Events"},
		"an unknown command":    {cqrs.IfSent(other{}), cqrs.Dev, "command-coerce", "not named in Config.Commands"},
		"a nil event":           {cqrs.IfHappened([]cqrs.Event{nil}...), cqrs.Dev, "process-command", "nil event"},
		"nothing":               {cqrs.Supposed{}, 0, "", "neither a command nor an event"},
		"a basis to come":       {cqrs.IfSent(add{Name: "a"}, cqrs.WithBasis(9)), cqrs.User, "basis", "only come to 1"},
		"events that are large": {cqrs.IfSent(add{Name: "a", Mode: "huge", By: 4 << 20}), cqrs.Dev, "too-large", "limit"},
		"a bad name":            {cqrs.IfSent(add{Name: "a"}, cqrs.WithKey("\x00")), 0, "", "control character"},
	} {
		t.Run(name, func(t *testing.T) {
			w, outcomes, err := rt.View().With(t.Context(), fine, c.last)
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "supposition 2 of 2") {
				t.Fatalf("the error does not say %q: %v", c.says, err)
			}
			if w != (cqrs.View{}) || outcomes != nil {
				t.Errorf("%v %v", w, outcomes)
			}
			if c.level != 0 {
				wantError(t, err, c.level, c.tag)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := rt.View().With(ctx, fine); !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
	if _, _, err := rt.AsOf(9).With(t.Context(), fine); !errors.Is(err, cqrs.ErrFuture) {
		t.Errorf("future: %v", err)
	}
	if _, _, err := (cqrs.View{}).With(t.Context(), fine); err == nil {
		t.Error("a View of nobody")
	}
}

type other struct{}

func (other) CommandType() string { return "counter/other" }
func (other) ProcessCommand(context.Context, *cqrs.Decision) ([]cqrs.Event, error) {
	return nil, nil
}

func TestWithIsOfOneShard(t *testing.T) {
	cfg := counterConfig()
	cfg.Shards = 2
	rt, _, _ := start(t, t.TempDir(), cfg)
	v := rt.Shard(1).View()
	for i := range 20 {
		key := fmt.Sprint("k", i)
		_, out, err := v.With(t.Context(), cqrs.IfSent(add{Name: "a", By: 1}, cqrs.WithKey(key)))
		switch mine := rt.ShardOf(key) == 1; {
		case mine && (err != nil || out[0].Shard != 1):
			t.Errorf("%s: %+v %v", key, out, err)
		case !mine && (err == nil || !strings.Contains(err.Error(), "goes to shard 0, and the view is of shard 1")):
			t.Errorf("%s: %v", key, err)
		}
	}
	for range 20 {
		mustWith(t, v, cqrs.IfSent(add{Name: "a", By: 1})) // whatever id it gets
	}
}

func TestWithOfAnotherAggregate(t *testing.T) {
	cfg := counterConfig()
	cfg.Aggregates = []cqrs.Aggregate{{Name: "main", Aggregator: byAmount{factor: 1}, Tables: []cqrs.AnyTable{amounts}}}
	rt, _, _ := start(t, t.TempDir(), cfg)
	fill(t, rt, 3)
	v, err := rt.Shard(0).Aggregate("main").AtLeast(patience(t), 3)
	if err != nil {
		t.Fatal(err)
	}
	w, _ := mustWith(t, v, cqrs.IfHappened(added{Name: "a", By: 9}))
	if got := amountsOf(t, w); got != "0:1 1:1 2:1 9:1 " {
		t.Errorf("amounts %s", got)
	}
	if _, _, err := v.With(t.Context(), cqrs.IfSent(add{Name: "a", By: 9})); err == nil || !strings.Contains(err.Error(), "through a View of the shard") {
		t.Errorf("%v", err)
	}
}

// curious reads by itself while it is decided, and waits.
type curious struct{ Name string }

func (curious) CommandType() string { return "counter/curious" }

func (c curious) ProcessCommand(ctx context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	if _, err := counters.Get(d, "a"); err != nil {
		return nil, err
	}
	if meet, ok := ctx.Value(hooksKey{}).(func() error); ok {
		if err := meet(); err != nil {
			return nil, err
		}
	}
	_, err := counters.Get(d, "a")
	return []cqrs.Event{added{Name: c.Name, By: 1}}, err
}

// While a supposed decision waits, commands go on, and so does Compact, which wants all reads to end; the decision may read by itself.
func TestWithHoldsNothing(t *testing.T) {
	cfg := counterConfig()
	cfg.Commands = append(cfg.Commands, curious{})
	rt, _, _ := start(t, t.TempDir(), cfg)
	fill(t, rt, 3)
	meet := func() error {
		fill(t, rt, 5)
		if err := rt.Compact(patience(t)); err != nil {
			return err
		}
		_, err := counters.Get(rt.View(), "a")
		return err
	}
	w, out, err := rt.View().With(context.WithValue(patience(t), hooksKey{}, meet), cqrs.IfSent(curious{"b"}), cqrs.IfSent(curious{"b"}))
	if err != nil || w.T() != 5 || value(t, w, "b") != 2 || value(t, w, "a") != 3 || out[1].T != 5 {
		t.Errorf("t %d, b %d, a %d, %v", w.T(), value(t, w, "b"), value(t, w, "a"), err)
	}
	if rt.View().T() != 13 || value(t, rt.View(), "a") != 11 || value(t, rt.View(), "b") != 0 {
		t.Errorf("t %d, a %d", rt.View().T(), value(t, rt.View(), "a"))
	}
}

// gated waits in a fold, which holds the file's write transaction.
type gated struct {
	counting
	inside, release chan struct{}
}

func (g gated) AggregateEvent(ctx context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	if e, ok := e.(added); ok && e.Name == "gate" {
		close(g.inside)
		<-g.release
	}
	return g.counting.AggregateEvent(ctx, tx, e)
}

// While an event is folded, which holds the file's write transaction, With does not wait.
func TestWithDoesNotWaitForTheWriter(t *testing.T) {
	cfg, g := counterConfig(), gated{inside: make(chan struct{}), release: make(chan struct{})}
	cfg.Aggregator = g
	rt, _, _ := start(t, t.TempDir(), cfg)
	fill(t, rt, 3)
	sent := make(chan error, 1)
	go func() { // Send returns with the batch
		_, err := rt.Send(t.Context(), add{Name: "gate", By: 1})
		sent <- err
	}()
	<-g.inside
	defer func() {
		if close(g.release); <-sent != nil {
			t.Error("the command was not sent")
		}
	}()
	w, _ := mustWith(t, rt.View(), cqrs.IfSent(add{Name: "b", By: 4}))
	if w.T() != 4 || value(t, w, "b") != 4 {
		t.Errorf("t %d, b %d", w.T(), value(t, w, "b"))
	}
}

func TestWithIsReadByMany(t *testing.T) {
	rt, _, stop := start(t, t.TempDir(), counterConfig())
	fill(t, rt, 3)
	w, _ := mustWith(t, rt.View(), cqrs.IfSent(add{Name: "many", Mode: "many", By: 30}), cqrs.IfSent(add{Name: "b", By: 4}))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 50 {
				on, _, err := w.With(t.Context(), cqrs.IfSent(add{Name: "b", By: i}))
				n, err2 := counters.Whole().Count(w)
				if err = errors.Join(err, err2); err != nil || value(t, on, "b") != 4+i || value(t, w, "b") != 4 || n != 3 {
					t.Errorf("%v: b %d, %d rows", err, value(t, on, "b"), n)
				}
			}
		})
	}
	fill(t, rt, 100)
	all.Wait()
	stop()
	if _, err := counters.Get(w, "many"); !errors.Is(err, cqrs.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, _, err := w.With(t.Context(), cqrs.IfSent(add{Name: "n", By: 1})); !errors.Is(err, cqrs.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestWithOverThePrunedPast(t *testing.T) {
	cfg := counterConfig()
	cfg.KeepHistory = 5
	rt, _, _ := start(t, t.TempDir(), cfg)
	fill(t, rt, 3)
	w, _ := mustWith(t, rt.View(), cqrs.IfSent(add{Name: "b", By: 4}))
	for range 10 {
		fill(t, rt, 3)
	}
	if _, err := counters.Get(w, "a"); !errors.Is(err, cqrs.ErrPruned) {
		t.Errorf("get: %v", err)
	}
	if _, _, err := w.With(t.Context(), cqrs.IfSent(add{Name: "b", By: 4})); !errors.Is(err, cqrs.ErrPruned) {
		t.Errorf("with: %v", err)
	}
}

// A decision of 2,000 commands, each reading what the one before wrote, takes no long time.
func TestWithMany(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	var steps []cqrs.Supposed
	for i := range 2000 {
		steps = append(steps, cqrs.IfSent(add{Name: fmt.Sprint("n", i%100), By: 1}))
	}
	began := time.Now()
	w, _ := mustWith(t, rt.View(), steps...)
	n := 0
	for c, err := range counters.Whole().Backward(w) {
		if n++; err != nil || c.Value != 20 {
			t.Fatalf("%+v %v", c, err)
		}
	}
	if n != 100 || w.T() != 2000 {
		t.Errorf("%d rows, t %d", n, w.T())
	}
	t.Logf("%v a command", time.Since(began)/2000)
}
