package cqrs_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"pgregory.net/rapid"
)

// A small program in two versions: withdrawals from purses. The tests change one rule of it.

type withdraw struct {
	Name string
	By   int
}

// rules are what tells one version of the code from another. They are no part of the payload.
type rules struct {
	limit         int // withdrawals above it are refused
	refuse        string
	event         func(withdrawn) []cqrs.Event
	retry, panics bool
	segment       string
	remark        string
}

type (
	withdrawn struct {
		Name     string
		By, Left int
	}
	warned struct{ Name string }
	purse  struct {
		Name string
		Left int
	}
)

func (withdrawn) EventType() string { return "account/withdrawn" }
func (warned) EventType() string    { return "account/warned" }

var purses = cqrs.NewTable("purses", func(a purse) string { return a.Name })

var _ = cqrs.NewIndex(purses, "left", func(a purse) int { return a.Left })

// ruled gives the rules to the commands through the context, as the program's services would be.
type ruled struct{}

func (withdraw) CommandType() string { return "account/withdraw" }

func (c withdraw) ProcessCommand(ctx context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	r, _ := ctx.Value(ruled{}).(rules)
	a, err := purses.Get(d, c.Name)
	if err != nil && !errors.Is(err, cqrs.ErrNotFound) {
		return nil, err
	}
	switch {
	case r.retry:
		return nil, cqrs.Retry(errors.New("a service is down"))
	case r.panics:
		panic("a defect")
	case c.By > max(r.limit, 100):
		return nil, cqrs.Reject("%s has %d, and wanted %d%s", c.Name, a.Left, c.By, r.refuse).With("left", a.Left)
	}
	if r.segment != "" {
		d.Segment(r.segment)
	}
	if r.remark != "" {
		d.Remark(cqrs.Reject("%s", r.remark))
	}
	e := withdrawn{c.Name, c.By, a.Left - c.By}
	if r.event != nil {
		return r.event(e), nil
	}
	return []cqrs.Event{e}, nil
}

type unchangedWithdraw struct{ withdraw }

func (unchangedWithdraw) CommandType() string           { return "account/withdraw-unchanged" }
func (unchangedWithdraw) Consistency() cqrs.Consistency { return cqrs.Unchanged }

type rootedWithdraw struct{ withdraw }

func (rootedWithdraw) CommandType() string           { return "account/withdraw-rooted" }
func (rootedWithdraw) Consistency() cqrs.Consistency { return cqrs.AsOfBasis }

type banking struct{}

func (banking) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	if e, ok := e.(withdrawn); ok {
		return purses.Put(tx, purse{e.Name, e.Left})
	}
	return nil
}

func bankConfig() cqrs.Config {
	return cqrs.Config{
		Commands:   []cqrs.Command{withdraw{}, unchangedWithdraw{}, rootedWithdraw{}},
		Events:     []cqrs.Event{withdrawn{}, warned{}},
		Aggregator: banking{}, Tables: []cqrs.AnyTable{purses}, NoSync: true,
	}
}

// history is a runtime in which five commands of all kinds were accepted and two refused.
func bankHistory(t *testing.T, cfg cqrs.Config) *cqrs.Runtime {
	t.Helper()
	rt, _, _ := start(t, t.TempDir(), cfg)
	mustDo(t, rt, withdraw{Name: "a", By: 1})
	mustDo(t, rt, withdraw{Name: "a", By: 2})
	_, err := do(t, rt, withdraw{Name: "a", By: 200})
	wantError(t, err, cqrs.User, "rejected")
	_, err = do(t, rt, unchangedWithdraw{withdraw{Name: "a", By: 3}}, cqrs.WithBasis(1))
	wantError(t, err, cqrs.User, "conflict")
	mustDo(t, rt, unchangedWithdraw{withdraw{Name: "a", By: 4}}, cqrs.WithBasis(2))
	mustDo(t, rt, rootedWithdraw{withdraw{Name: "a", By: 5}}, cqrs.WithBasis(1))
	mustDo(t, rt, withdraw{Name: "b", By: 6})
	return rt
}

func audited(t *testing.T, rt *cqrs.Runtime, r rules) cqrs.AuditReport {
	t.Helper()
	report, err := rt.Audit(context.WithValue(patience(t), ruled{}, r), cqrs.AuditOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if report.Checked != report.Same+report.Different {
		t.Errorf("%+v", report)
	}
	return report
}

func listOf(list []cqrs.Difference) string {
	s := ""
	for _, d := range list {
		s += d.String() + "\n"
	}
	return s
}

func TestAuditOfTheSameCodeGivesNoDifference(t *testing.T) {
	rt := bankHistory(t, bankConfig())
	report := audited(t, rt, rules{})
	if report.Checked != 7 || report.Different != 0 || len(report.Differences) > 0 || len(report.NotChecked) > 0 {
		t.Errorf("%+v\n%s", report, listOf(report.Differences))
	}
}

// Each change of the code is found in each decision that it changes, and in no other.
func TestAuditListsWhatChangedCodeWouldDecide(t *testing.T) {
	rt := bankHistory(t, bankConfig())
	for _, test := range []struct {
		name      string
		rules     rules
		different uint64
		want      []string
	}{
		{"a limit that is higher", rules{limit: 300}, 1, []string{
			"shard 0, t 3, command ", "(account/withdraw): it was refused, and is now accepted", "a has -3, and wanted 200", `"account/withdrawn"`}},
		{"another text", rules{refuse: "!"}, 1, []string{"it was refused, and now ends with another error", `wanted 200!`}},
		{"other data", rules{event: func(e withdrawn) []cqrs.Event { e.By++; return []cqrs.Event{e} }}, 5, []string{
			"t 1, ", "t 2, ", "t 3, ", "t 4, ", "t 5, ", "event 0: the data of the account/withdrawn",
			`logged "{\"Name\":\"b\",\"By\":6,\"Left\":-6}"`, `found  "{\"Name\":\"b\",\"By\":7,\"Left\":-6}"`}},
		{"another type", rules{event: func(e withdrawn) []cqrs.Event { return []cqrs.Event{warned{e.Name}} }}, 5,
			[]string{"event 0: a account/withdrawn became a account/warned"}},
		{"one event less", rules{event: func(withdrawn) []cqrs.Event { return nil }}, 5,
			[]string{"event 0: a account/withdrawn is no longer decided", "found  nothing"}},
		{"one event more", rules{event: func(e withdrawn) []cqrs.Event { return []cqrs.Event{e, warned{e.Name}} }}, 5,
			[]string{"event 1: a account/warned is decided besides", "logged nothing"}},
		{"another order", rules{event: func(e withdrawn) []cqrs.Event { return []cqrs.Event{warned{e.Name}, e} }}, 5,
			[]string{"event 0: a account/withdrawn became", "event 1: a account/withdrawn is decided besides"}},
		{"other ids", rules{segment: "x"}, 5, []string{`the id of the account/withdrawn: its segment "0" became "x"`}},
		{"a remark", rules{remark: "mind"}, 5, []string{"what it tells the sender beside the events", "mind"}},
		{"a panic", rules{panics: true}, 7, []string{"it was accepted, and now ends with an error", "panic: a defect",
			"it was refused, and now ends with another error"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			report := audited(t, rt, test.rules)
			if report.Checked != 7 || report.Different != test.different {
				t.Errorf("%+v", report)
			}
			for _, want := range test.want {
				if !strings.Contains(listOf(report.Differences), want) {
					t.Errorf("%q is not in\n%s", want, listOf(report.Differences))
				}
			}
		})
	}
}

func TestAuditCountsWhatItCannotCheck(t *testing.T) {
	cfg := bankConfig()
	cfg.KeepHistory = 2
	rt := bankHistory(t, cfg)
	_, err := rt.Submit(t.Context(), cqrs.Envelope{Type: "account/withdraw", Data: []byte(`{"By":"x"}`)})
	if err != nil {
		t.Fatal(err)
	}
	first := mustDo(t, rt, withdraw{Name: "c", By: 1})
	if _, err := do(t, rt, withdraw{Name: "c", By: 1}, cqrs.WithID(first.Command)); err != nil {
		t.Fatal(err)
	}
	_, err = do(t, rt, withdraw{Name: "c", By: 2}, cqrs.WithID(first.Command))
	wantError(t, err, cqrs.User, "id-conflict")
	report := audited(t, rt, rules{})
	if report.Checked != 2 || report.Different != 0 || report.NotChecked["pruned"] != 6 || report.NotChecked["no end"] != 1 ||
		report.NotChecked["repeat"] != 2 {
		t.Errorf("%+v\n%s", report, listOf(report.Differences))
	}
	report = audited(t, rt, rules{retry: true})
	if report.Checked != 0 || report.NotChecked["retry"]+report.NotChecked["pruned"] != 8 {
		t.Errorf("%+v", report)
	}
}

// Commands whose retention has ended are counted, and those that are there are checked.
func TestAuditCountsCommandsThatAreGone(t *testing.T) {
	cfg, later := bankConfig(), time.Duration(0)
	cfg.Retention = time.Hour
	cfg.Now = func() time.Time { return time.Now().Add(later) }
	dir := t.TempDir()
	rt, _, stop := start(t, dir, cfg)
	for range 5 {
		mustDo(t, rt, withdraw{Name: "a", By: 1})
	}
	stop()
	later = 2 * time.Hour
	rt, _, _ = start(t, dir, cfg)
	mustDo(t, rt, withdraw{Name: "a", By: 1})
	for ctx := patience(t); ; mustDeadline(t, ctx) {
		if begin, _ := cqrs.CommandBounds(t, rt); begin > 0 {
			break
		}
		mustDo(t, rt, withdraw{Name: "a", By: 1})
	}
	report := audited(t, rt, rules{})
	if report.NotChecked["gone"] != 5 || report.Checked != rt.View().T()-5 || report.Different != 0 {
		t.Errorf("%+v, and t is %d\n%s", report, rt.View().T(), listOf(report.Differences))
	}
}

// A command that tells of the past is kept as long as others: retention begins with its sending.
func TestRetentionBeginsWithTheSending(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), bankConfig())
	for range 5 {
		mustDo(t, rt, withdraw{Name: "a", By: 1}, cqrs.WithTime(time.Date(2013, 1, 1, 0, 0, 0, 0, time.UTC)))
	}
	if report := audited(t, rt, rules{}); report.Checked != 5 {
		t.Errorf("%+v", report)
	}
}

func TestAuditOfAFoldThatIsFoldedAgain(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	mustDo(t, rt, add{Name: "a", By: 1, Mode: "fold-error"})
	letters, err := rt.DeadLetters(t.Context())
	if err != nil || len(letters) != 1 {
		t.Fatal(letters, err)
	}
	if err := rt.Resend(t.Context(), letters...); err != nil {
		t.Fatal(err)
	}
	if _, err := rt.Shard(0).AtLeast(patience(t), 2); err != nil {
		t.Fatal(err)
	}
	report := audited(t, rt, rules{})
	if report.Checked != 1 || report.Different != 0 || report.NotChecked["own"] != 1 {
		t.Errorf("%+v\n%s", report, listOf(report.Differences))
	}
}

func TestAuditStopsWithItsContextAndTellsOfItsProgress(t *testing.T) {
	rt := bankHistory(t, bankConfig())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := rt.Audit(ctx, cqrs.AuditOptions{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	var heard, of uint64
	var found []cqrs.Difference
	report, err := rt.Audit(context.WithValue(t.Context(), ruled{}, rules{panics: true}), cqrs.AuditOptions{
		Rate: 100, Progress: func(n, all uint64) { heard, of = n, all }, Found: func(d cqrs.Difference) { found = append(found, d) },
	})
	if err != nil || heard != 7 || of != 7 || len(found) != 7 || len(report.Differences) != 7 {
		t.Errorf("%d of %d, %d found, %v", heard, of, len(found), err)
	}
	began := time.Now()
	if _, err := rt.Audit(t.Context(), cqrs.AuditOptions{Rate: 70}); err != nil || time.Since(began) < 90*time.Millisecond {
		t.Errorf("7 commands, 70 a second: %s, %v", time.Since(began), err)
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := rt.Audit(t.Context(), cqrs.AuditOptions{}); !errors.Is(err, cqrs.ErrClosed) {
		t.Error(err)
	}
}

func TestAuditOfSeveralShards(t *testing.T) {
	cfg := bankConfig()
	cfg.Shards = 3
	rt, _, _ := start(t, t.TempDir(), cfg)
	for i := range 30 {
		mustDo(t, rt, withdraw{Name: fmt.Sprint(i % 7), By: i}, cqrs.WithKey(fmt.Sprint(i%7)))
	}
	if report := audited(t, rt, rules{}); report.Checked != 30 || report.Different != 0 {
		t.Errorf("%+v\n%s", report, listOf(report.Differences))
	}
	if report := audited(t, rt, rules{segment: "x"}); report.Different != 30 {
		t.Errorf("%+v", report)
	}
}

// Whatever a program does, deciding it again beside the work gives the same.
func TestAuditOfRandomWork(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModelRun(t)
		for range rapid.IntRange(1, 8).Draw(t, "actions") {
			m.action(t)
		}
		report, err := m.rt.Audit(t.Context(), cqrs.AuditOptions{})
		if err != nil || report.Different > 0 {
			t.Fatalf("%v %+v\n%s", err, report, listOf(report.Differences))
		}
		if m.keep == 0 && report.Checked < m.t() {
			t.Fatalf("nothing was checked: %+v", report)
		}
	})
}
