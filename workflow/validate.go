package workflow

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Fault is something in a plan that keeps it from running.
type Fault struct {
	Task    string // the task where it shows
	Problem string
}

// Error says what is wrong with which task.
func (f *Fault) Error() string { return fmt.Sprintf("task %q: %s", f.Task, f.Problem) }

// Validate lists every fault of a plan at once: its error joins one *Fault for each, in the order of their
// tasks' names and then of their texts. It calls conditions and transforms with the samples, and nothing else of the plan.
func (p Plan) Validate() error { return p.validate(compile(p)) }

func (p Plan) validate(g *graph) error {
	c := &checker{plan: p, graph: g, faults: map[Fault]bool{}}
	c.edges()
	c.tasks()
	c.links()
	c.conditions()
	c.waysOut()
	c.reach()
	c.cycles()
	c.samples()
	return c.err()
}

// checker collects faults; one that is found twice counts once.
type checker struct {
	plan   Plan
	graph  *graph
	faults map[Fault]bool
}

func (c *checker) add(task, problem string, args ...any) {
	c.faults[Fault{task, fmt.Sprintf(problem, args...)}] = true
}

func (c *checker) err() error {
	sorted := slices.SortedFunc(maps.Keys(c.faults), func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Task, b.Task), cmp.Compare(a.Problem, b.Problem))
	})
	errs := make([]error, len(sorted))
	for i := range sorted {
		errs[i] = &sorted[i]
	}
	return errors.Join(errs...)
}

func (c *checker) edges() {
	seen := map[Edge]bool{}
	for _, e := range c.plan.Workflow {
		for _, name := range []string{e.From, e.To} {
			if c.graph.named[name] == nil {
				c.add(name, "is in the edge %s > %s but not in the catalog", e.From, e.To)
			}
		}
		if to := c.graph.named[e.To]; to != nil && to.task.Kind == Input {
			c.add(e.To, "is an input, so no edge may lead to it: take %s > %s away, or use a Link", e.From, e.To)
		}
		if seen[e] {
			c.add(e.From, "has the edge %s > %s twice", e.From, e.To)
		}
		seen[e] = true
	}
}

func (c *checker) tasks() {
	for _, n := range c.graph.nodes {
		switch n.task.Kind {
		case Input:
			c.input(n)
		case Function:
			c.function(n)
		case Output:
			c.output(n)
		default:
			c.add(n.name, "has no known Kind: make it Input, Function or Output")
		}
		if n.task.Batch < 0 {
			c.add(n.name, "has the negative Batch %d", n.task.Batch)
		}
		if n.name == All {
			c.add(n.name, "has the name that stands for all tasks: give it another")
		}
	}
}

func (c *checker) input(n *node) {
	if n.task.In == nil && n.task.Link == "" {
		c.add(n.name, "is an input with neither In nor Link")
	}
	if n.task.Out != nil {
		c.add(n.name, "is an input with an Out, which only an output has")
	}
}

func (c *checker) function(n *node) {
	if n.task.Fn == nil {
		c.add(n.name, "is a function without Fn")
	}
	c.noInput(n)
	if n.task.Out != nil {
		c.add(n.name, "is a function with an Out, which only an output has")
	}
}

func (c *checker) output(n *node) {
	if n.task.Out == nil {
		c.add(n.name, "is an output without Out")
	}
	c.noInput(n)
	if n.task.Fn != nil {
		c.add(n.name, "is an output with an Fn, which would never be called: put a function before it")
	}
}

func (c *checker) noInput(n *node) {
	if n.task.In != nil || n.task.Link != "" {
		c.add(n.name, "has an In or a Link, which only an input has")
	}
}

func (c *checker) links() {
	first := map[string]string{}
	for _, n := range c.graph.nodes {
		name := n.task.Link
		if n.task.Kind != Input || name == "" {
			continue
		}
		if out := c.graph.named[name]; out == nil || out.task.Kind != Output {
			c.add(n.name, "has the Link %q, which is no output of the catalog", name)
		}
		if other, taken := first[name]; taken {
			c.add(n.name, "has the Link %q, and so has %q: an output is linked to one input", name, other)
			continue
		}
		first[name] = n.name
	}
}

// waysOut looks for inputs and functions that lead nowhere. What a condition from All does is meant for some
// segments only, so it is no way out.
func (c *checker) waysOut() {
	leads := map[string]bool{}
	for _, e := range c.plan.Workflow {
		leads[e.From] = true
	}
	for _, condition := range c.plan.Flow {
		leads[condition.From] = leads[condition.From] || condition.ShortCircuit
	}
	for _, n := range c.graph.nodes {
		if !leads[n.name] && (n.task.Kind == Input || n.task.Kind == Function) {
			c.add(n.name, "has no way out: give it an edge, or make it an output")
		}
	}
}

func (c *checker) reach() {
	reached := c.graph.reached()
	for _, n := range c.graph.nodes {
		if !reached[n] {
			c.add(n.name, "cannot be reached from an input that has In")
		}
	}
}

func (c *checker) cycles() {
	for _, cycle := range c.graph.cycles() {
		names := make([]string, len(cycle))
		for i, n := range cycle {
			names[i] = n.name
		}
		c.add(names[0], "is in a cycle: %s", strings.Join(names, " > "))
	}
}

func (c *checker) samples() {
	for name, s := range c.plan.Samples {
		_, strict := s.(*Failure)
		for _, n := range c.graph.nodes {
			if n.task.Kind != Input && n.task.Kind != Function {
				continue
			}
			_, ok, failure := n.route(s, strict)
			if failure != nil {
				c.add(n.name, "a condition panics on the sample %q: %v", name, failure.Err)
			} else if !ok {
				c.add(n.name, "the sample %q has no way out: give it a condition", name)
			}
		}
	}
}
