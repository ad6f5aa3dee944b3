package cqrs_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/google/uuid"
)

// A small program that most tests use: named counters.

type add struct {
	Name string `json:"name" validate:"required"`
	By   int    `json:"by"`
	Mode string `json:"mode,omitempty"` // how it misbehaves
}

func (add) CommandType() string { return "counter/add" }

var errDown = errors.New("the price service is down")

// hooks let a test reach into decisions and folds. They are looked up by the command's name field, so that tests don't meet.
type hooks struct {
	down  atomic.Bool
	calls atomic.Int64
	read  func(*cqrs.Decision)
}

type hooksKey struct{}

func (c add) ProcessCommand(ctx context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	h, _ := ctx.Value(hooksKey{}).(*hooks)
	if h != nil {
		h.calls.Add(1)
	}
	switch c.Mode {
	case "reject":
		return nil, cqrs.Reject("no more of %s", c.Name).With("name", c.Name)
	case "reject-odd":
		if counter, _ := counters.Get(d, c.Name); counter.Value%2 == 1 {
			return nil, cqrs.Reject("%s is odd", c.Name)
		}
	case "error":
		return nil, errors.New("a plain error")
	case "panic":
		panic("decide")
	case "down":
		if h.down.Load() {
			return nil, cqrs.Retry(errDown)
		}
	case "remark":
		d.Remark(cqrs.Reject("mind the gap").Tagged("mine"))
	case "nothing":
		return nil, nil
	case "read":
		h.read(d)
		return nil, nil
	case "unregistered":
		return []cqrs.Event{unregistered{}}, nil
	case "nil-event":
		return []cqrs.Event{nil}, nil
	case "nil-pointer":
		return []cqrs.Event{(*pointed)(nil)}, nil
	case "random":
		return []cqrs.Event{drawn{Name: c.Name, ID: d.NewID(), Other: d.NewID(), Number: d.Rand().Uint64()}}, nil
	case "long-key":
		c.Name = string(make([]byte, 100_000))
	case "many":
		var events []cqrs.Event
		for i := range c.By {
			events = append(events, added{Name: c.Name, By: 1, Mode: fmt.Sprint(i)})
		}
		return events, nil
	case "huge":
		return []cqrs.Event{added{Name: c.Name, Mode: string(make([]byte, c.By))}}, nil
	}
	return []cqrs.Event{added{Name: c.Name, By: c.By, Mode: c.Mode}}, nil
}

type (
	added struct {
		Name string
		By   int
		Mode string
	}
	drawn struct {
		Name      string
		ID, Other uuid.UUID
		Number    uint64
	}
	unregistered struct{}
	pointed      struct{ Name string }
)

func (added) EventType() string        { return "counter/added" }
func (drawn) EventType() string        { return "counter/drawn" }
func (unregistered) EventType() string { return "counter/unregistered" }
func (*pointed) EventType() string     { return "counter/pointed" }

type counter struct {
	Name  string
	Value int
	Last  uuid.UUID
}

var counters = cqrs.NewTable("counters", func(c counter) string { return c.Name })

type counting struct{}

func (counting) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	switch e := e.(type) {
	case added:
		c, _ := counters.Get(tx, e.Name)
		if err := counters.Put(tx, counter{Name: e.Name, Value: c.Value + e.By, Last: tx.Recorded().ID}); err != nil {
			return err
		}
		switch e.Mode {
		case "fold-error":
			return errors.New("fold")
		case "fold-panic":
			panic("fold")
		case "fold-ignored":
			_ = counters.Put(tx, counter{Name: string(make([]byte, 100_000))})
		}
	}
	return nil
}

func counterConfig() cqrs.Config {
	return cqrs.Config{
		Commands:   []cqrs.Command{add{}},
		Events:     []cqrs.Event{added{}, drawn{}, &pointed{}},
		Aggregator: counting{}, Tables: []cqrs.AnyTable{counters}, NoSync: true,
	}
}

// start opens a runtime in dir and runs it with hooks; stop closes it.
func start(t *testing.T, dir string, cfg cqrs.Config) (rt *cqrs.Runtime, h *hooks, stop func()) {
	t.Helper()
	closeMedia := addMedia(t, dir, &cfg)
	rt, err := cqrs.Open(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	h = &hooks{}
	ended := make(chan error, 1)
	go func() { ended <- rt.Run(context.WithValue(context.Background(), hooksKey{}, h)) }()
	stopped := false
	stop = func() {
		t.Helper()
		if stopped {
			return
		}
		stopped = true
		if err := errors.Join(rt.Close(), <-ended, closeMedia()); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	t.Cleanup(stop)
	return rt, h, stop
}

func patience(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func do(t *testing.T, rt *cqrs.Runtime, c cqrs.Command, options ...cqrs.SendOption) (cqrs.Outcome, error) {
	t.Helper()
	ctx := patience(t)
	r, err := rt.Send(ctx, c, options...)
	if err != nil {
		t.Fatalf("send: %v", err)
	}
	return r.Wait(ctx)
}

func mustDo(t *testing.T, rt *cqrs.Runtime, c cqrs.Command, options ...cqrs.SendOption) cqrs.Outcome {
	t.Helper()
	out, err := do(t, rt, c, options...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func value(t *testing.T, v cqrs.View, name string) int {
	t.Helper()
	c, err := counters.Get(v, name)
	if err != nil && !errors.Is(err, cqrs.ErrNotFound) {
		t.Fatal(err)
	}
	return c.Value
}

func wantError(t *testing.T, err error, level cqrs.Level, tag string) *cqrs.Error {
	t.Helper()
	e, ok := errors.AsType[*cqrs.Error](err)
	if !ok || e.Level != level || e.Tag != tag {
		t.Fatalf("got the error %v, wanted level %s, tag %s", err, level, tag)
	}
	return e
}
