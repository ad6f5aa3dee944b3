package workflow

import (
	"context"
	"fmt"
	"io"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A random plan has tasks t0, t1, ... with edges to later ones only; the segments are texts that remember
// their way. The model knows the rules of routing by heart and nothing of graphs, batches and compiled nodes.
type model struct {
	plan  Plan
	ways  map[string]int // how many segments each function makes of one
	fails map[string]int // the length at which a function fails
	got   map[string][]string
}

func randomModel(t *rapid.T) *model {
	m := &model{plan: Plan{Catalog: Catalog{}}, ways: map[string]int{}, fails: map[string]int{}, got: map[string][]string{}}
	size := rapid.IntRange(3, 10).Draw(t, "tasks")
	name := func(i int) string { return fmt.Sprintf("t%d", i) }
	for i := range size {
		m.addTask(t, name(i), i, size)
	}
	for to := 1; to < size; to++ {
		m.addEdges(t, name, to)
	}
	m.addWaysOut(name, size)
	m.addConditions(t, name, size)
	return m
}

func (m *model) addTask(t *rapid.T, name string, i, size int) {
	kind := Kind(rapid.IntRange(1, 3).Draw(t, name))
	switch {
	case i == 0 || kind == Input && i < size-1:
		m.plan.Catalog[name] = Task{Kind: Input, In: m.segments(t, name), Batch: rapid.IntRange(1, 4).Draw(t, "batch")}
	case i == size-1 || kind == Output:
		m.plan.Catalog[name] = into(NewMemory())
	default:
		m.ways[name] = rapid.IntRange(0, 3).Draw(t, "ways")
		m.fails[name] = rapid.IntRange(3, 12).Draw(t, "fails")
		m.plan.Catalog[name] = function(m.fn(name))
	}
}

func (m *model) segments(t *rapid.T, name string) *Memory {
	queue := NewMemory()
	for i := range rapid.IntRange(0, 6).Draw(t, "segments") {
		queue.Put(fmt.Sprintf("%s.%d", name, i*i*i))
	}
	queue.Close()
	return queue
}

func (m *model) fn(name string) Fn {
	return func(_ context.Context, _ Params, s Segment) (made []Segment, _ error) {
		out, err := m.make(name, text(s))
		for _, o := range out {
			made = append(made, o)
		}
		return made, err
	}
}

func text(s Segment) string {
	if f, ok := s.(*Failure); ok {
		return "!" + f.Task + text(f.Segment)
	}
	return s.(string)
}

func (m *model) make(name, s string) (out []string, err error) {
	if len(s)%m.fails[name] == 0 {
		return nil, errTest
	}
	for i := range m.ways[name] {
		out = append(out, s+name+fmt.Sprint(i))
	}
	return out, nil
}

// addEdges leads one edge or more to a task; to an input, perhaps a link.
func (m *model) addEdges(t *rapid.T, name func(int) string, to int) {
	froms := rapid.SliceOfNDistinct(rapid.IntRange(0, to-1), 1, min(3, to), rapid.ID[int]).Draw(t, "from")
	if task := m.plan.Catalog[name(to)]; task.Kind == Input {
		if from := name(froms[0]); m.plan.Catalog[from].Kind == Output && !m.isLinked(from) {
			task.Link = from
			m.plan.Catalog[name(to)] = task
		}
		return
	}
	for _, from := range froms {
		m.plan.edge(name(from), name(to))
	}
}

func (m *model) isLinked(out string) bool {
	for _, t := range m.plan.Catalog {
		if t.Link == out {
			return true
		}
	}
	return false
}

func (m *model) addWaysOut(name func(int) string, size int) {
	for i := range size - 1 {
		leads := slices.ContainsFunc(m.plan.Workflow, func(e Edge) bool { return e.From == name(i) })
		if !leads && m.plan.Catalog[name(i)].Kind != Output {
			m.plan.edge(name(i), name(size-1))
		}
	}
}

func (m *model) addConditions(t *rapid.T, name func(int) string, size int) {
	m.plan.Catalog["errs"] = into(NewMemory())
	m.plan.condition(Condition{From: All, To: []string{"errs"}, When: IsError, ShortCircuit: true})
	for range rapid.IntRange(0, 6).Draw(t, "conditions") {
		e := rapid.SampledFrom(m.plan.Workflow).Draw(t, "edge")
		n := rapid.IntRange(2, 4).Draw(t, "length")
		c := Condition{From: e.From, To: []string{e.To}, When: func(s Segment) bool { return len(text(s))%n != 0 }}
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			c.ShortCircuit = true
			c.Transform = func(s Segment) Segment { return text(s) + "~" }
		case 1:
			c.To = []string{All}
		case 2:
			c.From, c.To = All, []string{All}
		}
		m.plan.condition(c)
	}
}

// deliver is the naive walk: what a task gets, by name and text.
func (m *model) deliver(task string, s Segment) {
	switch m.plan.Catalog[task].Kind {
	case Output:
		m.got[task] = append(m.got[task], text(s))
		if slices.ContainsFunc(m.plan.Workflow, func(e Edge) bool { return e.From == task }) || m.ownShort(task) {
			m.route(task, s)
		}
		for name, t := range m.plan.Catalog {
			if t.Link == task {
				m.deliver(name, s)
			}
		}
	case Function:
		out, err := m.make(task, text(s))
		if err != nil {
			m.route(task, &Failure{Task: task, Segment: s})
		}
		for _, o := range out {
			m.route(task, o)
		}
	case Input:
		m.route(task, s)
	}
}

func (m *model) ownShort(task string) bool {
	return slices.ContainsFunc(m.plan.Flow, func(c Condition) bool { return c.ShortCircuit && c.From == task })
}

func (m *model) route(task string, s Segment) {
	for _, c := range m.plan.Flow {
		if c.ShortCircuit && (c.From == All || c.From == task) && c.When(s) {
			if c.Transform != nil {
				s = c.Transform(s)
			}
			m.deliver(c.To[0], s)
			return
		}
	}
	for _, e := range m.plan.Workflow {
		if e.From == task && m.taken(e, s) {
			m.deliver(e.To, s)
		}
	}
}

func (m *model) taken(e Edge, s Segment) bool {
	for _, c := range m.plan.Flow {
		on := (c.From == All || c.From == e.From) && (c.To[0] == All || c.To[0] == e.To)
		if !c.ShortCircuit && on && !c.When(s) {
			return false
		}
	}
	return true
}

func TestRandomPlansAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := randomModel(t)
		for name, task := range m.plan.Catalog {
			if task.Kind == Input {
				for _, s := range task.In.(*Memory).Segments() {
					m.deliver(name, s)
				}
			}
		}
		e, err := New(m.plan, Hooks{})
		if err != nil {
			t.Fatalf("%v\n%s", err, m.plan.Mermaid())
		}
		runToEnd(t, e)
		for name, task := range m.plan.Catalog {
			if task.Kind == Output {
				m.compare(t, name, task.Out.(*Memory))
			}
		}
	})
}

func runToEnd(t *rapid.T, e *Engine) {
	if err := e.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for {
		switch _, err := e.Step(t.Context()); {
		case err == io.EOF:
			return
		case err != nil:
			t.Fatal(err)
		}
	}
}

func (m *model) compare(t *rapid.T, name string, queue *Memory) {
	var got []string
	for _, s := range queue.Segments() {
		got = append(got, text(s))
	}
	slices.Sort(got)
	if expected := slices.Sorted(slices.Values(m.got[name])); !slices.Equal(got, expected) {
		t.Fatalf("%s:\n got %q\nwant %q\n%s", name, got, expected, m.plan.Mermaid())
	}
}
