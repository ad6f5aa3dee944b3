package cqrs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/cqrs-server/cqrs"
)

// A program whose fold does what it is told, in one transaction with the folds around it.

type square struct{ N, Value int }

var squares = cqrs.NewTable("squares", func(s square) int { return s.N })

// scenario is a list of steps, such as "put 1 10", "delete 1", "all", "fail".
type scenario struct{ Steps []string }

func (scenario) CommandType() string { return "script" }

func (c scenario) ProcessCommand(context.Context, *cqrs.Decision) ([]cqrs.Event, error) {
	return []cqrs.Event{scripted(c)}, nil
}

type scripted scenario

func (scripted) EventType() string { return "scripted" }

var errScript = errors.New("told to fail")

// scriptFold notes what "all" and "get" found.
type scriptFold struct{ saw *[]string }

func (f scriptFold) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	for _, s := range e.(scripted).Steps {
		if err := f.step(tx, s); err != nil {
			return err
		}
	}
	return nil
}

func (f scriptFold) step(tx *cqrs.Tx, s string) error {
	var do string
	var n, value int
	_, _ = fmt.Sscan(s, &do, &n, &value)
	switch do {
	case "put":
		return squares.Put(tx, square{n, value})
	case "fill": // rows 1 to n, with a value
		for i := 1; i <= n; i++ {
			if err := squares.Put(tx, square{i, value}); err != nil {
				return err
			}
		}
	case "delete":
		return squares.Delete(tx, n)
	case "all":
		*f.saw = append(*f.saw, rowsOf(squares.All(tx)))
	case "count":
		n, err := squares.Whole().Count(tx)
		*f.saw = append(*f.saw, fmt.Sprint(n))
		return err
	case "get":
		row, _ := squares.Get(tx, n)
		*f.saw = append(*f.saw, fmt.Sprint(row.Value))
	case "fail":
		return errScript
	}
	return nil
}

func rowsOf(all func(func(square, error) bool)) (s string) {
	for row, err := range all {
		if err != nil {
			return err.Error()
		}
		s += fmt.Sprintf("%d:%d ", row.N, row.Value)
	}
	return s
}

// runScripts folds one event for each script, all in one batch, and gives what they saw.
func runScripts(t *testing.T, scripts ...[]string) (*cqrs.Runtime, []string) {
	t.Helper()
	var saw []string
	rt, _, _ := start(t, t.TempDir(), cqrs.Config{
		Commands: []cqrs.Command{scenario{}}, Events: []cqrs.Event{scripted{}}, Aggregator: scriptFold{&saw}, Tables: []cqrs.AnyTable{squares},
	})
	envelopes := make([]cqrs.Envelope, len(scripts))
	for i, steps := range scripts {
		data, err := json.Marshal(scenario{steps})
		if err != nil {
			t.Fatal(err)
		}
		envelopes[i] = cqrs.Envelope{Type: scenario{}.CommandType(), Data: data}
	}
	receipts, err := rt.Submit(patience(t), envelopes...)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range receipts {
		if _, err := r.Wait(patience(t)); err != nil {
			t.Fatal(err)
		}
	}
	return rt, saw
}

// A walk inside a fold sees what this fold and those before it in the batch have written, and taken away.
func TestWalkInsideAFold(t *testing.T) {
	rt, saw := runScripts(t,
		[]string{"put 1 1", "put 2 4", "all"},
		[]string{"put 3 9", "delete 1", "all", "put 1 7", "all"},
		[]string{"all"})
	if want := []string{"1:1 2:4 ", "2:4 3:9 ", "1:7 2:4 3:9 ", "1:7 2:4 3:9 "}; !slices.Equal(saw, want) {
		t.Errorf("saw %q, wanted %q", saw, want)
	}
	for at, want := range []string{"", "1:1 2:4 ", "1:7 2:4 3:9 ", "1:7 2:4 3:9 "} {
		if got := rowsOf(squares.All(rt.AsOf(uint64(at)))); got != want {
			t.Errorf("as of %d: %q, wanted %q", at, got, want)
		}
	}
}

// Of a fold that fails nothing stays, whether its rows had been put into their table for a walk or not.
func TestFailedFoldBehindAWalk(t *testing.T) {
	for name, failing := range map[string][]string{
		"walked before": {"all", "put 1 8", "put 4 8", "delete 2", "fail"},
		"walked after":  {"put 1 8", "put 4 8", "delete 2", "all", "fail"},
		"twice":         {"put 1 8", "put 4 8", "all", "put 4 9", "delete 1", "delete 2", "all", "put 2 1", "fail"},
	} {
		t.Run(name, func(t *testing.T) {
			rt, saw := runScripts(t, []string{"put 1 1", "put 2 4", "put 3 9"}, failing, []string{"put 3 10", "all"})
			if got := saw[len(saw)-1]; got != "1:1 2:4 3:10 " {
				t.Errorf("the next fold saw %q", got)
			}
			if got := rowsOf(squares.All(rt.View())); got != "1:1 2:4 3:10 " {
				t.Errorf("got %q", got)
			}
			for n, want := range map[int]int{1: 1, 2: 1, 3: 2, 4: 0} {
				if versions := historyOf(t, rt, n); versions != want {
					t.Errorf("row %d has %d versions, wanted %d", n, versions, want)
				}
			}
			if failed := rt.Health()[0].Failed; failed != 1 {
				t.Errorf("%d failed", failed)
			}
		})
	}
}

func historyOf(t *testing.T, rt *cqrs.Runtime, n int) (versions int) {
	t.Helper()
	for _, err := range squares.History(rt.View(), n) {
		if err != nil {
			t.Fatal(err)
		}
		versions++
	}
	return versions
}

// A transaction may touch more rows than it holds in memory; a fold that failed is undone all the same.
func TestMoreRowsThanAreHeld(t *testing.T) {
	const many = cqrs.MaxHeld * 3 / 2
	fill := func(value int) string { return fmt.Sprintf("fill %d %d", many, value) }
	last := fmt.Sprintf("get %d", many)
	rt, saw := runScripts(t,
		[]string{fill(1), "get 1", last, "count"},
		[]string{fill(2), "get 1", last, "count", "fail"},
		[]string{"get 1", last, "count", fill(3), "get 1", last})
	n := fmt.Sprint(many)
	if want := []string{"1", "1", n, "2", "2", n, "1", "1", n, "3", "3"}; !slices.Equal(saw, want) {
		t.Errorf("saw %q, wanted %q", saw, want)
	}
	for at, want := range map[uint64]int{1: 1, 2: 1, 3: 3} {
		sum := 0
		for row, err := range squares.All(rt.AsOf(at)) {
			if err != nil {
				t.Fatal(err)
			}
			sum += row.Value
		}
		if sum != want*many {
			t.Errorf("as of %d the sum is %d, wanted %d times %d", at, sum, want, many)
		}
	}
}

// A group of older versions that a failed fold made leads nobody astray: a row's ninth version makes one.
func TestFailedFoldThatGroupsVersions(t *testing.T) {
	var scripts [][]string
	for i := range 8 {
		scripts = append(scripts, []string{fmt.Sprintf("put 1 %d", i)})
	}
	scripts = append(scripts, []string{"put 1 99", "fail"}, []string{"put 1 8"}, []string{"put 1 9"})
	rt, _ := runScripts(t, scripts...)
	for at, want := range []string{"", "1:0 ", "1:1 ", "1:2 ", "1:3 ", "1:4 ", "1:5 ", "1:6 ", "1:7 ", "1:7 ", "1:8 ", "1:9 "} {
		if got := rowsOf(squares.All(rt.AsOf(uint64(at)))); got != want {
			t.Errorf("as of %d: %q, wanted %q", at, got, want)
		}
	}
	if n := historyOf(t, rt, 1); n != 10 {
		t.Errorf("%d versions", n)
	}
}
