package cqrstest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/cqrstest"
)

// A program that goes wrong as it is told to, in a decision or in a fold.

type stamp struct{ Name, Decide, Fold string }

type stamped struct {
	Name, Text, Fold string
	Sizes            map[string]int // its order does not reach the encoding
}

type stampRow struct{ Name, Text string }

var stamps = cqrs.NewTable("stamps", func(r stampRow) string { return r.Name })
var _ = cqrs.NewIndex(stamps, "text", func(r stampRow) string { return r.Text })

func (stamp) CommandType() string { return "stamp" }
func (stamped) EventType() string { return "stamped" }

func (c stamp) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	e := stamped{Name: c.Name, Text: impure(c.Decide, d.Time()), Fold: c.Fold, Sizes: colours}
	switch c.Decide {
	case "refuse":
		return nil, cqrs.Reject("no, says %d", os.Getpid())
	case "segment":
		d.Segment(fmt.Sprint(rand.Int()))
	case "remark":
		d.Remark(cqrs.Reject("at %s", time.Now()))
	case "order":
		var events []cqrs.Event
		for name := range colours {
			events = append(events, stamped{Name: name})
		}
		return events, nil
	case "pure":
		e.Text = fmt.Sprint(d.NewID(), d.Rand().Uint64(), d.Time().UTC())
	case "panic":
		panic("a defect")
	}
	return []cqrs.Event{e}, nil
}

type stamping struct{}

func (stamping) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	s := e.(stamped)
	if s.Fold == "fail" && inChild() {
		return fmt.Errorf("not in this process")
	}
	return stamps.Put(tx, stampRow{s.Name, s.Text + impure(s.Fold, time.UnixMilli(tx.Recorded().Time))})
}

func inChild() bool { return os.Getenv("CQRSTEST_DETERMINISTIC") != "" }

var colours = map[string]int{"red": 3, "blue": 4}

// impure depends on what it must not.
func impure(how string, at time.Time) string {
	switch how {
	case "now":
		return time.Now().String()
	case "year":
		return fmt.Sprint(time.Now().Year())
	case "hour":
		return fmt.Sprint(time.Now().UTC().Hour())
	case "rand":
		return fmt.Sprint(rand.IntN(10))
	case "map":
		s := ""
		for name := range colours {
			s += name
		}
		return s
	case "pid":
		return fmt.Sprint(os.Getpid())
	case "host":
		name, _ := os.Hostname()
		return name
	case "zone":
		return at.Local().Format(time.TimeOnly)
	case "env":
		return os.Getenv("USER")
	}
	return how
}

func stampConfig() cqrs.Config {
	return cqrs.Config{Commands: []cqrs.Command{stamp{}}, Events: []cqrs.Event{stamped{}}, Aggregator: stamping{},
		Tables: []cqrs.AnyTable{stamps}}
}

// noting is a test that notes what it is told instead of failing.
type noting struct {
	*testing.T
	said string
}

func (n *noting) Errorf(format string, args ...any) { n.said += fmt.Sprintf(format, args...) + "\n" }
func (n *noting) Failed() bool                      { return n.said != "" }

func (n *noting) Fatalf(format string, args ...any) {
	n.Errorf(format, args...)
	panic(stop{})
}

func checkNoting(t *testing.T, config cqrs.Config, happened []cqrs.Event, commands ...cqrs.Command) (said string) {
	t.Helper()
	n := &noting{T: t}
	defer func() {
		if p := recover(); p != nil && p != (stop{}) {
			panic(p)
		}
		said = n.said
	}()
	cqrstest.CheckAs(n, t, "here", config, happened, commands...)
	return n.said
}

const (
	same  = "not deterministic: done again in the same process"
	clock = "not deterministic: done again at another time of the clock"
	far   = "not deterministic: done again in another process"
)

func TestImpureDecisionsAreFound(t *testing.T) {
	for how, want := range map[string]string{
		"now": same, "rand": same, "map": same, "order": same, "segment": same, "remark": same,
		"year": clock, "hour": clock, "pid": far, "host": far, "zone": far, "env": far, "refuse": far,
	} {
		t.Run(how, func(t *testing.T) {
			if how == "host" && !cqrstest.HostCanBeRenamed() {
				t.Skip("the system gives no process a host name of its own")
			}
			said := checkNoting(t, stampConfig(), []cqrs.Event{stamped{Name: "a", Text: "b"}},
				stamp{Name: "a"}, stamp{Name: "b", Decide: how}, stamp{Name: "c"})
			if !strings.Contains(said, want) || !strings.Contains(said, "cqrstest_test.stamp{Name:b Decide:"+how) {
				t.Errorf("it said %s", said)
			}
			if strings.Contains(said, "stamp{Name:a") || strings.Contains(said, "stamp{Name:c") {
				t.Errorf("it said %s", said)
			}
			if !strings.Contains(said, "logged") && how != "order" && how != "segment" {
				t.Errorf("it does not tell the bytes: %s", said)
			}
		})
	}
}

func TestImpureFoldsAreFound(t *testing.T) {
	for how, want := range map[string]string{
		"now": same, "rand": same, "map": same, "year": clock, "hour": clock, "pid": far, "host": far, "zone": far, "env": far, "fail": far,
	} {
		t.Run(how, func(t *testing.T) {
			if how == "host" && !cqrstest.HostCanBeRenamed() {
				t.Skip("the system gives no process a host name of its own")
			}
			said := checkNoting(t, stampConfig(), nil, stamp{Name: "a"}, stamp{Name: "b", Fold: how}, stamp{Name: "c"})
			if !strings.Contains(said, want) || !strings.Contains(said, "cqrstest_test.stamp{Name:b Decide: Fold:"+how) {
				t.Errorf("it said %s", said)
			}
			if how != "fail" && (!strings.Contains(said, `stamps "b"`) || !strings.Contains(said, "stamps/text")) {
				t.Errorf("it does not name the row and the index: %s", said)
			}
		})
	}
}

// What a program may use gives no finding.
func TestPureProgramPasses(t *testing.T) {
	cqrstest.CheckDeterministic(t, stampConfig(), []cqrs.Event{stamped{Name: "a", Text: "b"}},
		stamp{Name: "a", Decide: "pure"}, stamp{Name: "b", Decide: "pure"}, stamp{Name: "a"})
	cqrstest.CheckDeterministic(t, config(), nil, register{"Bob"}, register{"Bob"}, register{"Ann"})
}

func TestWhatCannotBeDecidedFails(t *testing.T) {
	if said := checkNoting(t, stampConfig(), nil, stamp{Decide: "panic"}); !strings.Contains(said, "came to no decision that could be made again") {
		t.Errorf("it said %s", said)
	}
}

// A call that the other process does not come to is an error, not a pass.
func TestCallThatTheOtherProcessMissesFails(t *testing.T) {
	n := &noting{T: t}
	cqrstest.CheckAs(n, t, fmt.Sprint(os.Getpid()), stampConfig(), nil, stamp{Name: "a"})
	if !inChild() && !strings.Contains(n.said, "did not come to this call of CheckDeterministic") {
		t.Errorf("it said %s", n.said)
	}
}
