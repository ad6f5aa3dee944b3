package workflow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errTest = errors.New("out of order")

// each makes an Fn of a function from one segment to one.
func each(f func(Segment) Segment) Fn {
	return func(_ context.Context, _ Params, s Segment) ([]Segment, error) { return []Segment{f(s)}, nil }
}

var pass = each(func(s Segment) Segment { return s })

func from(segments ...Segment) Task { return Task{Kind: Input, In: closedMemory(segments...)} }
func function(fn Fn) Task           { return Task{Kind: Function, Fn: fn} }
func into(m *Memory) Task           { return Task{Kind: Output, Out: m} }

func closedMemory(segments ...Segment) *Memory {
	m := NewMemory(segments...)
	m.Close()
	return m
}

func odd(s Segment) bool   { n, ok := s.(int); return ok && n%2 != 0 }
func large(s Segment) bool { n, ok := s.(int); return ok && n >= 10 }

// opened compiles and opens a plan.
func opened(t testing.TB, p Plan, h Hooks) *Engine {
	t.Helper()
	e, err := New(p, h)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// toEnd steps until io.EOF.
func toEnd(t testing.TB, e *Engine) {
	t.Helper()
	for range 100 {
		switch _, err := e.Step(t.Context()); {
		case err == io.EOF:
			return
		case err != nil:
			t.Fatal(err)
		}
	}
	t.Fatal("no end after 100 batches")
}

func want(t testing.TB, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}

// recorder writes down what the engine calls, and fails where it is told to, once.
type recorder struct {
	calls []string
	fail  map[string]error
}

func (r *recorder) call(format string, args ...any) error {
	c := fmt.Sprintf(format, args...)
	r.calls = append(r.calls, c)
	err := r.fail[c]
	delete(r.fail, c)
	return err
}

func (r *recorder) take() []string {
	calls := r.calls
	r.calls = nil
	return calls
}

func (r *recorder) hooks(retry func(error) bool) Hooks {
	return Hooks{
		Begin:    func(context.Context) error { return r.call("begin") },
		Mark:     func() { r.call("mark") },
		Undo:     func() { r.call("undo") },
		Commit:   func(context.Context) error { return r.call("commit") },
		Rollback: func() { r.call("rollback") },
		Retry:    retry,
	}
}

func (r *recorder) after(name string) func(context.Context) error {
	return func(context.Context) error { return r.call("after %s", name) }
}

// recSource is a Memory that writes down its calls.
type recSource struct {
	*Memory
	*recorder
	name string
}

func (s recSource) Poll(ctx context.Context, most int) ([]Segment, error) {
	if err := s.call("poll %s", s.name); err != nil {
		return nil, err
	}
	return s.Memory.Poll(ctx, most)
}

func (s recSource) PrepareAck(_ context.Context, n int) error {
	return s.call("prepare-ack %s %d", s.name, n)
}

func (s recSource) Ack(ctx context.Context, n int) error {
	return errors.Join(s.call("ack %s %d", s.name, n), s.Memory.Ack(ctx, n))
}

func (s recSource) Rewind() {
	s.call("rewind %s", s.name)
	s.Memory.Rewind()
}

type recSink struct {
	*recorder
	name string
}

func (s recSink) Prepare(_ context.Context, segments []Segment) error {
	return s.call("prepare %s %v", s.name, segments)
}

func (s recSink) Flush(_ context.Context, segments []Segment) error {
	return s.call("flush %s %v", s.name, segments)
}

func ints(segments []Segment) []int {
	var ns []int
	for _, s := range segments {
		ns = append(ns, s.(int))
	}
	return slices.Sorted(slices.Values(ns))
}
