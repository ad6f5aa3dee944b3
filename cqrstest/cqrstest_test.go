package cqrstest_test

import (
	"context"
	"strings"
	"testing"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/cqrstest"
)

type register struct{ Name string }
type registered struct{ Name string }
type user struct{ Name string }

func (register) CommandType() string { return "user/register" }
func (registered) EventType() string { return "user/registered" }

func (c register) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	if users.Has(d, c.Name) {
		return nil, cqrs.Reject("%s is taken", c.Name)
	}
	return []cqrs.Event{registered(c)}, nil
}

var users = cqrs.NewTable("users", func(u user) string { return u.Name })

type view struct{}

func (view) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	return users.Put(tx, user(e.(registered)))
}

func config() cqrs.Config {
	return cqrs.Config{Commands: []cqrs.Command{register{}}, Events: []cqrs.Event{registered{}}, Aggregator: view{},
		Tables: []cqrs.AnyTable{users}, NoSync: true}
}

func TestGivenWhenThen(t *testing.T) {
	cqrstest.Given(t, config()).When(register{"Bob"}).Then(registered{"Bob"})
	cqrstest.Given(t, config(), registered{"Bob"}).When(register{"Bob"}).ThenError(cqrs.User, "rejected")
	r := cqrstest.Given(t, config(), registered{"Bob"}).When(register{"Ann"}).Then(registered{"Ann"}).When(register{"Ann"})
	r.ThenError(cqrs.User, "rejected")
	if !users.Has(r.View(), "Ann") {
		t.Error("Ann is not there")
	}
}

func TestRuntime(t *testing.T) {
	rt := cqrstest.Runtime(t, config())
	r, err := rt.Send(t.Context(), register{"Bob"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// failing is a test that notes its failure instead of ending the real one.
type failing struct {
	*testing.T
	said string
}

type stop struct{}

func (f *failing) Fatalf(format string, args ...any) {
	f.said = format
	panic(stop{})
}

func fails(t *testing.T, want string, test func(t testing.TB)) {
	t.Helper()
	f := &failing{T: t}
	defer func() {
		if p := recover(); p != nil && p != (stop{}) {
			panic(p)
		}
		if !strings.Contains(f.said, want) {
			t.Errorf("it said %q, wanted %q", f.said, want)
		}
	}()
	test(f)
}

func TestWrongExpectationsFail(t *testing.T) {
	fails(t, "the events differ", func(t testing.TB) {
		cqrstest.Given(t, config()).When(register{"Bob"}).Then(registered{"Ann"})
	})
	fails(t, "the events differ", func(t testing.TB) { cqrstest.Given(t, config()).When(register{"Bob"}).Then() })
	fails(t, "the command failed", func(t testing.TB) {
		cqrstest.Given(t, config(), registered{"Bob"}).When(register{"Bob"}).Then(registered{"Bob"})
	})
	fails(t, "the command ended with", func(t testing.TB) {
		cqrstest.Given(t, config()).When(register{"Bob"}).ThenError(cqrs.User, "rejected")
	})
	fails(t, "a fold failed", func(t testing.TB) { // a row without a key
		cqrstest.Given(t, config()).When(register{""}).Then(registered{""})
	})
	fails(t, "the given events", func(t testing.TB) { cqrstest.Given(t, config(), registered{""}) })
	fails(t, "the error is of level", func(t testing.TB) {
		cqrstest.Given(t, config(), registered{"Bob"}).When(register{"Bob"}).ThenError(cqrs.Dev, "rejected")
	})
}
