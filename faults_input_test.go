package cqrs_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
)

// rude is a command that misbehaves as its name says.
type rude struct{ How string }

func (rude) CommandType() string { return "rude" }

type rudely struct{ How string }

func (rudely) EventType() string { return "rudely" }

// grumpy can't be asked.
type grumpy struct{}

func (grumpy) Error() string                { panic("asked for its text") }
func (grumpy) MarshalJSON() ([]byte, error) { panic("asked for its JSON") }

// big is larger than a message may be, as JSON.
var big = strings.Repeat("\x01", 3<<20)

func typedNil() *cqrs.Error { return nil }

// rudeErrors are errors of decisions and of folds.
var rudeErrors = map[string]func() error{
	"huge error":        func() error { return errors.New(big) },
	"huge rejection":    func() error { return cqrs.Reject("%s", big) },
	"huge data":         func() error { return cqrs.Reject("no").With("big", big) },
	"huge tag":          func() error { return cqrs.Reject("no").Tagged(big) },
	"huge panic":        func() error { panic(big) },
	"panic with error":  func() error { panic(grumpy{}) },
	"no JSON":           func() error { return cqrs.Reject("no").With("f", func() {}).With("n", math.NaN()) },
	"not UTF-8":         func() error { return cqrs.Reject("\xff\x00") },
	"grumpy error":      func() error { return grumpy{} },
	"grumpy data":       func() error { return cqrs.Reject("no").With("grumpy", grumpy{}) },
	"grumpy dev data":   func() error { return (&cqrs.Error{Level: cqrs.Dev, Tag: "mine"}).With("grumpy", grumpy{}) },
	"typed nil":         func() error { return typedNil() },
	"level 77":          func() error { return &cqrs.Error{Level: 77} },
	"zero error":        func() error { return &cqrs.Error{} },
	"of another":        func() error { return &cqrs.Error{Level: cqrs.User, Command: uuid.Max} },
	"huge of dev level": func() error { return (&cqrs.Error{Level: cqrs.Dev, Message: big}).With(big, big) },
}

func (c rude) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	if how, ok := strings.CutPrefix(c.How, "remark "); ok {
		if e, ok := rudeErrors[how]().(*cqrs.Error); ok {
			d.Remark(e)
		}
		return []cqrs.Event{rudely{"remark"}}, nil
	}
	if how, ok := strings.CutPrefix(c.How, "fold "); ok {
		return []cqrs.Event{rudely{how}}, nil
	}
	return nil, rudeErrors[c.How]()
}

type rudeFolds struct{ counting }

func (f rudeFolds) AggregateEvent(ctx context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	if r, ok := e.(rudely); ok && rudeErrors[r.How] != nil {
		return rudeErrors[r.How]()
	}
	return f.counting.AggregateEvent(ctx, tx, e)
}

func rudeConfig() cqrs.Config {
	cfg := counterConfig()
	cfg.Commands, cfg.Events = append(cfg.Commands, rude{}), append(cfg.Events, rudely{})
	cfg.Aggregator = rudeFolds{}
	return cfg
}

// Invariants 19 and 25: whatever a decision says, the command ends, its sender hears of it, and nobody behind it is stopped.
func TestRudeDecisionsStopNobody(t *testing.T) {
	for how := range rudeErrors {
		for _, prefix := range []string{"", "remark ", "fold "} {
			t.Run(prefix+how, func(t *testing.T) { checkRude(t, prefix+how, prefix == "") })
		}
	}
}

func checkRude(t *testing.T, how string, refused bool) {
	dir := t.TempDir()
	rt, _, stop := start(t, dir, rudeConfig())
	ctx := patience(t)
	r, err := rt.Send(ctx, rude{How: how})
	if err != nil {
		t.Fatal(err)
	}
	behind, err := rt.Send(ctx, add{Name: "a", By: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := behind.Wait(ctx); err != nil {
		t.Fatalf("the command behind it: %v; health %+.300v", err, rt.Health())
	}
	_, err = r.Wait(ctx)
	if e, ok := errors.AsType[*cqrs.Error](err); ok != refused && !(ok && e.Level == cqrs.Dev) || ok && e.Command != r.ID {
		t.Errorf("it ended with: %.300v", err)
	}
	stop()
	rt, _, _ = start(t, dir, rudeConfig())
	checkHeard(t, rt, r.ID)
	checkEnded(t, rt, []uuid.UUID{r.ID, behind.ID})
}

// checkHeard: the feedback of a command can be read, and is of a size that travels.
func checkHeard(t *testing.T, rt *cqrs.Runtime, id uuid.UUID) {
	t.Helper()
	for f, err := range rt.Feedback(patience(t), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if f.Command != id {
			continue
		}
		if f.Err != nil && len(f.Err.Message) > 1<<20 {
			t.Errorf("a message of %d bytes", len(f.Err.Message))
		}
		return
	}
}

// Invariant 3, for those who send at the same time: the sender whose command was not the one that counted hears so.
func TestTwoCommandsUnderOneIDAtOnce(t *testing.T) {
	for name, first := range map[string]add{
		"accepted": {Name: "a", By: 1}, "refused": {Name: "a", Mode: "reject"}, "dead": {Name: "a", Mode: "panic"}, "invalid": {},
	} {
		for _, followed := range []int{1 << 16, 1} {
			t.Run(name, func(t *testing.T) {
				cfg := counterConfig()
				cfg.MaxInFlight = followed
				checkTwoUnderOneID(t, cfg, first)
			})
		}
	}
}

func checkTwoUnderOneID(t *testing.T, cfg cqrs.Config, first add) {
	rt, err := cqrs.Open(t.TempDir(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, id := patience(t), uuid.New()
	var receipts []*cqrs.Receipt
	for _, c := range []add{first, {Name: "other", By: 2}, first, {Name: "other", By: 2}} {
		r, err := rt.Send(ctx, c, cqrs.WithID(id))
		if err != nil {
			t.Fatal(err)
		}
		receipts = append(receipts, r)
	}
	ended := make(chan error, 1)
	go func() { ended <- rt.Run(context.Background()) }()
	for i, r := range receipts {
		out, err := r.Wait(ctx)
		mine := i%2 == 0
		marked := first.Mode == "" && first.Name != "" || first.Mode == "reject"
		switch {
		case marked && !mine:
			wantError(t, err, cqrs.User, "id-conflict")
		case marked && first.Mode == "" || !marked && !mine:
			want := added{Name: first.Name, By: first.By}
			if !mine {
				want = added{Name: "other", By: 2}
			}
			if err != nil || out.Events[0].Value != want {
				t.Errorf("command %d: %+v %v", i, out, err)
			}
		case err == nil:
			t.Errorf("command %d: %+v", i, out)
		}
	}
	if err := errors.Join(rt.Close(), <-ended); err != nil {
		t.Error(err)
	}
}

func TestSendRefusesTooManyHeaders(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	for name, trace := range map[string][]store.Trace{
		"long":  {{Key: "traceparent", Value: strings.Repeat("x", 13<<20)}},
		"many":  make([]store.Trace, 100_000),
		"short": {{Key: "traceparent", Value: "00-1"}},
	} {
		r, err := rt.Submit(t.Context(), cqrs.Envelope{Type: "counter/add", Data: []byte(`{"name":"a","mode":"panic"}`), Trace: trace})
		if name == "short" {
			if err != nil {
				t.Error(err)
			}
			_, err = r[0].Wait(patience(t))
			wantError(t, err, cqrs.Dev, "process-command")
		} else if err == nil || !strings.Contains(err.Error(), "can't be sent") || !strings.Contains(err.Error(), "trace") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A message of another program may be too large to become a dead letter as a whole.
func TestHugeUnreadableMessageStopsNobody(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	cqrs.AppendRaw(t, rt, make([]byte, 15<<20))
	mustDo(t, rt, add{Name: "a", By: 1})
	letters, err := rt.DeadLetters(t.Context())
	if err != nil || len(letters) != 1 || !strings.Contains(letters[0].Err.Message, "offset 0") {
		t.Fatalf("%d letters, %v", len(letters), err)
	}
}

// One letter that can't be read hides no other.
func TestUnreadableDeadLetterHidesNoOther(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	for _, raw := range []string{"", "{", `{"error":7}`, `{}`, "null", `{"handled":[9]}`} {
		cqrs.AppendDead(t, rt, []byte(raw))
	}
	_, err := do(t, rt, add{Name: "a", Mode: "panic"})
	wantError(t, err, cqrs.Dev, "process-command")
	letters, err := rt.DeadLetters(t.Context())
	if err != nil || len(letters) != 6 {
		t.Fatalf("%d letters, %v", len(letters), err)
	}
	for _, l := range letters {
		if l.Err == nil {
			t.Errorf("letter %d has no error", l.Offset)
		}
	}
	if err := rt.Discard(t.Context(), letters...); err != nil {
		t.Error(err)
	}
	if letters, err = rt.DeadLetters(t.Context()); err != nil || len(letters) != 0 {
		t.Errorf("%d letters, %v", len(letters), err)
	}
}

// Times at the ends of what can be said are kept in order, or refused.
func TestOddTimes(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	for _, at := range []time.Time{
		time.UnixMilli(0), time.UnixMilli(-1), time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC),
		time.Date(-5000, 1, 1, 0, 0, 0, 0, time.UTC), time.UnixMilli(math.MaxInt64), time.UnixMilli(math.MinInt64 + 1),
	} {
		id := uuid.New()
		out := mustDo(t, rt, add{Name: "a", By: 1}, cqrs.WithTime(at), cqrs.WithID(id))
		if out.Events[0].Time != at.UnixMilli() {
			t.Errorf("%v became %d", at, out.Events[0].Time)
		}
		if again := mustDo(t, rt, add{Name: "a", By: 1}, cqrs.WithTime(at), cqrs.WithID(id)); !again.Repeat || again.Events[0].Time != at.UnixMilli() {
			t.Errorf("%v, again: %+v", at, again)
		}
	}
	last := int64(math.MinInt64)
	n := 0
	for e, err := range rt.Events(t.Context(), store.Query{}) {
		if n++; err != nil || e.Time < last {
			t.Errorf("%+v %v after %d", e.Entry, err, last)
		}
		last = e.Time
	}
	if n != 7 {
		t.Errorf("%d events", n)
	}
}

// shy is an event whose type came to panic when it is read.
type shy struct{ Name string }

var shyPanics atomic.Bool

func (*shy) EventType() string { return "shy" }

func (s *shy) UnmarshalJSON(b []byte) error {
	if shyPanics.Load() {
		panic("asked for its JSON")
	}
	type plain shy
	return json.Unmarshal(b, (*plain)(s))
}

type beShy struct{ Name string }

func (beShy) CommandType() string { return "shy/be" }

func (c beShy) ProcessCommand(context.Context, *cqrs.Decision) ([]cqrs.Event, error) {
	return []cqrs.Event{&shy{c.Name}}, nil
}

// A stored event that panics when it is read ends neither the process that builds tables of it, nor that of who reads the log.
func TestEventThatPanicsWhenItIsRead(t *testing.T) {
	cfg, dir := counterConfig(), t.TempDir()
	cfg.Commands, cfg.Events = append(cfg.Commands, beShy{}), append(cfg.Events, &shy{})
	rt, _, stop := start(t, dir, cfg)
	mustDo(t, rt, beShy{"a"})
	stop()
	shyPanics.Store(true)
	defer shyPanics.Store(false)
	cfg.Version = "2"
	rt, _, _ = start(t, dir, cfg)
	if h := rt.Health()[0]; h.T != 1 || h.Failed != 1 {
		t.Errorf("health %+v", h)
	}
	if _, err := rt.Shard(0).Commit(t.Context(), 1); err == nil {
		t.Error("the log was read")
	}
	_, err := do(t, rt, beShy{"b"})
	wantError(t, err, cqrs.Dev, "process-command")
	mustDo(t, rt, add{Name: "a", By: 1})
}
