package workflow

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// lifecycle is in > f > out, where every task writes down its Open and Close.
func lifecycle() (*recorder, Plan) {
	r := &recorder{fail: map[string]error{}}
	p := Plan{
		Workflow: Workflow{{"in", "f"}, {"f", "out"}},
		Catalog:  Catalog{"in": from(1), "f": function(pass), "out": into(NewMemory())},
	}
	for name, task := range p.Catalog {
		task.Open = func(context.Context) error { return r.call("open %s", name) }
		task.Close = func() error { return r.call("close %s", name) }
		p.Catalog[name] = task
	}
	return r, p
}

func TestOpenAndClose(t *testing.T) {
	r, p := lifecycle()
	e, err := New(p, Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Step(t.Context()); !errors.Is(err, ErrNotOpen) {
		t.Errorf("Step before Open: %v", err)
	}
	want(t, "Open", e.Open(t.Context()), nil)
	if e.Open(t.Context()) == nil {
		t.Error("a second Open is refused")
	}
	r.fail["close f"], r.fail["close in"] = errTest, context.Canceled
	err = e.Close()
	if !errors.Is(err, errTest) || !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), `"f"`) {
		t.Errorf("Close: %v", err)
	}
	want(t, "second Close", e.Close(), nil)
	want(t, "calls", r.calls, "[open in open f open out close out close f close in]")
	if _, err := e.Step(t.Context()); !errors.Is(err, ErrNotOpen) {
		t.Errorf("Step after Close: %v", err)
	}
	if e.Open(t.Context()) == nil {
		t.Error("Open after Close is refused")
	}
}

func TestAFailedOpenClosesWhatWasOpened(t *testing.T) {
	r, p := lifecycle()
	r.fail["open out"], r.fail["close in"] = errTest, context.Canceled
	e, err := New(p, Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	err = e.Open(t.Context())
	if !errors.Is(err, errTest) || !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), `"out"`) {
		t.Errorf("Open: %v", err)
	}
	want(t, "Close", e.Close(), nil)
	want(t, "calls", r.calls, "[open in open f open out close f close in]")
}

func TestNewRefusesAFaultyPlan(t *testing.T) {
	_, p := lifecycle()
	p.Workflow = append(p.Workflow, Edge{"f", "nobody"})
	_, err := New(p, Hooks{})
	var fault *Fault
	if !errors.As(err, &fault) || fault.Task != "nobody" {
		t.Fatalf("got %v", err)
	}
}
