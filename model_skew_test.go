package cqrs_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/cqrs-server/cqrs"
)

// skew is a decision that reads what others write and writes what others read: two of them, each right on its own, break a rule
// together. The doctors a and b are on duty, and one must stay; or a room is free, and only one may have it.
type skew struct {
	Me, Other string
	Scenario  string
}

type (
	skewSerializable struct{ skew }
	skewAsOfBasis    struct{ skew }
	skewUnchanged    struct{ skew }
)

func (skewSerializable) CommandType() string { return "model/skew-serializable" }
func (skewAsOfBasis) CommandType() string    { return "model/skew-as-of-basis" }
func (skewUnchanged) CommandType() string    { return "model/skew-unchanged" }

func (skewSerializable) Consistency() cqrs.Consistency { return cqrs.Serializable }
func (skewAsOfBasis) Consistency() cqrs.Consistency    { return cqrs.AsOfBasis }
func (skewUnchanged) Consistency() cqrs.Consistency    { return cqrs.Unchanged }

var skewTypes = []cqrs.Command{skewSerializable{}, skewAsOfBasis{}, skewUnchanged{}}

func (s skew) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	scenario := skewScenarios[s.Scenario]
	if !scenario.may(d, s) {
		return nil, cqrs.Reject("the rule forbids it")
	}
	return []cqrs.Event{changed{[]op{put(s.Me, scenario.becomes, "")}}}, nil
}

// skewScenario is a way to look at the rule.
type skewScenario struct {
	begin   []item
	becomes string // the group of the row that is written
	may     func(*cqrs.Decision, skew) bool
	holds   func(cqrs.View) bool
}

var (
	onDuty    = []item{named("a", "on", ""), named("b", "on", "")}
	someoneOn = func(v cqrs.View) bool { return namesByGroup.Has(v, "on") }
	onlyOne   = func(v cqrs.View) bool { n, err := names.Whole().Count(v); return err == nil && n <= 1 }
	isEmpty   = func(n int, err error) bool { return err == nil && n == 0 }
)

var skewScenarios = map[string]skewScenario{
	"rows": {onDuty, "off", func(d *cqrs.Decision, s skew) bool {
		me, err := names.Get(d, s.Me)
		other, err2 := names.Get(d, s.Other)
		return errors.Join(err, err2) == nil && me.Group == "on" && other.Group == "on"
	}, someoneOn},
	"index count": {onDuty, "off", func(d *cqrs.Decision, _ skew) bool {
		n, err := namesByGroup.Equal("on").Count(d)
		return err == nil && n > 1
	}, someoneOn},
	"all rows": {onDuty, "off", func(d *cqrs.Decision, _ skew) bool {
		n := 0
		for row, err := range names.All(d) {
			if err == nil && row.Group == "on" {
				n++
			}
		}
		return n > 1
	}, someoneOn},
	"absent row":       {nil, "on", func(d *cqrs.Decision, s skew) bool { return !names.Has(d, s.Other) }, onlyOne},
	"empty table":      {nil, "on", func(d *cqrs.Decision, _ skew) bool { return isEmpty(names.Whole().Count(d)) }, onlyOne},
	"empty range":      {nil, "on", func(d *cqrs.Decision, _ skew) bool { return isEmpty(names.Between("a", "c").Count(d)) }, onlyOne},
	"no first, behind": {nil, "on", func(d *cqrs.Decision, _ skew) bool { return isNotFound(names.From("a").First(d)) }, onlyOne},
	"empty value":      {nil, "on", func(d *cqrs.Decision, _ skew) bool { return !namesByGroup.Has(d, "on") }, onlyOne},
	"empty page": {nil, "on", func(d *cqrs.Decision, _ skew) bool {
		rows, _, err := namesByRank.Whole().Page(d, 5, "")
		return err == nil && len(rows) == 0
	}, onlyOne},
}

func isNotFound(_ item, err error) bool { return errors.Is(err, cqrs.ErrNotFound) }

// How the two decisions meet. Both are rooted at the same basis.
var skewMeetings = map[string]func(*testing.T, *cqrs.Runtime, []cqrs.Envelope){
	"in one batch": func(t *testing.T, rt *cqrs.Runtime, both []cqrs.Envelope) {
		receipts, err := rt.Submit(patience(t), both...)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range receipts {
			wantUser(t, r)
		}
	},
	"one after the other": func(t *testing.T, rt *cqrs.Runtime, both []cqrs.Envelope) {
		for _, e := range both {
			receipts, err := rt.Submit(patience(t), e)
			if err != nil {
				t.Fatal(err)
			}
			wantUser(t, receipts[0])
		}
	},
	"at once": func(t *testing.T, rt *cqrs.Runtime, both []cqrs.Envelope) {
		var wg sync.WaitGroup
		ctx := patience(t)
		for _, e := range both {
			wg.Go(func() {
				receipts, err := rt.Submit(ctx, e)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = receipts[0].Wait(ctx) // the rule says what counts
			})
		}
		wg.Wait()
	},
}

// wantUser waits for the end of a command, which may be a refusal.
func wantUser(t *testing.T, r *cqrs.Receipt) {
	t.Helper()
	_, err := r.Wait(patience(t))
	if e, ok := errors.AsType[*cqrs.Error](err); err != nil && (!ok || e.Level != cqrs.User) {
		t.Fatal(err)
	}
}

func TestWriteSkew(t *testing.T) {
	for name, scenario := range skewScenarios {
		for how, meet := range skewMeetings {
			for _, level := range []cqrs.Consistency{cqrs.Serializable, cqrs.AsOfBasis, cqrs.Unchanged} {
				t.Run(name+"/"+how+"/"+skewTypes[level].CommandType(), func(t *testing.T) {
					rt := skewed(t, name, level, meet)
					// As of their basis both may: it shows that the scenario can break the rule.
					if holds, want := scenario.holds(rt.View()), level != cqrs.AsOfBasis; holds != want {
						t.Errorf("the rule holds: %v, wanted %v", holds, want)
					}
				})
			}
		}
	}
}

// skewed runs a scenario to its end.
func skewed(t *testing.T, name string, level cqrs.Consistency, meet func(*testing.T, *cqrs.Runtime, []cqrs.Envelope)) *cqrs.Runtime {
	cfg := modelConfig()
	cfg.Commands = append(slices.Clone(cfg.Commands), skewTypes...)
	rt, _, _ := start(t, t.TempDir(), cfg)
	basis := mustSubmit(t, rt, changeOf(puts("names", skewScenarios[name].begin...))).T
	kind := skewTypes[level].CommandType()
	meet(t, rt, []cqrs.Envelope{
		envelopeOf(kind, &basis, skew{Me: "a", Other: "b", Scenario: name}),
		envelopeOf(kind, &basis, skew{Me: "b", Other: "a", Scenario: name}),
	})
	return rt
}
