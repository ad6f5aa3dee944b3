package workflow

import (
	"context"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
)

func numberOdd(s Segment) bool { return s.(int64)%2 != 0 }

func increment(_ context.Context, p Params, s Segment) ([]Segment, error) {
	return []Segment{s.(int64) + p["n"].(int64)}, nil
}

// numbers is a plan that knows nothing of commands: edge-out and edge-in are two ends of one queue.
func numbers(in, out *Memory, linked bool) Plan {
	queue := NewMemory()
	edgeIn := Task{Kind: Input, Medium: "memory", In: queue}
	if linked {
		edgeIn = Task{Kind: Input, Medium: "memory", Link: "edge-out"}
	}
	return Plan{
		Workflow: Workflow{
			{"in", "increment"}, {"increment", "dup"}, {"dup", "edge-out"},
			{"edge-in", "mult"}, {"mult", "out"},
			{"edge-in", "div"}, {"div", "out"},
		},
		Catalog: Catalog{
			"in":        {Kind: Input, Medium: "memory", In: in},
			"increment": {Kind: Function, Params: Params{"n": int64(5)}, Fn: increment},
			"dup": {Kind: Function, Fn: func(_ context.Context, _ Params, s Segment) ([]Segment, error) {
				return []Segment{s, s}, nil
			}},
			"edge-out": {Kind: Output, Medium: "memory", Out: queue},
			"edge-in":  edgeIn,
			"mult":     {Kind: Function, Fn: each(func(s Segment) Segment { return big.NewRat(2*s.(int64), 1) })},
			"div":      {Kind: Function, Fn: each(func(s Segment) Segment { return big.NewRat(2, s.(int64)) })},
			"out":      {Kind: Output, Medium: "memory", Out: out},
		},
		Flow: []Condition{
			{From: "edge-in", To: []string{"mult"}, When: numberOdd, Label: "odd"},
			{From: "edge-in", To: []string{"div"}, When: Not(numberOdd), Label: "even"},
		},
	}
}

func TestNumbers(t *testing.T) {
	expected := strings.Fields("1/3 1/3 1/24 1/24 30 30 1/32 1/32 34 34 -265990 -265990")
	for _, linked := range []bool{false, true} {
		t.Run(fmt.Sprintf("linked=%v", linked), func(t *testing.T) {
			in := closedMemory(int64(1), int64(10), int64(43), int64(12), int64(59), int64(-133000))
			out := NewMemory()
			p := numbers(in, out, linked)
			e, err := New(p, Hooks{})
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range out.Segments() {
				got = append(got, s.(*big.Rat).RatString())
			}
			want(t, "numbers", slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(expected)))
			want(t, "what is left to read", len(in.Segments()), 0)
		})
	}
}

func TestNumbersAreDroppedWhereNoConditionHolds(t *testing.T) {
	out := NewMemory()
	p := numbers(closedMemory(int64(1), int64(2)), out, true)
	p.Flow[1].When = And()
	p.Flow = append(p.Flow, Condition{From: "edge-in", To: []string{"div"}, When: Or()})
	toEnd(t, opened(t, p, Hooks{}))
	want(t, "what div gave", out.Segments(), "[14/1 14/1]")
}

// counts is a Sink with a state.
type counts map[string]int

func (c counts) Flush(_ context.Context, words []Segment) error {
	for _, w := range words {
		c[w.(string)]++
	}
	return nil
}

func TestWordCount(t *testing.T) {
	split := func(_ context.Context, _ Params, line Segment) (words []Segment, _ error) {
		for w := range strings.FieldsSeq(line.(string)) {
			words = append(words, w)
		}
		return words, nil
	}
	counted := counts{}
	toEnd(t, opened(t, Plan{
		Workflow: Workflow{{"lines", "split"}, {"split", "lower"}, {"lower", "count"}},
		Catalog: Catalog{
			"lines": from("The log decides", "", "the LOG is the truth"),
			"split": function(split),
			"lower": function(each(func(s Segment) Segment { return strings.ToLower(s.(string)) })),
			"count": {Kind: Output, Out: counted},
		},
	}, Hooks{}))
	want(t, "words", slices.Sorted(maps.Keys(counted)), "[decides is log the truth]")
	want(t, "counts", map[string]int(counted), "map[decides:1 is:1 log:2 the:3 truth:1]")
}

func TestLinkedInputIsWalkedAtOnceAndPolledToo(t *testing.T) {
	r := &recorder{}
	note := func(name string) Fn {
		return func(_ context.Context, _ Params, s Segment) ([]Segment, error) {
			return []Segment{s}, r.call("%s %v", name, s)
		}
	}
	p := Plan{
		Workflow: Workflow{{"in", "a"}, {"a", "log"}, {"log", "own"}, {"own", "out"}, {"again", "b"}, {"b", "out"}},
		Catalog: Catalog{
			"in": from(1, 2), "a": function(note("a")), "own": function(note("own")),
			"log":   {Kind: Output, Out: NewMemory()},
			"again": {Kind: Input, Link: "log", In: closedMemory(7), Fn: note("again")},
			"b":     function(note("b")), "out": into(NewMemory()),
		},
	}
	toEnd(t, opened(t, p, Hooks{}))
	want(t, "the walk, depth-first, own successors before the link", r.calls,
		"[a 1 own 1 again 1 b 1 a 2 own 2 again 2 b 2 again 7 b 7]")
}
