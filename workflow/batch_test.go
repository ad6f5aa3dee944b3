package workflow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

// recorded is x > f > {log, other}; log > late: an output behind an output; y > other.
func recorded(fn Fn, x ...Segment) (*recorder, Plan) {
	r := &recorder{fail: map[string]error{}}
	source := func(name string, m *Memory) Source { return recSource{m, r, name} }
	return r, Plan{
		Workflow: Workflow{{"x", "f"}, {"y", "other"}, {"f", "log"}, {"log", "late"}, {"f", "other"}},
		Catalog: Catalog{
			"x":     {Kind: Input, In: source("x", closedMemory(x...))},
			"y":     {Kind: Input, In: source("y", closedMemory(8))},
			"f":     {Kind: Function, Fn: fn, After: r.after("f")},
			"log":   {Kind: Output, Out: recSink{r, "log"}},
			"late":  {Kind: Output, Out: recSink{r, "late"}, After: r.after("late")},
			"other": {Kind: Output, Out: recSink{r, "other"}},
		},
	}
}

const (
	walked    = "begin; poll x; mark; mark; poll y; mark"
	prepared  = "prepare-ack x 2; prepare-ack y 1; prepare other [1 2 8]; prepare log [1 2]; prepare late [1 2]"
	flushed   = "after f; flush other [1 2 8]; flush log [1 2]; flush late [1 2]; after late"
	committed = "commit; ack x 2; ack y 1"
)

func TestTheCallsOfABatch(t *testing.T) {
	r, p := recorded(pass, 1, 2)
	e := opened(t, p, r.hooks(nil))
	n, err := e.Step(t.Context())
	want(t, "n and error", []any{n, err}, "[3 <nil>]")
	want(t, "calls", strings.Join(r.take(), "; "), strings.Join([]string{walked, prepared, flushed, committed}, "; "))

	_, err = e.Step(t.Context())
	want(t, "at the end", err, io.EOF)
	want(t, "calls of an empty batch with Begin", strings.Join(r.take(), "; "),
		"begin; prepare other []; prepare log []; prepare late []; "+
			"after f; flush other []; flush log []; flush late []; after late; commit")
}

// Where the graph leaves the order open, the workflow's edges decide; what only conditions lead to counts for nothing.
func TestFlushesAreInTheWorkflowsOrder(t *testing.T) {
	for name, tt := range map[string]struct {
		workflow Workflow
		order    string
	}{
		"as named":            {Workflow{{"in", "b"}, {"in", "a"}, {"errs", "mail"}}, "[b a errs mail]"},
		"as the edges lead":   {Workflow{{"a", "b"}, {"errs", "mail"}, {"in", "a"}}, "[errs mail a b]"},
		"behind a link":       {Workflow{{"linked", "b"}, {"in", "a"}, {"errs", "mail"}}, "[a b errs mail]"},
		"conditions are last": {Workflow{{"in", "a"}, {"in", "b"}}, "[a b mail errs]"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &recorder{}
			p := Plan{Workflow: tt.workflow, Catalog: Catalog{"in": from(1)}, Flow: []Condition{
				{From: "in", To: []string{"mail"}, When: Or(), ShortCircuit: true},
				{From: All, To: []string{"errs"}, When: Or()},
			}}
			for _, out := range []string{"a", "b", "errs", "mail"} {
				p.task(out, Task{Kind: Output, Out: discard{}, After: func(context.Context) error { return r.call("%s", out) }})
			}
			if tt.workflow[0].From == "linked" {
				p.task("linked", Task{Kind: Input, Link: "a"})
			}
			opened(t, p, Hooks{}).Step(t.Context())
			want(t, "order", r.calls, tt.order)
		})
	}
}

func TestAnEmptyBatchWithoutBeginDoesNothing(t *testing.T) {
	r, p := recorded(pass)
	p.Catalog["y"] = Task{Kind: Input, In: recSource{NewMemory(), r, "y"}}
	n, err := opened(t, p, Hooks{}).Step(t.Context())
	want(t, "n and error", []any{n, err}, "[0 <nil>]")
	want(t, "calls", r.calls, "[poll x poll y]")
}

// An empty Poll is acknowledged in a transaction: a source may have passed over what makes no segment.
func TestAnEmptyPollIsAcknowledgedWithBegin(t *testing.T) {
	r, p := recorded(pass)
	opened(t, p, r.hooks(nil)).Step(t.Context())
	for _, call := range []string{"prepare-ack x 0", "ack x 0"} {
		if !slices.Contains(r.calls, call) {
			t.Errorf("no %s in %v", call, r.calls)
		}
	}
}

func TestAnErrorUndoesTheBatchAndItComesAgain(t *testing.T) {
	for _, at := range strings.Split(strings.Join([]string{walked, prepared, flushed, "commit"}, "; "), "; ") {
		if at == "mark" {
			continue
		}
		t.Run(at, func(t *testing.T) {
			r, p := recorded(pass, 1, 2)
			r.fail[at] = errTest
			e := opened(t, p, r.hooks(nil))
			n, err := e.Step(t.Context())
			if n != 0 || !errors.Is(err, errTest) || !strings.Contains(err.Error(), taskOf(at)) {
				t.Fatalf("got %d, %v", n, err)
			}
			calls := strings.Join(r.take(), "; ")
			if !strings.HasSuffix(calls, at+"; rollback; rewind x; rewind y") {
				t.Errorf("calls: %s", calls)
			}
			n, err = e.Step(t.Context())
			want(t, "second n and error", []any{n, err}, "[3 <nil>]")
			want(t, "second calls", strings.Join(r.take(), "; "),
				strings.Join([]string{walked, prepared, flushed, committed}, "; "))
		})
	}
}

// taskOf gives the task of a recorded call, quoted as in an error, or the hook.
func taskOf(call string) string {
	words := strings.Fields(call)
	if len(words) == 1 {
		return words[0]
	}
	return fmt.Sprintf("%q", words[1])
}

func TestAnAckErrorUndoesNothing(t *testing.T) {
	r, p := recorded(pass, 1, 2)
	r.fail["ack x 2"] = errTest
	e := opened(t, p, r.hooks(nil))
	n, err := e.Step(t.Context())
	if n != 3 || !errors.Is(err, errTest) || !strings.Contains(err.Error(), `"x"`) {
		t.Fatalf("got %d, %v", n, err)
	}
	want(t, "calls after commit", strings.Join(r.calls[slices.Index(r.calls, "commit"):], "; "), "commit; ack x 2; ack y 1")
}

func TestABatchTakesNoMoreThanItsSize(t *testing.T) {
	out := NewMemory()
	p := Plan{
		Workflow: Workflow{{"in", "out"}, {"def", "out"}},
		Catalog: Catalog{
			"in":  {Kind: Input, In: closedMemory(1, 2, 3, 4, 5), Batch: 2},
			"def": {Kind: Input, In: closedMemory(make([]Segment, 1001)...)},
			"out": into(out),
		},
	}
	e := opened(t, p, Hooks{})
	var sizes []int
	for {
		n, err := e.Step(t.Context())
		if err == io.EOF {
			break
		}
		sizes = append(sizes, n)
	}
	want(t, "sizes", sizes, "[1002 3 1]")
}

// eofSource says EOF beside its last segment, and fails the test when it is asked after that.
type eofSource struct {
	recSource
	t     *testing.T
	ended bool
}

func (s *eofSource) Poll(ctx context.Context, most int) ([]Segment, error) {
	if s.ended {
		s.t.Error("polled after EOF")
	}
	got, err := s.recSource.Poll(ctx, most)
	s.ended = err == io.EOF
	return got, err
}

func (s *eofSource) Rewind() { s.ended = false; s.recSource.Rewind() }

func TestEOFIsRememberedUntilTheSourceIsRewound(t *testing.T) {
	r := &recorder{fail: map[string]error{"flush out [1 2]": errTest}}
	src := &eofSource{recSource: recSource{closedMemory(1, 2), r, "in"}, t: t}
	open := NewMemory(9)
	e := opened(t, Plan{
		Workflow: Workflow{{"in", "out"}, {"open", "o"}},
		Catalog: Catalog{
			"in": {Kind: Input, In: src}, "open": {Kind: Input, In: open},
			"out": {Kind: Output, Out: recSink{r, "out"}}, "o": into(NewMemory()),
		},
	}, Hooks{})
	var got []string
	for range 4 {
		n, err := e.Step(t.Context())
		got = append(got, fmt.Sprint(n, errors.Is(err, errTest), err == io.EOF))
		if len(got) == 3 {
			open.Close()
		}
	}
	want(t, "steps", got, "[0 true false 3 false false 0 false false 0 false true]")
}

// A connection that breaks often wraps io.EOF; the input has not ended.
func TestAWrappedEOFIsAnError(t *testing.T) {
	r, p := recorded(pass, 1, 2)
	r.fail["poll x"] = fmt.Errorf("read tcp: %w", io.EOF)
	_, err := opened(t, p, Hooks{}).Step(t.Context())
	if err == io.EOF || !errors.Is(err, io.EOF) {
		t.Fatalf("got %v", err)
	}
}

func TestAMemoryBetweenOutputAndInputEndsWithTheOthers(t *testing.T) {
	frontier, seen := NewMemory(), NewMemory()
	p := Plan{
		Workflow: Workflow{{"in", "queue"}, {"again", "less"}, {"less", "queue"}, {"less", "seen"}},
		Catalog: Catalog{
			"in": from(2, 3), "queue": into(frontier), "seen": into(seen),
			"again": {Kind: Input, In: frontier},
			"less": function(func(_ context.Context, _ Params, s Segment) ([]Segment, error) {
				if s == 0 {
					return nil, nil
				}
				return []Segment{s.(int) - 1}, nil
			}),
		},
	}
	e := opened(t, p, Hooks{})
	toEnd(t, e)
	want(t, "seen", ints(seen.Segments()), "[0 0 1 1 2]")
	want(t, "left", frontier.Segments(), "[]")
}

// uncomparable can be a source and a sink, but two of it cannot be compared.
type uncomparable struct {
	*Memory
	_ []int
}

func TestASourceNeedNotBeComparable(t *testing.T) {
	out := uncomparable{Memory: NewMemory()}
	toEnd(t, opened(t, Plan{
		Workflow: Workflow{{"in", "out"}},
		Catalog: Catalog{
			"in":  {Kind: Input, In: uncomparable{Memory: closedMemory(1)}},
			"out": {Kind: Output, Out: out},
		},
	}, Hooks{}))
	want(t, "out", out.Segments(), "[1]")
}
