package workflow

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

func TestPredicates(t *testing.T) {
	yes, no := And(), Or()
	never := func(Segment) bool { panic("asked") }
	for name, tt := range map[string]struct {
		p    Predicate
		s    Segment
		want bool
	}{
		"And of none":            {And(), 1, true},
		"And of all":             {And(yes, yes), 1, true},
		"And stops":              {And(yes, no, never), 1, false},
		"Or of none":             {Or(), 1, false},
		"Or stops":               {Or(no, yes, never), 1, true},
		"Or of no":               {Or(no, no), 1, false},
		"Not":                    {Not(yes), 1, false},
		"IsError":                {IsError, errTest, true},
		"IsError of a Failure":   {IsError, &Failure{}, true},
		"IsError of another":     {IsError, 1, false},
		"IsError of nil":         {IsError, nil, false},
		"Is of the type":         {Is[int](), 1, true},
		"Is of another type":     {Is[int](), "1", false},
		"Is of an interface":     {Is[fmt.Stringer](), ctxString{}, true},
		"Is not of an interface": {Is[fmt.Stringer](), 1, false},
	} {
		if got := tt.p(tt.s); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

type ctxString struct{}

func (ctxString) String() string { return "" }

// fork is in > f > {a, b, c}, with outputs a, b, c and errs; only conditions lead to errs.
func fork(fn Fn, flow []Condition, segments ...Segment) (Plan, map[string]*Memory) {
	outs := map[string]*Memory{}
	p := Plan{
		Workflow: Workflow{{"in", "f"}, {"f", "a"}, {"f", "b"}, {"f", "c"}},
		Catalog:  Catalog{"in": from(segments...), "f": function(fn)},
		Flow:     flow,
	}
	for _, name := range []string{"a", "b", "c", "errs"} {
		outs[name] = NewMemory()
		if name != "errs" || len(flow) > 0 {
			p.Catalog[name] = into(outs[name])
		}
	}
	return p, outs
}

func TestConditions(t *testing.T) {
	toErrs := Condition{From: All, To: []string{"errs"}, When: IsError, ShortCircuit: true}
	to := func(names ...string) []string { return names }
	boom := func(_ context.Context, _ Params, s Segment) ([]Segment, error) {
		if s == 13 {
			return []Segment{99}, errTest
		}
		return []Segment{s}, nil
	}
	for name, tt := range map[string]struct {
		flow          []Condition
		a, b, c, errs string
	}{
		"an edge that no condition names is taken": {[]Condition{toErrs},
			"[1 2 12]", "[1 2 12]", "[1 2 12]", "[13]"},
		"all conditions of an edge must hold": {[]Condition{toErrs,
			{From: "f", To: to("a"), When: odd},
			{From: "f", To: to("a", "b"), When: Not(large)}},
			"[1]", "[1 2]", "[1 2 12]", "[13]"},
		"And, Or and Not": {[]Condition{toErrs,
			{From: "f", To: to("a"), When: And(large, Not(odd))},
			{From: "f", To: to("b"), When: Or(large, odd)}},
			"[12]", "[1 12]", "[1 2 12]", "[13]"},
		"the first short-circuit that holds": {[]Condition{toErrs,
			{From: "f", To: to("a"), When: large, ShortCircuit: true},
			{From: "f", To: to("b", "c"), When: Not(odd), ShortCircuit: true},
			{From: "f", To: to("c"), When: And(), ShortCircuit: true}},
			"[12]", "[2]", "[1 2]", "[13]"},
		"short-circuits go before earlier conditions": {[]Condition{
			{From: "f", To: to("a"), When: Or()},
			{From: "f", To: to("a"), When: large, ShortCircuit: true}, toErrs},
			"[12]", "[1 2]", "[1 2]", "[13]"},
		"nowhere": {[]Condition{toErrs,
			{From: "f", When: odd, ShortCircuit: true}},
			"[2 12]", "[2 12]", "[2 12]", "[13]"},
		"every successor": {[]Condition{toErrs,
			{From: "f", To: to(All), When: odd, ShortCircuit: true},
			{From: "f", To: to("b"), When: Or()}},
			"[1 2 12]", "[1]", "[1 2 12]", "[13]"},
		"a condition on every edge": {[]Condition{toErrs,
			{From: All, To: to(All), When: Not(large)}},
			"[1 2]", "[1 2]", "[1 2]", "[]"},
		"from every task without short-circuit": {[]Condition{
			{From: All, To: to("errs"), When: IsError},
			{From: All, To: to(All), When: Not(IsError)}},
			"[1 2 12]", "[1 2 12]", "[1 2 12]", "[13]"},
		"from every task, on the edges that are there": {[]Condition{toErrs,
			{From: All, To: to("a"), When: Not(large)}},
			"[1 2]", "[1 2 12]", "[1 2 12]", "[13]"},
		"nothing leaves an output without successors": {[]Condition{
			{From: "f", To: to("a"), When: IsError, ShortCircuit: true}, toErrs},
			"[1 2 12 13]", "[1 2 12]", "[1 2 12]", "[]"},
		"from every task to one by two conditions": {[]Condition{
			{From: All, To: to("errs"), When: IsError},
			{From: All, To: to("errs"), When: Is[*Failure]()}},
			"[1 2 12]", "[1 2 12]", "[1 2 12]", "[13]"},
		"a short-circuit way that no edge leads": {[]Condition{toErrs,
			{From: "in", To: to("errs"), When: large, ShortCircuit: true}},
			"[1 2]", "[1 2]", "[1 2]", "[12 13]"},
	} {
		t.Run(name, func(t *testing.T) {
			p, outs := fork(boom, tt.flow, 1, 2, 12, 13)
			toEnd(t, opened(t, p, Hooks{}))
			want(t, "a", causes(outs["a"].Segments()), tt.a)
			want(t, "b", causes(outs["b"].Segments()), tt.b)
			want(t, "c", causes(outs["c"].Segments()), tt.c)
			want(t, "errs", causes(outs["errs"].Segments()), tt.errs)
		})
	}
}

// causes shows failures by the segment they came from.
func causes(segments []Segment) []Segment {
	for i, s := range segments {
		if f, ok := s.(*Failure); ok {
			segments[i] = f.Segment
		}
	}
	return segments
}

func TestTransformBehindAnError(t *testing.T) {
	letter := func(s Segment) Segment {
		f := s.(*Failure)
		return fmt.Sprintf("%s(%v): %v", f.Task, f.Segment, f.Err)
	}
	fails := func(context.Context, Params, Segment) ([]Segment, error) { return nil, errTest }
	p, outs := fork(fails, []Condition{
		{From: All, To: []string{"errs"}, When: IsError, ShortCircuit: true, Transform: letter},
	}, 4)
	toEnd(t, opened(t, p, Hooks{}))
	want(t, "errs", outs["errs"].Segments(), "[f(4): out of order]")
}

func TestConditionsAreAskedBeforeTheSegmentGoesOn(t *testing.T) {
	type box struct{ n int }
	small := func(s Segment) bool { return s.(*box).n < 5 }
	p, outs := fork(pass, []Condition{{From: "f", To: []string{"a", "b"}, When: small}}, &box{1})
	delete(p.Catalog, "errs")
	p.Catalog["grow"] = function(each(func(s Segment) Segment { s.(*box).n = 9; return s }))
	p.Workflow[0], p.Workflow[1] = Edge{"in", "f"}, Edge{"f", "grow"}
	p.Workflow = append(p.Workflow, Edge{"grow", "a"})
	p.Flow[0].To = []string{"grow", "b"}
	toEnd(t, opened(t, p, Hooks{}))
	want(t, "a", len(outs["a"].Segments()), 1)
	want(t, "b", len(outs["b"].Segments()), 1)
}

// Dead letters may have a path behind them; its failures do not come back to it.
func TestFromAllSendsNothingBackToWhatItFeeds(t *testing.T) {
	fails := func(context.Context, Params, Segment) ([]Segment, error) { return nil, errTest }
	p, outs := fork(fails, []Condition{{From: All, To: []string{"errs"}, When: IsError, ShortCircuit: true}}, 4)
	mailed := NewMemory()
	p.Workflow = append(p.Workflow, Edge{"errs", "mailer"}, Edge{"mailer", "mail"})
	p.Catalog["mailer"], p.Catalog["mail"] = function(fails), into(mailed)

	_, err := opened(t, p, Hooks{}).Step(t.Context())
	var f *Failure
	if !errors.As(err, &f) || f.Task != "mailer" {
		t.Fatalf("got %v", err)
	}
	want(t, "errs after a rollback", outs["errs"].Segments(), "[]")

	p.Catalog["in"] = from(4)
	p.Flow = append(p.Flow, Condition{From: "mailer", To: []string{"mail"}, When: IsError, ShortCircuit: true})
	toEnd(t, opened(t, p, Hooks{}))
	want(t, "errs", len(outs["errs"].Segments()), 1)
	want(t, "mail", len(mailed.Segments()), 1)
}
