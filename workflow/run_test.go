package workflow

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// quiet hides that a Memory is a Waker.
type quiet struct{ m *Memory }

func (q quiet) Poll(ctx context.Context, most int) ([]Segment, error) { return q.m.Poll(ctx, most) }
func (q quiet) Ack(ctx context.Context, n int) error                  { return q.m.Ack(ctx, n) }
func (q quiet) Rewind()                                               { q.m.Rewind() }

// arrivals is a Sink that tells of each segment at once.
type arrivals chan Segment

func (a arrivals) Flush(_ context.Context, segments []Segment) error {
	for _, s := range segments {
		a <- s
	}
	return nil
}

func running(t *testing.T, ctx context.Context, e *Engine) <-chan error {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	return ended
}

func TestRunWaitsForSegments(t *testing.T) {
	for _, wakes := range []bool{true, false} {
		t.Run(fmt.Sprintf("wakes=%v", wakes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				queue, out := NewMemory(), make(arrivals, 10)
				source := Source(queue)
				if !wakes {
					source = quiet{queue}
				}
				r, p := lifecycle()
				in := p.Catalog["in"]
				in.In = source
				p.Catalog["in"] = in
				p.Catalog["out"] = Task{Kind: Output, Out: out}
				e, err := New(p, Hooks{})
				if err != nil {
					t.Fatal(err)
				}
				ended := running(t, t.Context(), e)
				for i := range 3 {
					synctest.Wait()
					start := time.Now()
					queue.Put(i)
					want(t, "segment", <-out, i)
					if waited := time.Since(start); waited > pollEvery || wakes && waited > 0 {
						t.Errorf("it came after %v", waited)
					}
				}
				queue.Close()
				want(t, "Run", <-ended, nil)
				want(t, "opened and closed", r.calls, "[open in open f close f close in]")
			})
		})
	}
}

func TestRunDoesNotPollWhenOnlyWakersAreLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		queue, batches := NewMemory(), 0
		e, err := New(Plan{
			Workflow: Workflow{{"old", "out"}, {"in", "out"}},
			Catalog: Catalog{
				"old": {Kind: Input, In: quiet{closedMemory(1)}},
				"in":  {Kind: Input, In: queue},
				"out": {Kind: Output, Out: discard{}},
			},
		}, Hooks{Begin: func(context.Context) error { batches++; return nil }})
		if err != nil {
			t.Fatal(err)
		}
		ended := running(t, t.Context(), e)
		time.Sleep(time.Minute) // of the bubble's own clock
		queue.Close()
		want(t, "Run", <-ended, nil)
		want(t, "batches", batches, 3)
	})
}

func TestRunEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	queue, out := NewMemory(1, 2), make(arrivals, 10)
	_, p := lifecycle()
	p.Catalog["in"] = Task{Kind: Input, In: queue}
	p.Catalog["out"] = Task{Kind: Output, Out: out}
	e, err := New(p, Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	e.OnError = func(err error) { t.Errorf("the end is no error: %v", err) }
	ended := running(t, ctx, e)
	want(t, "segments", []Segment{<-out, <-out}, "[1 2]")
	cancel()
	want(t, "Run", <-ended, nil)
}

func TestRunFinishesTheBatchItIsIn(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p, outs := fork(func(_ context.Context, _ Params, s Segment) ([]Segment, error) {
		if s == 2 {
			cancel()
		}
		return []Segment{s}, nil
	}, nil, 1, 2, 3)
	delete(p.Catalog, "errs")
	e, err := New(p, Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	e.OnError = func(err error) { t.Errorf("the end is no error: %v", err) }
	want(t, "Run", e.Run(ctx), nil)
	want(t, "a", outs["a"].Segments(), "[1 2]")
	want(t, "left", p.Catalog["in"].In.(*Memory).Segments(), "[3]")
}

func TestRunTriesAgainWithGrowingPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails, start := 12, time.Now()
		var at []time.Duration
		p, outs := fork(func(_ context.Context, _ Params, s Segment) ([]Segment, error) {
			if s == 2 && fails > 0 {
				fails--
				return nil, errTest
			}
			return []Segment{s}, nil
		}, nil, 1, 2)
		delete(p.Catalog, "errs")
		e, err := New(p, Hooks{Retry: retryTest})
		if err != nil {
			t.Fatal(err)
		}
		e.OnError = func(err error) {
			var retry *RetryError
			if !errors.As(err, &retry) {
				t.Errorf("got %v", err)
			}
			at = append(at, time.Since(start))
			start = time.Now()
		}
		want(t, "Run", e.Run(t.Context()), nil)
		want(t, "pauses", at, "[0s 10ms 20ms 40ms 80ms 160ms 320ms 640ms 1.28s 2.56s 5s 5s]")
		want(t, "a", outs["a"].Segments(), "[1 2]")
	})
}

// After progress the pauses start anew.
func TestRunForgetsPausesAfterProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := map[int]int{1: 3, 2: 2}
		last := time.Now()
		var at []time.Duration
		p, _ := fork(func(_ context.Context, _ Params, s Segment) ([]Segment, error) {
			if left[s.(int)]--; left[s.(int)] >= 0 {
				return nil, errTest
			}
			return nil, nil
		}, nil, 1, 2)
		delete(p.Catalog, "errs")
		e, err := New(p, Hooks{Retry: retryTest})
		if err != nil {
			t.Fatal(err)
		}
		e.OnError = func(error) { at = append(at, time.Since(last)); last = time.Now() }
		want(t, "Run", e.Run(t.Context()), nil)
		want(t, "pauses", at, "[0s 10ms 20ms 40ms 10ms]")
	})
}

func TestRunGivesUpAPauseWhenTheContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p, _ := fork(panics("always"), nil, 1)
		delete(p.Catalog, "errs")
		e, err := New(p, Hooks{})
		if err != nil {
			t.Fatal(err)
		}
		ended := running(t, ctx, e)
		time.Sleep(12 * time.Second) // of the bubble's own clock: into a pause of 5 s
		start := time.Now()
		cancel()
		want(t, "Run", <-ended, nil)
		want(t, "after", time.Since(start), time.Duration(0))
	})
}

func TestRunTellsWhatOpenAndCloseReturn(t *testing.T) {
	for _, at := range []string{"open f", "close f"} {
		r, p := lifecycle()
		r.fail[at] = errTest
		e, err := New(p, Hooks{})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Run(t.Context()); !errors.Is(err, errTest) {
			t.Errorf("%s: %v", at, err)
		}
		want(t, "the last call", r.calls[len(r.calls)-1], "close in")
	}
}
