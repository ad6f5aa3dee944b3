package main

import (
	"fmt"
	"strconv"
)

// benchmark measures what its goals are about.
type benchmark struct {
	goals []goal
	needs func(*env) string                        // why it can't run; "" when it can. May be nil
	run   func(*env) (values []float64, err error) // one value for each goal, in their order
}

// goal is what a value must reach, and what it should reach then. Without bounds it is only shown.
type goal struct {
	name       string
	kind       string  // ratio, or value
	least      bool    // the bounds are the lowest that pass, not the highest
	must, then float64 // then may be 0: no more is asked for
}

func atLeast(name string, must, then float64) goal {
	return goal{name: name, kind: "ratio", least: true, must: must, then: then}
}

func atMost(name string, must, then float64) goal {
	return goal{name: name, kind: "ratio", must: must, then: then}
}

func shown(name string) goal { return goal{name: name, kind: "ratio"} }

// absolute makes the goal's value one that is no ratio.
func (g goal) absolute() goal {
	g.kind = "value"
	return g
}

// bounded tells whether the goal can be missed.
func (g goal) bounded() bool { return g.must != 0 }

// met tells whether the value reaches a bound. A value that is no number reaches none.
func (g goal) met(value, bound float64) bool {
	if g.least {
		return value >= bound
	}
	return value <= bound
}

func (g goal) passes(value float64) bool { return !g.bounded() || g.met(value, g.must) }

// line is the result as it is printed.
func (g goal) line(value float64) string {
	s := fmt.Sprintf("bench %s %s=%s", g.name, g.kind, short(value))
	if !g.bounded() {
		return s
	}
	sign := "<="
	if g.least {
		sign = ">="
	}
	s += fmt.Sprintf(" must=%s%s", sign, short(g.must))
	if g.then != 0 {
		s += fmt.Sprintf(" then=%s%s", sign, short(g.then))
	}
	return s + " " + g.verdict(value)
}

// reached tells whether the value reaches what it should reach then.
func (g goal) reached(value float64) bool { return g.then != 0 && g.met(value, g.then) }

func (g goal) verdict(value float64) string {
	switch {
	case !g.met(value, g.must):
		return "MISSED"
	case g.reached(value):
		return "then-met"
	}
	return "met"
}

// short prints a number with three digits that count, and whole numbers above 1000 as they are.
func short(v float64) string {
	if v >= 1000 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
