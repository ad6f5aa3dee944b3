package workflow

import "fmt"

func (c *checker) conditions() {
	for i, condition := range c.plan.Flow {
		c.condition(condition, condition.title(i))
		c.sendsTo(condition, condition.title(i))
	}
}

// title names a condition for people.
func (c Condition) title(i int) string {
	if c.Label != "" {
		return c.Label
	}
	return fmt.Sprintf("condition %d", i+1)
}

func (c *checker) condition(is Condition, title string) {
	if is.From != All && c.graph.named[is.From] == nil {
		c.add(is.From, "%q is a condition from it, but it is not in the catalog", title)
	}
	if is.When == nil {
		c.add(is.From, "%q is a condition without When", title)
	}
	if is.Transform != nil && !is.ShortCircuit {
		c.add(is.From, "%q is a condition with a Transform, which needs ShortCircuit", title)
	}
	if len(is.To) == 0 && !is.ShortCircuit {
		c.add(is.From, "%q is a condition without To, which needs ShortCircuit: only then it sends nowhere", title)
	}
}

func (c *checker) sendsTo(is Condition, title string) {
	if isAll(is.To) {
		return
	}
	seen := map[string]bool{}
	for _, name := range is.To {
		to := c.graph.named[name]
		switch {
		case name == All:
			c.add(is.From, "%q is a condition to %s and to others: %s stands alone", title, All, All)
		case to == nil:
			c.add(name, "%q is a condition to it, but it is not in the catalog", title)
		case to.task.Kind == Input:
			c.add(name, "is an input, so the condition %q may not send to it", title)
		case seen[name]:
			c.add(is.From, "%q is a condition that names %q twice", title, name)
		case !is.ShortCircuit && !c.hasEdge(is.From, to):
			c.add(is.From, "%q is a condition on the edge %s > %s, which is not there: add it, or make the condition short-circuit", title, is.From, name)
		}
		seen[name] = true
	}
}

// hasEdge says whether a condition has an edge to ask about. From an unknown task it need not.
func (c *checker) hasEdge(from string, to *node) bool {
	n := c.graph.named[from]
	return n == nil || n.leadsTo(to)
}
