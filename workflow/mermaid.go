package workflow

import (
	"fmt"
	"strings"
)

// Mermaid draws a plan as a Mermaid flowchart; the same plan always gives the same text, whether Validate finds
// faults in it or not. Inputs are rounded, outputs are cylinders. An edge with conditions is dotted and says which; so is the
// way of a short-circuit condition. A link is thick.
func (p Plan) Mermaid() string {
	d := &drawing{plan: p, ids: map[string]string{}}
	d.line("flowchart LR")
	for _, name := range p.names() {
		d.task(name)
	}
	for _, e := range p.Workflow {
		d.edge(e)
	}
	d.links()
	for i, c := range p.Flow {
		d.condition(c, c.title(i))
	}
	return d.text.String()
}

type drawing struct {
	plan Plan
	text strings.Builder
	ids  map[string]string // by name; names may hold what an id may not
}

func (d *drawing) line(format string, args ...any) {
	fmt.Fprintf(&d.text, format+"\n", args...)
}

func (d *drawing) task(name string) {
	t := d.plan.Catalog[name]
	label := escape(name)
	if t.Medium != "" {
		label += "<br/>" + escape(t.Medium)
	}
	open, end := shape(t.Kind)
	d.node(name, open, label, end)
}

func shape(k Kind) (open, end string) {
	switch k {
	case Input:
		return "([", "])"
	case Output:
		return "[(", ")]"
	}
	return "[", "]"
}

func (d *drawing) node(name, open, label, end string) {
	d.ids[name] = fmt.Sprintf("n%d", len(d.ids))
	d.line(`    %s%s"%s"%s`, d.ids[name], open, label, end)
}

// id gives the id of a task; a name that is not in the catalog is drawn with a question mark.
func (d *drawing) id(name string) string {
	if d.ids[name] == "" {
		d.node(name, "{{", escape(name)+" ?", "}}")
	}
	return d.ids[name]
}

// aside gives the id of what stands for tasks without being one.
func (d *drawing) aside(key, label string) string {
	if d.ids[key] == "" {
		d.node(key, "{{", label, "}}")
	}
	return d.ids[key]
}

func (d *drawing) edge(e Edge) {
	from, to := d.id(e.From), d.id(e.To)
	var labels []string
	for i, c := range d.plan.Flow {
		if c.names(e) {
			labels = append(labels, c.title(i))
		}
	}
	if len(labels) == 0 {
		d.line("    %s --> %s", from, to)
		return
	}
	d.arrow(from, to, strings.Join(labels, " and "))
}

// names says whether a condition is drawn on an edge.
func (c Condition) names(e Edge) bool {
	return !c.ShortCircuit && c.From == e.From && c.guards(e.To)
}

func (d *drawing) links() {
	for _, name := range d.plan.names() {
		if t := d.plan.Catalog[name]; t.Link != "" {
			d.line("    %s == link ==> %s", d.id(t.Link), d.id(name))
		}
	}
}

// condition draws what no edge shows.
func (d *drawing) condition(c Condition, title string) {
	if !c.ShortCircuit && c.From != All {
		return
	}
	from := d.from(c)
	switch {
	case isAll(c.To):
		d.arrow(from, d.aside("\x00next", "every successor"), title)
	case len(c.To) == 0:
		d.arrow(from, d.aside("\x00nowhere", "nowhere"), title)
	default:
		for _, to := range c.To {
			d.arrow(from, d.id(to), title)
		}
	}
}

func (d *drawing) from(c Condition) string {
	if c.From == All {
		return d.aside("\x00all", "every task")
	}
	return d.id(c.From)
}

func (d *drawing) arrow(from, to, label string) {
	d.line(`    %s -. "%s" .-> %s`, from, escape(label), to)
}

// escape keeps a text from ending the label it stands in.
func escape(s string) string {
	return strings.NewReplacer("#", "#35;", `"`, "#quot;", "<", "#lt;", ">", "#gt;", "`", "#96;", "\n", " ").Replace(s)
}
