package cqrs_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"reflect"
	"slices"
	"strconv"
	"testing"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/cqrstest"
	"github.com/google/uuid"
)

// The sample module of testdata/golden/workflow.json, decided as of its basis as the original does.

type goldenRegister struct {
	Name  string         `json:"name"`
	Email string         `json:"email" validate:"required"`
	Age   int            `json:"age"`
	Rest  map[string]any `json:"-" cqrs:"rest"`
}
type goldenUpdateEmail struct {
	UUID  uuid.UUID `json:"uuid" validate:"required"`
	Email string    `json:"email" validate:"required"`
}
type goldenPageview struct {
	UUID       uuid.UUID `json:"uuid" validate:"required"`
	URL        string    `json:"url" validate:"required"`
	RenderTime int       `json:"render-time"`
}
type goldenDoublePageview struct {
	UUID uuid.UUID `json:"uuid" validate:"required"`
}
type goldenDoubleAdd goldenDoublePageview
type goldenMixedAdd goldenDoublePageview
type goldenConditional goldenDoublePageview
type goldenNoop struct{}
type goldenUnprocessed struct{}
type goldenBoom struct{}
type goldenBadAgg struct{}

func (goldenRegister) CommandType() string       { return "user/register" }
func (goldenUpdateEmail) CommandType() string    { return "user/update-email" }
func (goldenPageview) CommandType() string       { return "user/pageview" }
func (goldenDoublePageview) CommandType() string { return "user/double-pageview" }
func (goldenDoubleAdd) CommandType() string      { return "user/double-add" }
func (goldenMixedAdd) CommandType() string       { return "user/mixed-add" }
func (goldenConditional) CommandType() string    { return "user/conditional" }
func (goldenNoop) CommandType() string           { return "user/noop" }
func (goldenUnprocessed) CommandType() string    { return "user/unprocessed" }
func (goldenBoom) CommandType() string           { return "user/boom" }
func (goldenBadAgg) CommandType() string         { return "user/badagg" }

// goldenEvent is data as the original has it: a map.
type goldenEvent struct{ data map[string]any }

func (e goldenEvent) MarshalJSON() ([]byte, error)  { return json.Marshal(e.data) }
func (e *goldenEvent) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &e.data) }
func (e goldenEvent) uuid() uuid.UUID               { return uuid.MustParse(e.data["uuid"].(string)) }
func goldenData(pairs ...any) (e goldenEvent) {
	e.data = map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		e.data[pairs[i].(string)] = pairs[i+1]
	}
	return e
}

type (
	goldenRegistered        struct{ goldenEvent }
	goldenRegisterFailed    struct{ goldenEvent }
	goldenEmailUpdated      struct{ goldenEvent }
	goldenEmailUpdateFailed struct{ goldenEvent }
	goldenPageviewed        struct{ goldenEvent }
	goldenDoubleAdded       struct{ goldenEvent }
	goldenMixedAdded        struct{ goldenEvent }
	goldenSeen              struct{ goldenEvent }
	goldenBadAgged          struct{ goldenEvent }
)

func (goldenRegistered) EventType() string        { return "user/registered" }
func (goldenRegisterFailed) EventType() string    { return "user/register-failed" }
func (goldenEmailUpdated) EventType() string      { return "user/email-updated" }
func (goldenEmailUpdateFailed) EventType() string { return "user/email-update-failed" }
func (goldenPageviewed) EventType() string        { return "user/pageviewed" }
func (goldenDoubleAdded) EventType() string       { return "user/double-added" }
func (goldenMixedAdded) EventType() string        { return "user/mixed-added" }
func (goldenSeen) EventType() string              { return "user/seen" }
func (goldenBadAgged) EventType() string          { return "user/badagged" }

func (c goldenRegister) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	e := goldenData("name", c.Name, "email", c.Email, "age", c.Age)
	maps.Copy(e.data, c.Rest)
	if goldenNames.Has(d, c.Name) {
		return []cqrs.Event{goldenRegisterFailed{e}}, nil
	}
	d.Segment("1")
	return []cqrs.Event{goldenRegistered{e}}, nil
}

func (c goldenUpdateEmail) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	e := goldenData("uuid", c.UUID, "email", c.Email)
	if goldenUsers.Has(d, c.UUID) {
		return []cqrs.Event{goldenEmailUpdated{e}}, nil
	}
	d.Segment("1")
	return []cqrs.Event{goldenEmailUpdateFailed{e}}, nil
}

func (c goldenPageview) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	d.Segment("1")
	return []cqrs.Event{goldenPageviewed{goldenData("uuid", c.UUID, "url", c.URL, "render-time", c.RenderTime)}}, nil
}

func (c goldenDoublePageview) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	d.Segment("1")
	e := goldenPageviewed{goldenData("uuid", c.UUID)}
	return []cqrs.Event{e, e}, nil
}

func (c goldenDoubleAdd) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	d.Segment("1")
	return []cqrs.Event{goldenDoubleAdded{goldenData("uuid", c.UUID)}}, nil
}

func (c goldenMixedAdd) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	d.Segment("1")
	return []cqrs.Event{goldenMixedAdded{goldenData("uuid", c.UUID)}}, nil
}

func (c goldenConditional) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	u, _ := goldenUsers.Get(d, c.UUID)
	d.Segment(strconv.Itoa(u.ViewCount))
	return []cqrs.Event{goldenSeen{goldenData("uuid", c.UUID, "count", u.ViewCount)}}, nil
}

func (goldenNoop) ProcessCommand(context.Context, *cqrs.Decision) ([]cqrs.Event, error) {
	return nil, nil
}

func (goldenUnprocessed) ProcessCommand(context.Context, *cqrs.Decision) ([]cqrs.Event, error) {
	return nil, errors.New("process-command for user/unprocessed has not been defined")
}

func (goldenBoom) ProcessCommand(context.Context, *cqrs.Decision) ([]cqrs.Event, error) {
	panic("boom")
}

func (goldenBadAgg) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	d.Segment("1")
	return []cqrs.Event{goldenBadAgged{goldenData()}}, nil
}

type goldenUser struct {
	UUID      uuid.UUID `json:"base/uuid"`
	Name      string    `json:"user/name"`
	Email     string    `json:"user/email"`
	Age       int       `json:"user/age"`
	ViewCount int       `json:"user/viewcount,omitempty"`
}

var (
	goldenUsers = cqrs.NewTable("users", func(u goldenUser) uuid.UUID { return u.UUID })
	goldenNames = cqrs.NewUniqueIndex(goldenUsers, "name", func(u goldenUser) []string { return []string{u.Name} })
	_           = cqrs.NewUniqueIndex(goldenUsers, "email", func(u goldenUser) []string { return []string{u.Email} })
)

type goldenView struct{}

func (goldenView) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	switch e := e.(type) {
	case goldenRegistered:
		return goldenUsers.Put(tx, goldenUser{
			UUID: tx.Recorded().ID, Name: e.data["name"].(string), Email: e.data["email"].(string), Age: int(e.data["age"].(float64)),
		})
	case goldenEmailUpdated:
		return changeGolden(tx, e.uuid(), func(u *goldenUser) { u.Email = e.data["email"].(string) })
	case goldenPageviewed:
		return changeGolden(tx, e.uuid(), func(u *goldenUser) { u.ViewCount++ })
	case goldenDoubleAdded: // the original counts two equal adds of one transaction once: a defect that is not ours
		return changeGolden(tx, e.uuid(), func(u *goldenUser) { u.ViewCount += 2 })
	case goldenMixedAdded:
		return changeGolden(tx, e.uuid(), func(u *goldenUser) { u.ViewCount += 3 })
	case goldenBadAgged:
		panic("agg")
	}
	return nil
}

// changeGolden changes a user; of one that is not there nothing is changed, as in the original.
func changeGolden(tx *cqrs.Tx, id uuid.UUID, change func(*goldenUser)) error {
	u, err := goldenUsers.Get(tx, id)
	if errors.Is(err, cqrs.ErrNotFound) {
		return nil
	}
	change(&u)
	return errors.Join(err, goldenUsers.Put(tx, u))
}

func goldenConfig() cqrs.Config {
	return cqrs.Config{
		Consistency: cqrs.AsOfBasis, Code: "abc123", NoSync: true,
		Commands: []cqrs.Command{goldenRegister{}, goldenUpdateEmail{}, goldenPageview{}, goldenDoublePageview{}, goldenDoubleAdd{},
			goldenMixedAdd{}, goldenConditional{}, goldenNoop{}, goldenUnprocessed{}, goldenBoom{}, goldenBadAgg{}},
		Events: []cqrs.Event{goldenRegistered{}, goldenRegisterFailed{}, goldenEmailUpdated{}, goldenEmailUpdateFailed{},
			goldenPageviewed{}, goldenDoubleAdded{}, goldenMixedAdded{}, goldenSeen{}, goldenBadAgged{}},
		Aggregator: goldenView{}, Tables: []cqrs.AnyTable{goldenUsers},
	}
}

type goldenCase struct {
	Name  string
	Steps []struct {
		Command *struct {
			CTP  string
			CID  uuid.UUID
			SHA  string
			T    *uint64
			Data json.RawMessage
		}
		Events []struct {
			ID   uuid.UUID
			TP   string
			SHA  string
			CID  uuid.UUID
			CTP  string
			T    *uint64
			Data json.RawMessage
		}
		Errors []struct {
			Level, Tag string
			CID        uuid.UUID
			Validation map[string]string
		}
		BasisBefore      uint64                     `json:"basis_before"`
		BasisAfter       uint64                     `json:"basis_after"`
		RedeliveryOfStep *int                       `json:"redelivery_of_step"`
		EventRedelivered *struct{ Step, Index int } `json:"event_redelivered"`
	}
	Store struct {
		DistinctIDs int `json:"distinct_ids"`
		Rows        []struct {
			ID uuid.UUID
			TP string
		}
	}
	View      []goldenUser
	ViewsAsOf []struct {
		T    uint64
		View []goldenUser
	} `json:"views_as_of"`
}

// goldenDiffers names the cases in which ours is meant to differ, and why. What is not said here must
// match.
var goldenDiffers = map[string]string{
	"register-octal-age":          "\"031\" is thirty-one here, not octal",
	"duplicate-command-without-t": "a command that comes twice is decided once here",
	"double-add-in-one-tx":        "two equal adds count twice here",
	"register-email-conflict":     "a taken e-mail address fails the fold here, and does not merge two users into one",
}

func TestGoldenWorkflow(t *testing.T) {
	raw, err := os.ReadFile("testdata/golden/workflow.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []goldenCase }
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			if _, differs := goldenDiffers[c.Name]; !differs {
				newGoldenRun(t, c).run()
			}
		})
	}
	for name := range goldenDiffers {
		if !slices.ContainsFunc(file.Cases, func(c goldenCase) bool { return c.Name == name }) {
			t.Errorf("there is no case %q", name)
		}
	}
}

type goldenRun struct {
	t      *testing.T
	c      goldenCase
	rt     *cqrs.Runtime
	folded uint64            // events folded again in the last step
	ts     map[uint64]uint64 // from the original's count of transactions to ours of commits
}

func newGoldenRun(t *testing.T, c goldenCase) *goldenRun {
	return &goldenRun{t: t, c: c, rt: cqrstest.Runtime(t, goldenConfig()), ts: map[uint64]uint64{0: 0}}
}

func (g *goldenRun) run() {
	for i := range g.c.Steps {
		g.step(i)
	}
	g.store()
	for _, v := range g.c.ViewsAsOf {
		g.view(g.rt.AsOf(g.ts[v.T]), v.View)
	}
	g.view(g.rt.View(), g.c.View)
}

func (g *goldenRun) step(i int) {
	s := g.c.Steps[i]
	before := g.rt.View().T()
	if s.Command != nil {
		e := cqrs.Envelope{ID: s.Command.CID, Type: s.Command.CTP, Code: s.Command.SHA, Data: s.Command.Data}
		if s.Command.T != nil {
			e.Basis = new(g.ts[*s.Command.T])
		}
		receipts, err := g.rt.Submit(patience(g.t), e)
		if err != nil {
			g.t.Fatal(err)
		}
		out, err := receipts[0].Wait(patience(g.t))
		g.events(i, out)
		g.errors(i, out, err)
	}
	if s.EventRedelivered != nil {
		g.redeliver()
	}
	if (s.RedeliveryOfStep != nil || s.EventRedelivered != nil) && g.rt.View().T() != before+g.folded {
		g.t.Errorf("step %d: what came again moved t from %d to %d", i, before, g.rt.View().T())
	}
	g.ts[s.BasisAfter] = g.rt.View().T()
}

// redeliver: an event by itself does not come again here, because commits are whole. One whose fold was refused is folded again when its
// dead letter is sent again.
func (g *goldenRun) redeliver() {
	ctx, before := patience(g.t), g.rt.View().T()
	letters, err := g.rt.DeadLetters(ctx)
	if err == nil {
		err = g.rt.Resend(ctx, letters...)
	}
	g.folded = uint64(len(letters))
	if err == nil {
		_, err = g.rt.Shard(0).AtLeast(ctx, before+g.folded)
	}
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *goldenRun) events(i int, out cqrs.Outcome) {
	want := g.c.Steps[i].Events
	if len(out.Events) != len(want) {
		g.t.Fatalf("step %d: %d events, wanted %d: %+v", i, len(out.Events), len(want), out)
	}
	for n, e := range out.Events {
		w := want[n]
		if e.ID != w.ID || e.Type != w.TP || e.Command != w.CID || e.CommandType != w.CTP || e.Code != w.SHA ||
			e.Basis != g.ts[*w.T] || e.Index != n {
			g.t.Errorf("step %d event %d: got %+v, wanted %+v", i, n, e.Entry, w)
		}
		if !sameJSON(e.Data, w.Data) {
			g.t.Errorf("step %d event %d: data %s, wanted %s", i, n, e.Data, w.Data)
		}
	}
}

func sameJSON(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// errors compares level, tag and command id. A failed fold is no end of a command here: its sender hears of it as a remark.
func (g *goldenRun) errors(i int, out cqrs.Outcome, err error) {
	got := slices.Clone(out.Remarks)
	if e, ok := errors.AsType[*cqrs.Error](err); ok {
		got = append(got, e)
	} else if err != nil {
		g.t.Fatal(err)
	}
	want := g.c.Steps[i].Errors
	if len(got) != len(want) {
		g.t.Fatalf("step %d: errors %v, wanted %v", i, got, want)
	}
	for n, e := range got {
		if e.Level.String() != want[n].Level || e.Tag != want[n].Tag || e.Command != want[n].CID {
			g.t.Errorf("step %d: error %+v, wanted %+v", i, e, want[n])
		}
		if want[n].Validation != nil && !reflect.DeepEqual(faultPaths(e), slices.Sorted(maps.Keys(want[n].Validation))) {
			g.t.Errorf("step %d: faults %v, wanted %v", i, e.Data["faults"], want[n].Validation)
		}
	}
}

func faultPaths(e *cqrs.Error) (paths []string) {
	b, _ := json.Marshal(e.Data["faults"])
	var faults []struct{ Path string }
	_ = json.Unmarshal(b, &faults)
	for _, f := range faults {
		paths = append(paths, f.Path)
	}
	slices.Sort(paths)
	return paths
}

func (g *goldenRun) store() {
	for _, row := range g.c.Store.Rows {
		e, err := g.rt.Store().Event(g.t.Context(), row.ID)
		if err != nil || e.Type != row.TP {
			g.t.Errorf("stored event %s: %+v %v", row.ID, e, err)
		}
	}
	n := 0
	for _, err := range g.rt.Store().Log(g.t.Context(), 0, 1) {
		if err != nil {
			g.t.Fatal(err)
		}
		n++
	}
	if uint64(n) != g.rt.View().T() {
		g.t.Errorf("%d commits are stored, and t is %d", n, g.rt.View().T())
	}
}

func (g *goldenRun) view(v cqrs.View, want []goldenUser) {
	got := []goldenUser{}
	for u, err := range goldenUsers.All(v) {
		if err != nil {
			g.t.Fatal(err)
		}
		got = append(got, u)
	}
	byID := func(a, b goldenUser) int { return slices.Compare(a.UUID[:], b.UUID[:]) }
	slices.SortFunc(want, byID)
	if !slices.Equal(got, want) {
		g.t.Errorf("as of %d: %+v, wanted %+v", v.T(), got, want)
	}
}
