package workflow

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func retryTest(err error) bool { return errors.Is(err, errTest) }

// failsAt passes segments on, but fails at one of them as long as *down.
func failsAt(bad int, down *bool) Fn {
	return func(_ context.Context, _ Params, s Segment) ([]Segment, error) {
		if s == bad && *down {
			return nil, errTest
		}
		return []Segment{s}, nil
	}
}

func TestRetryCutsTheBatch(t *testing.T) {
	down := true
	r, p := recorded(pass, 1, 2, 3, 4)
	// The fourth edge in the walk of a segment: by then log and late have gathered it.
	p.Workflow = append(Workflow{{"x", "f"}, {"y", "other"}, {"f", "log"}, {"log", "late"}, {"f", "slow"}}, Edge{"slow", "other"})
	p.Catalog["slow"] = function(failsAt(3, &down))
	e := opened(t, p, r.hooks(retryTest))

	n, err := e.Step(t.Context())
	var retry *RetryError
	if !errors.As(err, &retry) || retry.Task != "slow" || retry.Segment != 3 || !errors.Is(err, errTest) || n != 2 {
		t.Fatalf("got %d, %v", n, err)
	}
	want(t, "calls", strings.Join(r.take(), "; "), "begin; poll x; mark; mark; mark; undo; "+
		"prepare-ack x 2; prepare log [1 2]; prepare late [1 2]; prepare other [1 2]; "+
		"after f; flush log [1 2]; flush late [1 2]; after late; flush other [1 2]; commit; ack x 2; rewind x")

	down = false
	n, err = e.Step(t.Context())
	want(t, "second n and error", []any{n, err}, "[3 <nil>]")
	want(t, "second calls", strings.Join(r.take(), "; "), "begin; poll x; mark; mark; poll y; mark; "+
		"prepare-ack x 2; prepare-ack y 1; prepare log [3 4]; prepare late [3 4]; prepare other [3 4 8]; "+
		"after f; flush log [3 4]; flush late [3 4]; after late; flush other [3 4 8]; commit; ack x 2; ack y 1")
}

func TestRetryOfTheFirstSegmentFlushesNothing(t *testing.T) {
	down := true
	r, p := recorded(failsAt(1, &down), 1, 2)
	h := r.hooks(retryTest)
	h.Begin = nil
	n, err := opened(t, p, h).Step(t.Context())
	var retry *RetryError
	if n != 0 || !errors.As(err, &retry) {
		t.Fatalf("got %d, %v", n, err)
	}
	want(t, "calls", r.calls, "[poll x mark undo rewind x]")
}

// The whole walk of a polled segment is one unit, however many segments it became.
func TestRetryUndoesAllThatTheSegmentBecame(t *testing.T) {
	down := true
	r := &recorder{}
	p := Plan{
		Workflow: Workflow{{"in", "dup"}, {"dup", "log"}, {"linked", "f"}, {"f", "out"}},
		Catalog: Catalog{
			"in": from(1, 30),
			"dup": function(func(_ context.Context, _ Params, s Segment) ([]Segment, error) {
				return []Segment{s, s.(int) + 1, s.(int) + 2}, nil
			}),
			"log":    {Kind: Output, Out: recSink{r, "log"}},
			"linked": {Kind: Input, Link: "log"},
			"f":      function(failsAt(32, &down)),
			"out":    {Kind: Output, Out: recSink{r, "out"}},
		},
	}
	e := opened(t, p, Hooks{Retry: retryTest})
	n, err := e.Step(t.Context())
	if n != 1 || !errors.Is(err, errTest) {
		t.Fatalf("got %d, %v", n, err)
	}
	down = false
	toEnd(t, e)
	want(t, "flushes", strings.Join(r.calls, "; "), "prepare log [1 2 3]; prepare out [1 2 3]; flush log [1 2 3]; flush out [1 2 3]; "+
		"prepare log [30 31 32]; prepare out [30 31 32]; flush log [30 31 32]; flush out [30 31 32]")
}

func TestWhatRetryRefusesIsAFailure(t *testing.T) {
	down := true
	p, outs := fork(failsAt(2, &down), []Condition{
		{From: All, To: []string{"errs"}, When: IsError, ShortCircuit: true},
	}, 1, 2, 3)
	toEnd(t, opened(t, p, Hooks{Retry: func(error) bool { return false }}))
	want(t, "a", outs["a"].Segments(), "[1 3]")
	want(t, "errs", causes(outs["errs"].Segments()), "[2]")
}

func TestTheEndOfTheContextCutsTheBatch(t *testing.T) {
	for name, tt := range map[string]struct {
		fn        func(ctx context.Context, cancel func(), s Segment) error
		n         int
		out, left string
	}{
		"between segments": {func(_ context.Context, cancel func(), s Segment) error {
			if s == 2 {
				cancel()
			}
			return nil
		}, 2, "[1 2]", "[3 4]"},
		"within a segment that notices": {func(ctx context.Context, cancel func(), s Segment) error {
			if s == 3 {
				cancel()
			}
			return ctx.Err()
		}, 2, "[1 2]", "[3 4]"},
		"after the last": {func(_ context.Context, cancel func(), s Segment) error {
			if s == 4 {
				cancel()
			}
			return nil
		}, 4, "[1 2 3 4]", "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			p, outs := fork(func(ctx context.Context, _ Params, s Segment) ([]Segment, error) {
				return []Segment{s}, tt.fn(ctx, cancel, s)
			}, []Condition{{From: All, To: []string{"errs"}, When: IsError, ShortCircuit: true}}, 1, 2, 3, 4)
			var flushed error
			p.Catalog["f"] = Task{Kind: Function, Fn: p.Catalog["f"].Fn, After: func(ctx context.Context) error {
				flushed = ctx.Err()
				return flushed
			}}
			n, err := opened(t, p, Hooks{}).Step(ctx)
			if n != tt.n || (n < 4) != errors.Is(err, context.Canceled) {
				t.Errorf("got %d, %v", n, err)
			}
			want(t, "a", outs["a"].Segments(), tt.out)
			want(t, "left", p.Catalog["in"].In.(*Memory).Segments(), tt.left)
			want(t, "errs", outs["errs"].Segments(), "[]")
			want(t, "the context of the flush", flushed, nil)
		})
	}
}

func TestStepDoesNothingWhenTheContextHasEnded(t *testing.T) {
	r, p := recorded(pass, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := opened(t, p, r.hooks(nil)).Step(ctx)
	want(t, "error and calls", []any{err, r.calls}, "[context canceled []]")
}
