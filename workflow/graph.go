package workflow

import (
	"maps"
	"slices"
)

// node is a task with the ways out of it. A walk needs nothing else.
type node struct {
	name   string
	rank   int // by first appearance in the workflow
	task   Task
	shorts []short
	edges  []edge
	emits  bool   // false for an output without successors
	link   *node  // of an output: the input that is linked to it
	in     *input // of an input that is polled

	gathered []Segment // of an output: what this batch brought
	mark     int       // how much of it came before the segment being walked
	taken    []*node   // where the segment leaving goes; no node is entered again before it is left, so one will do
}

type short struct {
	when      Predicate
	transform func(Segment) Segment
	to        []*node
}

type edge struct {
	to   *node
	when []Predicate
}

// graph is a compiled plan. What the plan says of unknown tasks is left out: Validate reports it.
type graph struct {
	nodes []*node // by rank
	named map[string]*node
	into  map[string]bool // tasks that an edge leads to
}

func compile(p Plan) *graph {
	g := &graph{named: map[string]*node{}, into: map[string]bool{}}
	for rank, name := range p.names() {
		n := &node{name: name, rank: rank, task: p.Catalog[name]}
		g.nodes = append(g.nodes, n)
		g.named[name] = n
	}
	g.addEdges(p.Workflow)
	g.addLinks()
	g.markEmitting(p.Flow)
	fed := make([]map[*node]bool, len(p.Flow))
	for i, c := range p.Flow {
		fed[i] = g.fedBy(c, p.Flow)
	}
	g.addShorts(p.Flow, fed)
	g.addImplied(p.Flow, fed)
	g.addGuards(p.Flow)
	return g
}

// names gives the names of the catalog: as the workflow names them, then as the conditions do, then the rest.
func (p Plan) names() []string {
	var names []string
	seen := map[string]bool{}
	add := func(name string) {
		if _, known := p.Catalog[name]; known && !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	for _, e := range p.Workflow {
		add(e.From)
		add(e.To)
	}
	for _, c := range p.Flow {
		for _, to := range c.To {
			add(to)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Catalog)) {
		add(name)
	}
	return names
}

func (g *graph) addEdges(w Workflow) {
	seen := map[Edge]bool{}
	for _, e := range w {
		from, to := g.named[e.From], g.named[e.To]
		if from == nil || to == nil || seen[e] {
			continue
		}
		seen[e] = true
		g.into[e.To] = true
		from.edges = append(from.edges, edge{to: to})
	}
}

func (g *graph) addLinks() {
	for _, n := range g.nodes {
		out := g.named[n.task.Link]
		if n.task.Kind == Input && out != nil && out.task.Kind == Output && out.link == nil {
			out.link = n
		}
	}
}

func (g *graph) markEmitting(flow []Condition) {
	for _, n := range g.nodes {
		n.emits = n.task.Kind != Output || len(n.edges) > 0
	}
	for _, c := range flow {
		if n := g.named[c.From]; n != nil && c.ShortCircuit {
			n.emits = true
		}
	}
}

func (g *graph) addShorts(flow []Condition, fed []map[*node]bool) {
	for i, c := range flow {
		if !c.ShortCircuit {
			continue
		}
		for _, n := range g.sources(c) {
			if !fed[i][n] {
				n.shorts = append(n.shorts, short{when: c.predicate(), transform: c.Transform, to: g.targets(n, c)})
			}
		}
	}
}

// addImplied gives every task an edge to the tasks that only conditions from All lead to.
func (g *graph) addImplied(flow []Condition, fed []map[*node]bool) {
	for i, c := range flow {
		if c.ShortCircuit || c.From != All || isAll(c.To) {
			continue
		}
		for _, to := range g.targets(nil, c) {
			for _, n := range g.sources(c) {
				if !g.into[to.name] && !fed[i][n] && !n.leadsTo(to) {
					n.edges = append(n.edges, edge{to: to})
				}
			}
		}
	}
}

func (g *graph) addGuards(flow []Condition) {
	for _, c := range flow {
		if c.ShortCircuit {
			continue
		}
		for _, n := range g.sources(c) {
			for i := range n.edges {
				if e := &n.edges[i]; c.guards(e.to.name) && (!isAll(c.To) || g.into[e.to.name]) {
					e.when = append(e.when, c.predicate())
				}
			}
		}
	}
}

// sources gives the tasks that a condition is asked at.
func (g *graph) sources(c Condition) []*node {
	if c.From == All {
		return slices.DeleteFunc(slices.Clone(g.nodes), func(n *node) bool { return !n.emits })
	}
	if n := g.named[c.From]; n != nil {
		return []*node{n}
	}
	return nil
}

// targets gives the tasks that a condition at n sends to.
func (g *graph) targets(n *node, c Condition) []*node {
	var to []*node
	if isAll(c.To) {
		for _, e := range n.edges {
			to = append(to, e.to)
		}
		return to
	}
	for _, name := range c.To {
		if t := g.named[name]; t != nil && t.task.Kind != Input {
			to = append(to, t)
		}
	}
	return to
}

// fedBy gives the tasks that a condition from All does not send from: those in its To, and what they lead to by
// edges, links and the short-circuit conditions from tasks by name.
func (g *graph) fedBy(c Condition, flow []Condition) map[*node]bool {
	if c.From != All || isAll(c.To) {
		return nil
	}
	fed := map[*node]bool{}
	var visit func(n *node)
	visit = func(n *node) {
		if fed[n] {
			return
		}
		fed[n] = true
		for _, next := range n.along() {
			visit(next)
		}
		for _, own := range flow {
			if own.ShortCircuit && own.From == n.name {
				for _, next := range g.targets(n, own) {
					visit(next)
				}
			}
		}
	}
	for _, n := range g.targets(nil, c) {
		visit(n)
	}
	return fed
}

// along gives the next tasks by edges and link.
func (n *node) along() []*node {
	var next []*node
	for _, e := range n.edges {
		next = append(next, e.to)
	}
	if n.link != nil {
		next = append(next, n.link)
	}
	return next
}

// next gives every task that a walk may enter from n.
func (n *node) next() []*node {
	next := n.along()
	for _, c := range n.shorts {
		next = append(next, c.to...)
	}
	return next
}

func (n *node) leadsTo(to *node) bool {
	return slices.ContainsFunc(n.edges, func(e edge) bool { return e.to == to })
}

func isAll(to []string) bool { return len(to) == 1 && to[0] == All }

// guards says whether a condition names the edge to a task.
func (c Condition) guards(to string) bool { return isAll(c.To) || slices.Contains(c.To, to) }

// predicate is When; a condition without one never holds.
func (c Condition) predicate() Predicate {
	if c.When == nil {
		return func(Segment) bool { return false }
	}
	return c.When
}
