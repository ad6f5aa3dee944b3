package workflow

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func TestMemory(t *testing.T) {
	for name, steps := range map[string]string{
		"polls go on":                   "poll 2=[1 2]; poll 2=[3]; poll 2=[]",
		"rewind goes back to the start": "poll 2=[1 2]; rewind; poll 3=[1 2 3]",
		"rewind goes back to the ack":   "poll 3=[1 2 3]; ack 1; rewind; poll 3=[2 3]",
		"an ack covers earlier polls":   "poll 1=[1]; poll 2=[2 3]; ack 1; left=[3]; rewind; poll 9=[3]",
		"an ack may be said again":      "poll 3=[1 2 3]; ack 1; ack 1; ack 3; left=[]",
		"put behind a poll":             "poll 3=[1 2 3]; put 4; ack 3; left=[4]; poll 9=[4]",
		"EOF with the last segment":     "close; poll 2=[1 2]; poll 2=[3]EOF; rewind; poll 3=[1 2 3]EOF; ack 3; poll 9=[]EOF",
		"closed while polled":           "poll 3=[1 2 3]; close; poll 3=[]EOF",
		"drained":                       "poll 1=[1]; drain=[1 2 3]; left=[]; ack 0; put 4; poll 9=[4]; ack 1; left=[]",
		"drained while polled":          "poll 2=[1 2]; drain=[1 2 3]; put 4; rewind; poll 9=[4]",
		"too much acknowledged":         "poll 2=[1 2]; ack 3!; ack -1!; left=[1 2 3]",
	} {
		t.Run(name, func(t *testing.T) {
			m := NewMemory(1, 2, 3)
			for step := range strings.SplitSeq(steps, "; ") {
				want(t, "step", doMemory(t, m, step), step)
			}
		})
	}
}

// doMemory does a step and gives it back with what came of it.
func doMemory(t *testing.T, m *Memory, step string) string {
	t.Helper()
	op, _, _ := strings.Cut(step, "=")
	op = strings.TrimSuffix(op, "!")
	var name string
	var n int
	fmt.Sscan(op, &name, &n)
	switch name {
	case "poll":
		got, err := m.Poll(t.Context(), n)
		if err == io.EOF {
			return fmt.Sprintf("%s=%vEOF", op, got)
		}
		return fmt.Sprintf("%s=%v", op, got)
	case "ack":
		if m.Ack(t.Context(), n) != nil {
			return op + "!"
		}
	case "rewind":
		m.Rewind()
	case "put":
		m.Put(n)
	case "close":
		m.Close()
	case "left":
		return fmt.Sprintf("%s=%v", op, m.Segments())
	case "drain":
		return fmt.Sprintf("%s=%v", op, m.Drain())
	}
	return op
}

func TestAClosedMemoryTakesNothing(t *testing.T) {
	m := closedMemory(1)
	for what, err := range map[string]error{
		"Put": m.Put(2), "Flush": m.Flush(t.Context(), []Segment{2}),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	want(t, "Flush of none", m.Flush(t.Context(), nil), nil)
	want(t, "segments", m.Segments(), "[1]")
}

func TestMemoryWakes(t *testing.T) {
	m, woken := NewMemory(), 0
	m.Wake(func() { woken++ })
	m.Put(1)
	m.Flush(t.Context(), []Segment{2})
	m.Close()
	want(t, "woken", woken, 3)
}

// What a Poll gave stands until the Ack, whatever is put in meanwhile, and the queue keeps no slice of the caller.
func TestMemorySharesNoSlice(t *testing.T) {
	mine := []Segment{1, 2}
	m := NewMemory(mine...)
	mine[0] = 99
	m.Put(1, 2)
	polled, _ := m.Poll(t.Context(), 2)
	_ = append(polled, 99)
	want(t, "segments", m.Segments(), "[1 2 1 2]")
}

func TestMemoryFromManyGoroutines(t *testing.T) {
	m, out := NewMemory(), NewMemory()
	e, err := New(Plan{
		Workflow: Workflow{{"in", "out"}},
		Catalog:  Catalog{"in": {Kind: Input, In: m, Batch: 7}, "out": into(out)},
	}, Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	ended := running(t, t.Context(), e)
	var puts sync.WaitGroup
	for i := range 8 {
		puts.Go(func() {
			for n := range 100 {
				m.Put(i*100 + n)
			}
		})
	}
	puts.Wait()
	m.Close()
	want(t, "Run", <-ended, nil)
	for i, n := range ints(out.Segments()) {
		if n != i {
			t.Fatalf("segment %d is %d", i, n)
		}
	}
	want(t, "count", len(out.Segments()), 800)
}

// A Memory behaves as a list with two marks: what is acknowledged, and what is polled.
func TestMemoryAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := NewMemory()
		var all []int
		acked, from, next := 0, 0, 0
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) { m.Put(len(all)); all = append(all, len(all)) },
			"poll": func(t *rapid.T) {
				most := rapid.IntRange(0, 4).Draw(t, "most")
				got, _ := m.Poll(t.Context(), most)
				from, next = next, min(next+most, len(all))
				if fmt.Sprint(got) != fmt.Sprint(all[from:next]) {
					t.Fatalf("polled %v, want %v", got, all[from:next])
				}
			},
			"ack": func(t *rapid.T) {
				n := rapid.IntRange(0, next-from).Draw(t, "n")
				if err := m.Ack(t.Context(), n); err != nil {
					t.Fatal(err)
				}
				acked = max(acked, from+n)
			},
			"rewind": func(t *rapid.T) { m.Rewind(); from, next = acked, acked },
			"": func(t *rapid.T) {
				if got := m.Segments(); fmt.Sprint(got) != fmt.Sprint(all[acked:]) {
					t.Fatalf("holds %v, want %v", got, all[acked:])
				}
			},
		})
	})
}
