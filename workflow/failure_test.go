package workflow

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func panics(with any) Fn {
	return func(context.Context, Params, Segment) ([]Segment, error) { panic(with) }
}

func TestPanicsAreFailures(t *testing.T) {
	toErrs := Condition{From: All, To: []string{"errs"}, When: IsError, ShortCircuit: true}
	first := func(s Segment) bool { return s.([]int)[5] == 0 }
	for name, tt := range map[string]struct {
		fn   Fn
		flow []Condition
		err  string
	}{
		"a function, with a text":   {panics("no such row"), []Condition{toErrs}, "panic: no such row"},
		"a function, with an error": {panics(errTest), []Condition{toErrs}, "panic: out of order"},
		"a condition": {pass, []Condition{toErrs, {From: "f", To: []string{"b"}, When: first}},
			"panic: runtime error: index out of range [5] with length 1"},
		"a transform": {pass, []Condition{toErrs, {From: "f", To: []string{"b"}, When: Is[[]int](), ShortCircuit: true,
			Transform: func(s Segment) Segment { return s.([]int)[5] }}},
			"panic: runtime error: index out of range [5] with length 1"},
	} {
		t.Run(name, func(t *testing.T) {
			p, outs := fork(tt.fn, tt.flow, []int{1})
			retry := func(error) bool { t.Error("a panic is never tried again"); return true }
			toEnd(t, opened(t, p, Hooks{Retry: retry}))
			f := outs["errs"].Segments()[0].(*Failure)
			want(t, "error", f.Err, tt.err)
			want(t, "task, segment, panic", []any{f.Task, f.Segment, f.Panic}, "[f [1] true]")
			if !strings.Contains(string(f.Stack), "_test.go") {
				t.Errorf("the stack does not lead to the panic:\n%s", f.Stack)
			}
			want(t, "what went on", len(outs["a"].Segments())+len(outs["b"].Segments()), 0)
		})
	}
}

func TestFailureTellsItsError(t *testing.T) {
	f := &Failure{Task: "f", Segment: 3, Err: errTest}
	want(t, "text", f.Error(), `workflow: task "f": out of order`)
	if !errors.Is(f, errTest) || !errors.Is(&RetryError{Err: errTest}, errTest) {
		t.Error("the error is not unwrapped")
	}
	if p := panicked("f", 3, errTest); !errors.Is(p, errTest) {
		t.Error("the error of a panic is not unwrapped")
	}
}

// A failure must never look like an ordinary segment to a task that nobody told of failures.
func TestFailureWithoutAWayUndoesTheBatch(t *testing.T) {
	boomAt3 := func(_ context.Context, _ Params, s Segment) ([]Segment, error) {
		if s == 3 {
			return nil, errTest
		}
		return []Segment{s}, nil
	}
	for name, flow := range map[string][]Condition{
		"no condition":             nil,
		"a condition that is not":  {{From: All, To: []string{"errs"}, When: Is[string](), ShortCircuit: true}},
		"the condition panics too": {{From: "f", To: []string{"a"}, When: func(s Segment) bool { return s.(int) > 0 }}},
	} {
		t.Run(name, func(t *testing.T) {
			p, outs := fork(boomAt3, flow, 1, 2, 3, 4)
			if flow != nil && flow[0].From != All {
				delete(p.Catalog, "errs")
			}
			undone := 0
			e := opened(t, p, Hooks{Rollback: func() { undone++ }})
			n, err := e.Step(t.Context())
			var f *Failure
			if !errors.As(err, &f) || f.Segment != 3 || !errors.Is(err, errTest) || n != 0 {
				t.Fatalf("got %d, %v", n, err)
			}
			if strings.HasSuffix(name, "panics too") != strings.Contains(err.Error(), "interface conversion") {
				t.Errorf("what the condition panicked with: %v", err)
			}
			want(t, "rollbacks", undone, 1)
			want(t, "a", outs["a"].Segments(), "[]")
			want(t, "what comes again", p.Catalog["in"].In.(*Memory).Segments(), "[1 2 3 4]")
			if _, again := e.Step(t.Context()); !errors.Is(again, errTest) {
				t.Errorf("the second time: %v", again)
			}
		})
	}
}

func TestAFailureDroppedByAConditionHasAWay(t *testing.T) {
	p, outs := fork(panics("gone"), []Condition{{From: All, When: IsError, ShortCircuit: true}}, 1)
	delete(p.Catalog, "errs")
	toEnd(t, opened(t, p, Hooks{}))
	want(t, "a", outs["a"].Segments(), "[]")
}
