package workflow

import (
	"errors"
	"strings"
	"testing"
)

// sound is in > f > out, and errs behind a condition from all.
func sound() Plan {
	return Plan{
		Workflow: Workflow{{"in", "f"}, {"f", "out"}},
		Catalog:  Catalog{"in": from(), "f": function(pass), "out": into(NewMemory()), "errs": into(NewMemory())},
		Flow: []Condition{
			{From: All, To: []string{"errs"}, When: Is[error](), ShortCircuit: true, Label: "error"},
		},
		Samples: map[string]Segment{"ordinary": 1, "failure": &Failure{Err: errTest}},
	}
}

func (p *Plan) edge(from, to string)     { p.Workflow = append(p.Workflow, Edge{from, to}) }
func (p *Plan) condition(c Condition)    { p.Flow = append(p.Flow, c) }
func (p *Plan) task(name string, t Task) { p.Catalog[name] = t }

func (p *Plan) change(name string, f func(*Task)) {
	t := p.Catalog[name]
	f(&t)
	p.Catalog[name] = t
}

var always = And()

func TestValidate(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil  func(p *Plan)
		faults string // one on a line
	}{
		"a sound plan": {func(*Plan) {}, ``},
		"edges to and from no task": {func(p *Plan) { p.edge("f", "ghost"); p.edge("spectre", "out") }, `
			task "ghost": is in the edge f > ghost but not in the catalog
			task "spectre": is in the edge spectre > out but not in the catalog`},
		"no way out": {func(p *Plan) { p.task("x", from()); p.task("g", function(pass)); p.edge("in", "g") }, `
			task "g": has no way out: give it an edge, or make it an output
			task "g": the sample "ordinary" has no way out: give it a condition
			task "x": has no way out: give it an edge, or make it an output
			task "x": the sample "ordinary" has no way out: give it a condition`},
		"a condition of its own is a way out": {func(p *Plan) {
			p.task("g", function(pass))
			p.edge("in", "g")
			p.condition(Condition{From: "g", To: []string{"out"}, When: always, ShortCircuit: true})
		}, ``},
		"not reached": {func(p *Plan) {
			p.task("g", function(pass))
			p.task("lost", into(NewMemory()))
			p.task("linked", Task{Kind: Input, Link: "lost"})
			p.edge("g", "out")
			p.edge("linked", "out")
		}, `
			task "g": cannot be reached from an input that has In
			task "linked": cannot be reached from an input that has In
			task "lost": cannot be reached from an input that has In`},
		"an edge into an input": {func(p *Plan) { p.task("x", from()); p.edge("x", "out"); p.edge("f", "x") }, `
			task "x": is an input, so no edge may lead to it: take f > x away, or use a Link`},
		"cycles": {func(p *Plan) {
			p.task("g", function(pass))
			p.edge("f", "g")
			p.edge("g", "f")
			p.edge("g", "g")
		}, `
			task "f": is in a cycle: f > g > f
			task "g": is in a cycle: g > g`},
		"a cycle by a link": {func(p *Plan) {
			p.task("back", Task{Kind: Input, Link: "out"})
			p.edge("back", "f")
		}, `
			task "f": is in a cycle: f > out > back > f`},
		"a cycle by a condition": {func(p *Plan) {
			p.task("g", function(pass))
			p.edge("f", "g")
			p.edge("g", "out")
			p.condition(Condition{From: "g", To: []string{"f"}, When: odd, ShortCircuit: true})
		}, `
			task "f": is in a cycle: f > g > f`},
		"a cycle by two conditions from all": {func(p *Plan) {
			p.task("a", into(NewMemory()))
			p.task("b", into(NewMemory()))
			p.condition(Condition{From: All, To: []string{"a"}, When: odd, ShortCircuit: true})
			p.condition(Condition{From: All, To: []string{"b"}, When: large, ShortCircuit: true})
			p.task("fa", function(pass))
			p.task("fb", function(pass))
			p.edge("a", "fa")
			p.edge("fa", "out")
			p.edge("b", "fb")
			p.edge("fb", "out")
		}, `
			task "a": is in a cycle: a > fa > b > a
			task "a": is in a cycle: a > fa > b > fb > a`},
		"wrong fields": {func(p *Plan) {
			p.change("in", func(t *Task) { t.In, t.Batch, t.Out = nil, -1, NewMemory() })
			p.change("f", func(t *Task) { t.Fn, t.In, t.Out = nil, NewMemory(), NewMemory() })
			p.change("out", func(t *Task) { t.Out, t.Fn, t.Link = nil, pass, "errs" })
			p.change("errs", func(t *Task) { t.Kind = 0 })
		}, `
			task "errs": has no known Kind: make it Input, Function or Output
			task "f": has an In or a Link, which only an input has
			task "f": is a function with an Out, which only an output has
			task "f": is a function without Fn
			task "in": has the negative Batch -1
			task "in": is an input with an Out, which only an output has
			task "in": is an input with neither In nor Link
			task "out": has an In or a Link, which only an input has
			task "out": is an output with an Fn, which would never be called: put a function before it
			task "out": is an output without Out`},
		"wrong links": {func(p *Plan) {
			p.task("later", into(NewMemory()))
			for _, input := range []struct{ name, link string }{{"x", "f"}, {"y", "out"}, {"z", "out"}, {"w", "ghost"}} {
				p.task(input.name, Task{Kind: Input, In: NewMemory(), Link: input.link})
				p.edge(input.name, "later")
			}
		}, `
			task "w": has the Link "ghost", which is no output of the catalog
			task "x": has the Link "f", which is no output of the catalog
			task "z": has the Link "out", and so has "y": an output is linked to one input`},
		"wrong conditions": {func(p *Plan) {
			p.condition(Condition{From: "ghost", To: []string{"spectre"}, When: always})
			p.condition(Condition{From: "f", To: []string{"out"}, Label: "hollow"})
			p.condition(Condition{From: "f", To: []string{"out", "out"}, When: always, Transform: func(s Segment) Segment { return s }})
			p.condition(Condition{From: "f", When: always})
			p.condition(Condition{From: "f", To: []string{"errs"}, When: always})
			p.condition(Condition{From: "f", To: []string{All, "out"}, When: always})
			p.condition(Condition{From: "f", To: []string{"in"}, When: Or(), ShortCircuit: true})
		}, `
			task "f": "condition 4" is a condition that names "out" twice
			task "f": "condition 4" is a condition with a Transform, which needs ShortCircuit
			task "f": "condition 5" is a condition without To, which needs ShortCircuit: only then it sends nowhere
			task "f": "condition 6" is a condition on the edge f > errs, which is not there: add it, or make the condition short-circuit
			task "f": "condition 7" is a condition to * and to others: * stands alone
			task "f": "hollow" is a condition without When
			task "f": the sample "ordinary" has no way out: give it a condition
			task "ghost": "condition 2" is a condition from it, but it is not in the catalog
			task "in": is an input, so the condition "condition 8" may not send to it
			task "spectre": "condition 2" is a condition to it, but it is not in the catalog`},
		"an edge twice": {func(p *Plan) { p.edge("f", "out") }, `
			task "f": has the edge f > out twice`},
		"a task named as all tasks": {func(p *Plan) { p.task(All, function(pass)); p.edge("in", All); p.edge(All, "out") }, `
			task "*": has the name that stands for all tasks: give it another`},
		"a sample without a way": {func(p *Plan) {
			p.Samples["level user"] = errTest
			p.Flow[0].When = func(s Segment) bool { _, ok := s.(*Failure); return ok }
			p.condition(Condition{From: "f", To: []string{"out"}, When: Not(IsError)})
		}, `
			task "f": the sample "level user" has no way out: give it a condition`},
		"a failure takes no edge without a condition": {func(p *Plan) { p.Flow[0].When = Or() }, `
			task "f": the sample "failure" has no way out: give it a condition
			task "in": the sample "failure" has no way out: give it a condition`},
		"a condition that panics": {func(p *Plan) {
			p.condition(Condition{From: "f", To: []string{"out"}, When: func(s Segment) bool { return s.(string) == "" }})
		}, `
			task "f": a condition panics on the sample "ordinary": panic: interface conversion: interface {} is int, not string`},
	} {
		t.Run(name, func(t *testing.T) {
			p := sound()
			tt.spoil(&p)
			for range 3 {
				want(t, "faults", faults(p.Validate()), strings.TrimSpace(strings.ReplaceAll(tt.faults, "\t", "")))
			}
		})
	}
}

// faults shows an error of Validate, after asking that each line is a *Fault.
func faults(err error) string {
	if err == nil {
		return ""
	}
	var lines []string
	for _, err := range err.(interface{ Unwrap() []error }).Unwrap() {
		var f *Fault
		if errors.As(err, &f) {
			lines = append(lines, f.Error())
		}
	}
	return strings.Join(lines, "\n")
}
