package workflow

import "slices"

// order gives the tasks in the workflow's order. It holds only for a graph without a cycle.
func (g *graph) order() []*node {
	waits := map[*node]int{}
	for _, n := range g.nodes {
		for _, next := range g.follows(n) {
			waits[next]++
		}
	}
	left := slices.Clone(g.nodes)
	var order []*node
	for len(left) > 0 {
		i := slices.IndexFunc(left, func(n *node) bool { return waits[n] == 0 })
		if i < 0 {
			return append(order, left...)
		}
		n := left[i]
		left = slices.Delete(left, i, i+1)
		order = append(order, n)
		for _, next := range g.follows(n) {
			waits[next]--
		}
	}
	return order
}

// follows gives the tasks that come after n by the workflow's edges and by links. Edges that only conditions make have
// no say in the order.
func (g *graph) follows(n *node) []*node {
	return slices.DeleteFunc(n.along(), func(next *node) bool {
		return next != n.link && !g.into[next.name]
	})
}

// cycles gives a cycle for each way back that a walk depth-first meets, from its first task around to the same task.
func (g *graph) cycles() [][]*node {
	var found [][]*node
	var path []*node
	done := map[*node]bool{}
	var visit func(n *node)
	visit = func(n *node) {
		if i := slices.Index(path, n); i >= 0 {
			found = append(found, append(slices.Clone(path[i:]), n))
			return
		}
		if done[n] {
			return
		}
		path = append(path, n)
		for _, next := range distinct(n.next()) {
			visit(next)
		}
		path = path[:len(path)-1]
		done[n] = true
	}
	for _, n := range g.nodes {
		visit(n)
	}
	return found
}

// reached gives the tasks that a segment may come to.
func (g *graph) reached() map[*node]bool {
	reached := map[*node]bool{}
	var visit func(n *node)
	visit = func(n *node) {
		if reached[n] {
			return
		}
		reached[n] = true
		for _, next := range n.next() {
			visit(next)
		}
	}
	for _, n := range g.nodes {
		if n.task.Kind == Input && (n.task.In != nil || n.task.Link == "") {
			visit(n)
		}
	}
	return reached
}

func distinct(nodes []*node) []*node {
	var once []*node
	for _, n := range nodes {
		if !slices.Contains(once, n) {
			once = append(once, n)
		}
	}
	return once
}
