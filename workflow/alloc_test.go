package workflow

import (
	"context"
	"testing"
)

// endless gives the same segments for ever.
type endless struct{ segments []Segment }

func (e *endless) Poll(context.Context, int) ([]Segment, error) { return e.segments, nil }
func (e *endless) Ack(context.Context, int) error               { return nil }
func (e *endless) Rewind()                                      {}

type discard struct{}

func (discard) Flush(context.Context, []Segment) error { return nil }

// reusing passes a segment on in a slice that it uses again.
func reusing() Fn {
	slice := make([]Segment, 1)
	return func(_ context.Context, _ Params, s Segment) ([]Segment, error) {
		slice[0] = s
		return slice, nil
	}
}

func fourFunctions(t testing.TB, segments int) *Engine {
	n := new(int)
	batch := make([]Segment, segments)
	for i := range batch {
		batch[i] = n
	}
	p := Plan{
		Workflow: Workflow{{"in", "a"}, {"a", "b"}, {"b", "c"}, {"c", "d"}, {"d", "out"}},
		Catalog:  Catalog{"in": {Kind: Input, In: &endless{batch}}, "out": {Kind: Output, Out: discard{}}, "errs": {Kind: Output, Out: discard{}}},
		Flow: []Condition{
			{From: All, To: []string{"errs"}, When: IsError, ShortCircuit: true},
			{From: "b", To: []string{"c"}, When: Is[*int]()},
		},
	}
	for _, name := range []string{"a", "b", "c", "d"} {
		p.Catalog[name] = function(reusing())
	}
	return opened(t, p, Hooks{Mark: func() {}, Retry: func(error) bool { return true }})
}

func TestAWalkAllocatesNothing(t *testing.T) {
	e := fourFunctions(t, 100)
	ctx := t.Context()
	allocs := testing.AllocsPerRun(100, func() {
		if n, err := e.Step(ctx); n != 100 || err != nil {
			t.Fatal(n, err)
		}
	})
	if allocs != 0 {
		t.Errorf("a batch of 100 segments allocates %v times", allocs)
	}
}

func BenchmarkStep(b *testing.B) {
	e := fourFunctions(b, 1000)
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Step(ctx); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/segment")
}
