// Package cqrstest helps to test programs that use cqrs: decisions as given, when, then, and a runtime in a temporary
// folder.
package cqrstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
)

// Patience is how long the helpers wait for an outcome before they fail the test.
const Patience = 30 * time.Second

// Runtime opens a runtime in a temporary folder, runs it, and closes it when the test ends.
func Runtime(t testing.TB, config cqrs.Config) *cqrs.Runtime {
	t.Helper()
	return start(t, t.TempDir(), config, context.Background())
}

func start(t testing.TB, dir string, config cqrs.Config, ctx context.Context) *cqrs.Runtime {
	t.Helper()
	rt, err := cqrs.Open(dir, config)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- rt.Run(ctx) }()
	t.Cleanup(func() {
		if err := errors.Join(rt.Close(), <-ended); err != nil && !errors.Is(err, cqrs.ErrClosed) {
			t.Errorf("close: %v", err)
		}
	})
	return rt
}

// Scenario is an aggregate to which some events have happened.
type Scenario struct {
	t  testing.TB
	rt *cqrs.Runtime
}

// Given starts a runtime in which these events have happened, in this order, as one commit. It fails the test when one can't be folded.
func Given(t testing.TB, config cqrs.Config, events ...cqrs.Event) *Scenario {
	t.Helper()
	config.Commands = append(config.Commands[:len(config.Commands):len(config.Commands)], given{})
	ctx := context.WithValue(context.Background(), prototypes{}, config.Events)
	s := &Scenario{t: t, rt: start(t, t.TempDir(), config, ctx)}
	if len(events) > 0 {
		out, err := s.send(newGiven(t, events))
		if err = errors.Join(err, failedFold(out)); err != nil {
			t.Fatalf("the given events: %v", err)
		}
	}
	return s
}

// View is the aggregate's newest value.
func (s *Scenario) View() cqrs.View { return s.rt.View() }

// When sends a command and waits for its end.
func (s *Scenario) When(c cqrs.Command, options ...cqrs.SendOption) *Result {
	s.t.Helper()
	out, err := s.send(c, options...)
	return &Result{Scenario: s, Outcome: out, Err: err}
}

func (s *Scenario) send(c cqrs.Command, options ...cqrs.SendOption) (cqrs.Outcome, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), Patience)
	defer cancel()
	r, err := s.rt.Send(ctx, c, options...)
	if err != nil {
		return cqrs.Outcome{}, err
	}
	return r.Wait(ctx)
}

// Result is how a command ended.
type Result struct {
	*Scenario
	Outcome cqrs.Outcome
	Err     error
}

// failedFold is why an event of the outcome could not be folded; nil when all could.
func failedFold(out cqrs.Outcome) error {
	for _, e := range out.Remarks {
		if e.Level == cqrs.Dev && e.Tag == "aggregate-event" {
			return e
		}
	}
	return nil
}

// Then fails the test unless the command was accepted with these events, in this order, and all of them could be folded.
func (r *Result) Then(want ...cqrs.Event) *Result {
	r.t.Helper()
	if r.Err != nil {
		r.t.Fatalf("the command failed: %v\nwanted the events %s", r.Err, show(want))
	}
	got := r.events()
	if len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
		r.t.Fatalf("the events differ\ngot    %s\nwanted %s", show(got), show(want))
	}
	if err := failedFold(r.Outcome); err != nil {
		r.t.Fatalf("a fold failed: %v", err)
	}
	return r
}

func (r *Result) events() []cqrs.Event {
	events := make([]cqrs.Event, len(r.Outcome.Events))
	for i, e := range r.Outcome.Events {
		events[i] = e.Value
	}
	return events
}

// ThenError fails the test unless the command ended with an error of this level and tag.
func (r *Result) ThenError(level cqrs.Level, tag string) *Result {
	r.t.Helper()
	e, ok := errors.AsType[*cqrs.Error](r.Err)
	if !ok {
		r.t.Fatalf("the command ended with error %v and the events %s\nwanted an error of level %s, tag %s", r.Err, show(r.events()), level, tag)
	}
	if e.Level != level || e.Tag != tag {
		r.t.Fatalf("the error is of level %s, tag %s: %v\nwanted level %s, tag %s", e.Level, e.Tag, e, level, tag)
	}
	return r
}

func show(events []cqrs.Event) string {
	s := ""
	for _, e := range events {
		b, err := json.Marshal(e)
		s += fmt.Sprintf("\n  %T %s", e, b)
		if err != nil {
			s += " " + err.Error()
		}
	}
	return s
}

type prototypes struct{}

// given is a command that lets events happen.
type given struct {
	Events []givenEvent `json:"events"`
}

type givenEvent struct {
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
}

func newGiven(t testing.TB, events []cqrs.Event) (g given) {
	for _, e := range events {
		data, err := json.Marshal(e)
		if err != nil {
			t.Fatalf("given %T: %v", e, err)
		}
		g.Events = append(g.Events, givenEvent{e.EventType(), data})
	}
	return g
}

func (given) CommandType() string { return "cqrstest/given" }

func (g given) ProcessCommand(ctx context.Context, _ *cqrs.Decision) ([]cqrs.Event, error) {
	known, _ := ctx.Value(prototypes{}).([]cqrs.Event)
	var events []cqrs.Event
	for _, e := range g.Events {
		value, err := e.decode(known)
		if err != nil {
			return nil, err
		}
		events = append(events, value)
	}
	return events, nil
}

func (e givenEvent) decode(known []cqrs.Event) (cqrs.Event, error) {
	for _, k := range known {
		if k.EventType() == e.Type {
			v := reflect.New(reflect.TypeOf(k))
			err := json.Unmarshal(e.Data, v.Interface())
			return v.Elem().Interface().(cqrs.Event), err
		}
	}
	return nil, fmt.Errorf("event type %q is not named in Config.Events", e.Type)
}
