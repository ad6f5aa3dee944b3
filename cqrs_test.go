package cqrs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/store"
	"github.com/cqrs-server/cqrs/workflow"
	"github.com/google/uuid"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick")) // sarama's, one for the whole process
}

func TestCommandBecomesEventAndView(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	sent := time.UnixMilli(1_700_000_000_123)
	out := mustDo(t, rt, add{Name: "a", By: 2}, cqrs.WithTime(sent))
	e := out.Events[0]
	if out.T != 1 || len(out.Events) != 1 || e.Value != (added{Name: "a", By: 2}) || e.T != 1 || e.Time != sent.UnixMilli() {
		t.Fatalf("outcome %+v", out)
	}
	if e.ID != cqrs.EventID(out.Command, 0, "0") {
		t.Errorf("event id %s", e.ID)
	}
	if got := value(t, rt.View(), "a"); got != 2 || value(t, rt.AsOf(0), "a") != 0 {
		t.Errorf("value %d", got)
	}
	stored, err := rt.Store().Event(t.Context(), e.ID)
	if err != nil || stored.Command != out.Command || string(stored.Data) != string(e.Data) {
		t.Errorf("stored %+v %v", stored, err)
	}
}

func TestRepeatedCommandDoesNothing(t *testing.T) {
	dir, id := t.TempDir(), uuid.New()
	rt, h, stop := start(t, dir, counterConfig())
	first := mustDo(t, rt, add{Name: "a", By: 2}, cqrs.WithID(id))
	again := mustDo(t, rt, add{Name: "a", By: 2}, cqrs.WithID(id))
	if !again.Repeat || again.T != first.T || again.Events[0].ID != first.Events[0].ID || again.Events[0].Value != first.Events[0].Value {
		t.Errorf("again %+v", again)
	}
	stop()
	rt, _, _ = start(t, dir, counterConfig())
	if again := mustDo(t, rt, add{Name: "a", By: 2}, cqrs.WithID(id)); again.T != 1 {
		t.Errorf("after a restart %+v", again)
	}
	if got := value(t, rt.View(), "a"); got != 2 || rt.View().T() != 1 || h.calls.Load() != 1 {
		t.Errorf("value %d, t %d, decided %d times", got, rt.View().T(), h.calls.Load())
	}
}

func TestOtherPayloadUnderTheSameIDIsRefused(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	id := uuid.New()
	mustDo(t, rt, add{Name: "a", By: 2}, cqrs.WithID(id))
	_, err := do(t, rt, add{Name: "a", By: 3}, cqrs.WithID(id))
	wantError(t, err, cqrs.User, "id-conflict")
	if got := value(t, rt.View(), "a"); got != 2 {
		t.Errorf("value %d", got)
	}
}

func TestRefusalIsForEver(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	id := uuid.New()
	mustDo(t, rt, add{Name: "a", By: 1})
	_, err := do(t, rt, add{Name: "a", By: 1, Mode: "reject-odd"}, cqrs.WithID(id))
	e := wantError(t, err, cqrs.User, "rejected")
	if e.Command != id {
		t.Errorf("command %s", e.Command)
	}
	mustDo(t, rt, add{Name: "a", By: 1}) // now it would be accepted
	_, err = do(t, rt, add{Name: "a", By: 1, Mode: "reject-odd"}, cqrs.WithID(id))
	wantError(t, err, cqrs.User, "rejected")
	if got := value(t, rt.View(), "a"); got != 2 || rt.View().T() != 2 {
		t.Errorf("value %d, t %d", got, rt.View().T())
	}
}

func TestCommandWithoutEvents(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	id := uuid.New()
	out := mustDo(t, rt, add{Name: "a", Mode: "nothing"}, cqrs.WithID(id))
	if out.T != 1 || len(out.Events) != 0 {
		t.Fatalf("outcome %+v", out)
	}
	if c, err := rt.Store().Commit(t.Context(), id); err != nil || c.T != 1 {
		t.Errorf("archived as %+v %v", c, err)
	}
}

func TestErrorsByLevel(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	for _, c := range []struct {
		mode, tag string
		level     cqrs.Level
	}{
		{"reject", "rejected", cqrs.User},
		{"error", "process-command", cqrs.Dev},
		{"panic", "process-command", cqrs.Dev},
		{"unregistered", "process-command", cqrs.Dev},
		{"nil-event", "process-command", cqrs.Dev},
		{"nil-pointer", "process-command", cqrs.Dev},
	} {
		_, err := do(t, rt, add{Name: "a", By: 1, Mode: c.mode})
		wantError(t, err, c.level, c.tag)
	}
	mustDo(t, rt, add{Name: "a", By: 1}) // nobody is stopped
	letters, err := rt.DeadLetters(t.Context())
	if err != nil || len(letters) != 5 {
		t.Fatalf("%d dead letters, %v", len(letters), err)
	}
	if rt.View().T() != 1 {
		t.Errorf("t is %d", rt.View().T())
	}
}

func TestRemarkTravelsBesideTheEvents(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	id := uuid.New()
	for range 2 { // the second answer comes from the store
		out := mustDo(t, rt, add{Name: "a", By: 1, Mode: "remark"}, cqrs.WithID(id))
		if len(out.Events) != 1 || len(out.Remarks) != 1 || out.Remarks[0].Tag != "mine" || out.Remarks[0].Message != "mind the gap" ||
			out.Remarks[0].Command != id {
			t.Fatalf("outcome %+v", out)
		}
	}
}

func TestFailedFoldLeavesNothing(t *testing.T) {
	for _, mode := range []string{"fold-error", "fold-panic", "fold-ignored", "long-key"} {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir()
			rt, _, stop := start(t, dir, counterConfig())
			mustDo(t, rt, add{Name: "a", By: 1})
			out := mustDo(t, rt, add{Name: "a", By: 5, Mode: mode})
			if len(out.Remarks) != 1 || out.Remarks[0].Tag != "aggregate-event" || out.Remarks[0].Level != cqrs.Dev {
				t.Fatalf("remarks %+v", out.Remarks)
			}
			mustDo(t, rt, add{Name: "a", By: 1})
			stop()
			rt, _, _ = start(t, dir, counterConfig())
			if got := value(t, rt.View(), "a"); got != 2 {
				t.Errorf("value %d", got)
			}
			if h := rt.Health()[0]; h.Failed != 1 || h.T != 3 {
				t.Errorf("health %+v", h)
			}
			if _, err := rt.Store().Event(t.Context(), out.Events[0].ID); err != nil {
				t.Errorf("the event is not stored: %v", err)
			}
			letters, err := rt.DeadLetters(t.Context())
			if err != nil || len(letters) != 1 || !letters[0].Fold {
				t.Fatalf("letters %+v %v", letters, err)
			}
			if err := rt.Resend(t.Context(), letters...); err != nil { // it fails again, and waits again
				t.Fatal(err)
			}
			if v, err := rt.Shard(0).AtLeast(patience(t), 4); err != nil || value(t, v, "a") != 2 {
				t.Error(err)
			}
			if letters, err = rt.DeadLetters(t.Context()); err != nil || len(letters) != 1 || rt.Health()[0].Failed != 1 {
				t.Errorf("letters %+v %v, health %+v", letters, err, rt.Health())
			}
		})
	}
}

func TestSystemErrorIsTriedAgainInOrder(t *testing.T) {
	rt, h, _ := start(t, t.TempDir(), counterConfig())
	h.down.Store(true)
	ctx := patience(t)
	receipts := sendAll(t, rt, add{Name: "a", By: 1}, add{Name: "a", By: 1, Mode: "down"}, add{Name: "a", By: 1})
	if out, err := receipts[0].Wait(ctx); err != nil || out.T != 1 {
		t.Fatalf("%+v %v", out, err)
	}
	for rt.Health()[0].Retrying == nil {
		mustDeadline(t, ctx)
	}
	if got := rt.View().T(); got != 1 {
		t.Errorf("t is %d while the second command can't be decided", got)
	}
	if _, err := rt.Send(ctx, add{Name: "b", By: 1}); err != nil {
		t.Errorf("send while another command is tried again: %v", err)
	}
	h.down.Store(false)
	for i, r := range receipts {
		if out, err := r.Wait(ctx); err != nil || out.T != uint64(i+1) {
			t.Errorf("command %d: %+v %v", i, out, err)
		}
	}
	if letters, _ := rt.DeadLetters(ctx); len(letters) != 0 {
		t.Errorf("dead letters %+v", letters)
	}
}

func TestRetriesCanHaveALimit(t *testing.T) {
	cfg := counterConfig()
	cfg.MaxRetries = 2
	rt, h, _ := start(t, t.TempDir(), cfg)
	h.down.Store(true)
	for range 2 { // each command has its own
		_, err := do(t, rt, add{Name: "a", By: 1, Mode: "down"})
		if e := wantError(t, err, cqrs.System, "process-command"); !strings.Contains(e.Message, "it was tried again 2 times") {
			t.Error(e)
		}
	}
	mustDo(t, rt, add{Name: "a", By: 1})
	h.down.Store(false)
	letters, err := rt.DeadLetters(t.Context())
	if err != nil || len(letters) != 2 || h.calls.Load() != 2*3+1 {
		t.Fatalf("%d dead letters, %v; decided %d times", len(letters), err, h.calls.Load())
	}
	if err := rt.Resend(t.Context(), letters...); err != nil {
		t.Fatal(err)
	}
	if v, err := rt.Shard(0).AtLeast(patience(t), 3); err != nil || value(t, v, "a") != 3 {
		t.Errorf("%v", err)
	}
}

// mustDeadline lets a moment pass between two looks at a condition.
func mustDeadline(t *testing.T, ctx context.Context) {
	t.Helper()
	select {
	case <-ctx.Done():
		t.Fatal("it took too long")
	case <-time.After(time.Millisecond):
	}
}

func sendAll(t *testing.T, rt *cqrs.Runtime, commands ...add) []*cqrs.Receipt {
	t.Helper()
	envelopes := make([]cqrs.Envelope, len(commands))
	for i, c := range commands {
		envelopes[i] = cqrs.Envelope{Type: c.CommandType(), Data: fmt.Appendf(nil, `{"name":%q,"by":%d,"mode":%q}`, c.Name, c.By, c.Mode)}
	}
	receipts, err := rt.Submit(patience(t), envelopes...)
	if err != nil {
		t.Fatal(err)
	}
	return receipts
}

func TestDeadLetterIsSentAgainEdited(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	id := uuid.New()
	_, err := do(t, rt, add{Name: "a", By: 1, Mode: "panic"}, cqrs.WithID(id))
	wantError(t, err, cqrs.Dev, "process-command")
	ctx := patience(t)
	letters, err := rt.DeadLetters(ctx)
	if err != nil || len(letters) != 1 || letters[0].Command.ID != id || letters[0].Err.Command != id {
		t.Fatalf("letters %+v %v", letters, err)
	}
	letters[0].Command.Data = []byte(`{"name":"a","by":7}`)
	if err := rt.Resend(ctx, letters[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := rt.Shard(0).AtLeast(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if got := value(t, rt.View(), "a"); got != 7 {
		t.Errorf("value %d", got)
	}
	if letters, _ := rt.DeadLetters(ctx); len(letters) != 0 {
		t.Errorf("still %+v", letters)
	}
}

// What another program wrote can be mended like any other command.
func TestDeadLetterOfACloudEventIsSentAgainEdited(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	ctx := patience(t)
	cqrs.AppendRaw(t, rt, []byte(`{"specversion":"1.0","type":"counter/ad","source":"/shop","id":"17","subject":"k","tenant":"blue","data":{"name":"a","by":"7"}}`),
		queue.Header{Key: "content-type", Value: []byte("application/cloudevents+json")})
	mustDo(t, rt, add{Name: "b"})
	letters, err := rt.DeadLetters(ctx)
	if err != nil || len(letters) != 1 || letters[0].Command == nil || letters[0].Command.Type != "counter/ad" || letters[0].Command.ID != letters[0].Err.Command {
		t.Fatalf("letters %+v %v", letters, err)
	}
	letters[0].Command.Type = "counter/add"
	if err := rt.Resend(ctx, letters[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := rt.Shard(0).AtLeast(ctx, 2); err != nil {
		t.Fatal(err)
	}
	c, err := rt.Store().Commit(ctx, letters[0].Command.ID)
	if err != nil || c.Key != "k" || value(t, rt.View(), "a") != 7 || !slices.Contains(c.Trace, store.Trace{Key: "tenant", Value: "blue"}) {
		t.Errorf("%+v %v", c, err)
	}
}

func TestUnreadableMessageIsADeadLetterThatKeepsItsBytes(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	ctx := patience(t)
	garbage := [][]byte{nil, {0}, []byte("hello"), {0xc9, 1}, {0xc9, 2, 3}}
	for _, g := range garbage {
		cqrs.AppendRaw(t, rt, g)
	}
	mustDo(t, rt, add{Name: "a", By: 1})
	letters, err := rt.DeadLetters(ctx)
	if err != nil || len(letters) != len(garbage) {
		t.Fatalf("%d letters, %v", len(letters), err)
	}
	for i, l := range letters {
		if string(l.Message.Value) != string(garbage[i]) || l.Err.Tag != "envelope" || l.Command != nil {
			t.Errorf("letter %d: %+v", i, l)
		}
	}
	if err := rt.Discard(ctx, letters...); err != nil {
		t.Fatal(err)
	}
	if letters, _ := rt.DeadLetters(ctx); len(letters) != 0 {
		t.Errorf("still %d", len(letters))
	}
}

func TestSendRefusesWhatCantTravel(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	for name, c := range map[string]struct {
		e    cqrs.Envelope
		want string
	}{
		"no type":         {cqrs.Envelope{Data: []byte("{}")}, "name is empty"},
		"huge data":       {cqrs.Envelope{Type: "counter/add", Data: make([]byte, 10<<20)}, "the limit is 1048576"},
		"key with NUL":    {cqrs.Envelope{Type: "counter/add", Key: "a\x00b", Data: []byte("{}")}, "control character"},
		"key of 100 kB":   {cqrs.Envelope{Type: "counter/add", Key: strings.Repeat("k", 100_000), Data: []byte("{}")}, "100000 bytes"},
		"key not UTF-8":   {cqrs.Envelope{Type: "counter/add", Key: "\xff", Data: []byte("{}")}, "UTF-8"},
		"type of 300":     {cqrs.Envelope{Type: strings.Repeat("t", 300), Data: []byte("{}")}, "300 bytes"},
		"type with break": {cqrs.Envelope{Type: "a\nb", Data: []byte("{}")}, "control character"},
	} {
		_, err := rt.Submit(patience(t), c.e)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "can't be sent") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for want, c := range map[string]cqrs.Command{"send is nil": nil, "send is a nil *cqrs_test.add": (*add)(nil)} {
		if _, err := rt.Send(patience(t), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, wanted %q", err, want)
		}
	}
	mustDo(t, rt, add{Name: "a", By: 1})
}

func TestBadDataIsAValidationError(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	ctx := patience(t)
	for _, data := range []string{"", "null", "[]", "{", `{"name":"a","by":"x"}`, `{"nam":"a"}`, `{"by":1}`, strings.Repeat("[", 100_000)} {
		receipts, err := rt.Submit(ctx, cqrs.Envelope{Type: "counter/add", Data: []byte(data)})
		if err != nil {
			t.Fatal(err)
		}
		_, err = receipts[0].Wait(ctx)
		e := wantError(t, err, cqrs.User, "validation")
		faults, _ := json.Marshal(e.Data["faults"])
		if !strings.HasPrefix(string(faults), `[{"path":"`) || !strings.Contains(string(faults), `,"problem":"`) || len(e.Message) > 2000 {
			t.Errorf("%.40s: %v %s", data, e, faults)
		}
	}
}

func TestUnknownTypeIsToldHowItIsSpelled(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	for name, want := range map[string]string{"Counter/Add": `in Config.Commands; it is spelled "counter/add"`, "counter/ad": "in Config.Commands"} {
		_, err := submit(t, rt, cqrs.Envelope{Type: name, Data: []byte("{}")})
		if e := wantError(t, err, cqrs.Dev, "command-coerce"); !strings.HasSuffix(e.Message, want) {
			t.Errorf("%v, wanted %q at its end", e, want)
		}
	}
}

func TestBasisAhead(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	_, err := do(t, rt, add{Name: "a"}, cqrs.WithBasis(7))
	wantError(t, err, cqrs.User, "basis")
}

func TestNewIDsAndRandomNumbersAreTheCommands(t *testing.T) {
	id := uuid.MustParse("00000001-0000-4000-8000-000000000000")
	var got [2]drawn
	for i := range got {
		rt, _, stop := start(t, t.TempDir(), counterConfig())
		got[i] = mustDo(t, rt, add{Name: "a", Mode: "random"}, cqrs.WithID(id)).Events[0].Value.(drawn)
		stop()
	}
	if got[0] != got[1] || got[0].ID == got[0].Other || got[0].Number == 0 {
		t.Errorf("%+v", got)
	}
}

func TestFeedbackIsAQueue(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	ids := []uuid.UUID{uuid.New(), uuid.New(), uuid.New(), uuid.New()}
	mustDo(t, rt, add{Name: "a", By: 1}, cqrs.WithID(ids[0]))
	_, _ = do(t, rt, add{Name: "a", Mode: "reject"}, cqrs.WithID(ids[1]))
	_, _ = do(t, rt, add{Name: "a", Mode: "panic"}, cqrs.WithID(ids[2]))
	mustDo(t, rt, add{Name: "a", By: 1}, cqrs.WithID(ids[3]))
	mustDo(t, rt, add{Name: "a", By: 1}, cqrs.WithID(ids[0])) // a repeat is answered again
	var got []cqrs.Feedback
	for f, err := range rt.Feedback(patience(t), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, f); len(got) == 5 {
			break
		}
	}
	for i, want := range []struct {
		id    uuid.UUID
		t     uint64
		level cqrs.Level
	}{{ids[0], 1, 0}, {ids[1], 0, cqrs.User}, {ids[2], 0, cqrs.Dev}, {ids[3], 2, 0}, {ids[0], 1, 0}} {
		f := got[i]
		if f.Command != want.id || f.T != want.t || (want.level == 0) != (f.Err == nil) || (f.Err != nil && f.Err.Level != want.level) {
			t.Errorf("feedback %d: %+v, wanted %+v", i, f, want)
		}
	}
}

// Other programs read errors in the feedback queue; the number is how levels were written before.
func TestLevelTravelsByItsName(t *testing.T) {
	for level, name := range map[cqrs.Level]string{cqrs.Dev: `"dev"`, cqrs.User: `"user"`, cqrs.System: `"system"`, 7: `7`} {
		b, err := json.Marshal(level)
		if err != nil || string(b) != name {
			t.Errorf("%s %v, wanted %s", b, err, name)
		}
		for _, text := range []string{name, fmt.Sprint(uint8(level))} {
			var got cqrs.Level
			if err := json.Unmarshal([]byte(text), &got); err != nil || got != level {
				t.Errorf("%s: %v %v, wanted %v", text, got, err, level)
			}
		}
	}
	if err := json.Unmarshal([]byte(`"what"`), new(cqrs.Level)); err == nil {
		t.Error("there is no level of that name")
	}
}

func TestReceiptsBeyondTheBoundFindTheirOutcome(t *testing.T) {
	cfg := counterConfig()
	cfg.MaxInFlight = 1
	rt, _, _ := start(t, t.TempDir(), cfg)
	ctx := patience(t)
	receipts := sendAll(t, rt, add{Name: "a", By: 1}, add{Name: "a", By: 2}, add{Name: "a", Mode: "reject"}, add{Name: "a", Mode: "panic"}, add{})
	if out, err := receipts[1].Wait(ctx); err != nil || out.T != 2 || out.Events[0].Value != (added{Name: "a", By: 2}) {
		t.Errorf("%+v %v", out, err)
	}
	for i, want := range map[int]string{2: "rejected", 3: "process-command", 4: "validation"} {
		_, err := receipts[i].Wait(ctx)
		if e, ok := errors.AsType[*cqrs.Error](err); !ok || e.Tag != want {
			t.Errorf("receipt %d: %v", i, err)
		}
	}
}

func TestManyWaitForOneReceiptBeyondTheBound(t *testing.T) {
	cfg := counterConfig()
	cfg.MaxInFlight = 1
	rt, err := cqrs.Open(t.TempDir(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	receipts := sendAll(t, rt, add{Name: "a", Mode: "panic"}, add{Name: "b", Mode: "panic"})
	ctx, ended := patience(t), make(chan error, 1)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			_, err := receipts[1].Wait(ctx)
			if e, ok := errors.AsType[*cqrs.Error](err); !ok || e.Tag != "process-command" {
				t.Error(err)
			}
		})
	}
	go func() { ended <- rt.Run(ctx) }()
	all.Wait()
	if err := errors.Join(rt.Close(), <-ended); err != nil {
		t.Error(err)
	}
}

// A Submit that fails gives back the room that its receipts took, also when it fails because there was not enough.
func TestFailedSubmitFollowsNothing(t *testing.T) {
	cfg := counterConfig()
	cfg.MaxInFlight = 2
	rt, err := cqrs.Open(t.TempDir(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	three := slices.Repeat([]cqrs.Envelope{{Type: "counter/add", Data: []byte(`{"name":"a"}`)}}, 3)
	for _, some := range [][]cqrs.Envelope{three[:1], three} {
		if _, err := rt.Submit(ctx, some...); !errors.Is(err, context.Canceled) || rt.Followed() != 0 {
			t.Errorf("%d commands: %v, and %d are followed", len(some), err, rt.Followed())
		}
	}
}

func TestSentBeforeRunIsDoneByRun(t *testing.T) {
	dir := t.TempDir()
	rt, err := cqrs.Open(dir, counterConfig())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := rt.Send(patience(t), add{Name: "a", By: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if h := rt.Health()[0]; h.Backlog != 3 {
		t.Errorf("health %+v", h)
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	rt, _, _ = start(t, dir, counterConfig())
	if _, err := rt.Shard(0).AtLeast(patience(t), 3); err != nil {
		t.Fatal(err)
	}
}

func TestClose(t *testing.T) {
	rt, _, stop := start(t, t.TempDir(), counterConfig())
	mustDo(t, rt, add{Name: "a", By: 1})
	v := rt.View()
	stop()
	if err := rt.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if _, err := rt.Send(t.Context(), add{Name: "a"}); !errors.Is(err, cqrs.ErrClosed) {
		t.Errorf("send: %v", err)
	}
	if _, err := counters.Get(v, "a"); !errors.Is(err, cqrs.ErrClosed) {
		t.Errorf("read: %v", err)
	}
	if err := rt.Run(t.Context()); err != nil {
		t.Errorf("run: %v", err)
	}
	if _, err := rt.Shard(0).AtLeast(t.Context(), 9); !errors.Is(err, cqrs.ErrClosed) {
		t.Errorf("wait: %v", err)
	}
	if _, err := rt.DeadLetters(t.Context()); !errors.Is(err, cqrs.ErrClosed) {
		t.Errorf("dead letters: %v", err)
	}
	if _, err := rt.Shard(0).Commit(t.Context(), 1); !errors.Is(err, cqrs.ErrClosed) {
		t.Errorf("commit: %v", err)
	}
	for _, err := range rt.Feedback(t.Context(), 0, 0) {
		if !errors.Is(err, cqrs.ErrClosed) {
			t.Errorf("feedback: %v", err)
		}
	}
	for _, err := range rt.Events(t.Context(), store.Query{Type: "counter/added"}) {
		if !errors.Is(err, cqrs.ErrClosed) {
			t.Errorf("events: %v", err)
		}
	}
}

func TestCloseEndsThoseWhoWait(t *testing.T) {
	rt, err := cqrs.Open(t.TempDir(), counterConfig())
	if err != nil {
		t.Fatal(err)
	}
	r, err := rt.Send(t.Context(), add{Name: "a"}) // nobody runs it
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := r.Wait(t.Context()); !errors.Is(err, cqrs.ErrClosed) {
			t.Errorf("wait: %v", err)
		}
	})
	wg.Go(func() {
		if _, err := rt.Shard(0).AtLeast(t.Context(), 1); !errors.Is(err, cqrs.ErrClosed) {
			t.Errorf("at least: %v", err)
		}
	})
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
}

func TestWaitHonoursItsContext(t *testing.T) {
	rt, err := cqrs.Open(t.TempDir(), counterConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	r, err := rt.Send(t.Context(), add{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if rt.Health()[0].Owner {
		t.Error("it does the work, and Run is not running")
	}
	if _, err := r.Wait(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "Run, which does the work, is not running") {
		t.Errorf("wait: %v", err)
	}
	if _, err := rt.Shard(0).AtLeast(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("at least: %v", err)
	}
}

type unseen struct {
	//lint:ignore U1000 it is here to be refused
	name string
}

func (unseen) EventType() string { return "counter/unseen" }

func TestOpenReportsEveryFault(t *testing.T) {
	plan := cqrs.DefaultPlan()
	plan.Workflow = append(plan.Workflow, workflow.Edge{From: "event/store", To: "nowhere"})
	bad := cqrs.NewTable("bad", func(c chan int) chan int { return c })
	var none *cqrs.Table[string, counter]
	_, err := cqrs.Open(t.TempDir(), cqrs.Config{
		Commands: []cqrs.Command{nil, add{}, add{}}, Events: []cqrs.Event{nil, added{}, added{}, unseen{}},
		Tables: []cqrs.AnyTable{nil, counters, counters, bad, none}, Shards: -1, Batch: -1, MaxCommand: -1, MaxInFlight: -1,
		KeepFor: -1, MaxRetries: -1, Code: "a\nb", Aggregates: []cqrs.Aggregate{{Name: "own", Tables: []cqrs.AnyTable{nil}}},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"Commands[0] is nil", `command type "counter/add" is registered twice`, "Events[0] is nil", "unseen: field name is not exported",
		`event type "counter/added" is registered twice`, "Tables[0] is nil", "table counters is named twice", "table bad",
		"Tables[4] is nil", "Shards is -1", "Batch is -1", "MaxCommand is -1", "MaxInFlight is -1", "KeepFor is -1ns", "MaxRetries is -1",
		"Code: its text has a control character", `Aggregates[0] ("own"): Aggregator is nil`, "Aggregates[0]: Tables[0] is nil"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
	if _, err := cqrs.Open(t.TempDir(), cqrs.Config{Plan: &plan}); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("plan: %v", err)
	}
}

func TestZeroConfigWorks(t *testing.T) {
	rt, err := cqrs.Open(t.TempDir(), cqrs.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestShards(t *testing.T) {
	dir, cfg := t.TempDir(), counterConfig()
	cfg.Shards = 4
	rt, _, stop := start(t, dir, cfg)
	used := map[int]int{}
	for i := range 40 {
		key := fmt.Sprint("key", i)
		out := mustDo(t, rt, add{Name: key, By: i}, cqrs.WithKey(key))
		if out.Shard != rt.ShardOf(key) {
			t.Errorf("%s went to shard %d", key, out.Shard)
		}
		if got := value(t, rt.Shard(out.Shard).View(), key); got != i {
			t.Errorf("%s is %d", key, got)
		}
		used[out.Shard]++
	}
	if len(used) != 4 {
		t.Errorf("used %v", used)
	}
	n := 0
	for _, err := range rt.Events(t.Context(), store.Query{Type: "counter/added"}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 40 {
		t.Errorf("%d events", n)
	}
	stop()
	if _, err := cqrs.Open(dir, counterConfig()); err == nil || !strings.Contains(err.Error(), "was made with Shards 4") {
		t.Errorf("opened with another number of shards: %v", err)
	}
}

func TestLockedFolder(t *testing.T) {
	dir := t.TempDir()
	start(t, dir, counterConfig())
	began := time.Now()
	_, err := cqrs.Open(dir, counterConfig())
	if !errors.Is(err, cqrs.ErrLocked) || !strings.Contains(err.Error(), dir) || time.Since(began) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

func TestDamagedFile(t *testing.T) {
	dir := t.TempDir()
	rt, _, stop := start(t, dir, counterConfig())
	mustDo(t, rt, add{Name: "a", By: 1})
	stop()
	path := filepath.Join(dir, "shard-0.db")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 100, 5000, len(whole) / 2} {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if rt, err := cqrs.Open(dir, counterConfig()); err == nil {
			rt.Close()
			if n < len(whole)/2 {
				t.Errorf("opened a file of %d bytes", n)
			}
		} else if !strings.Contains(err.Error(), path) {
			t.Errorf("the error does not name the file: %v", err)
		}
	}
}

func TestEqualLogsHaveEqualDigests(t *testing.T) {
	var digests []cqrs.Digest
	for range 2 {
		cfg := counterConfig()
		cfg.Now = func() time.Time { return time.UnixMilli(1000) }
		n := byte(0)
		cfg.NewID = func() (uuid.UUID, error) { n++; return uuid.UUID{15: n}, nil }
		rt, _, stop := start(t, t.TempDir(), cfg)
		for i := range 20 {
			_, _ = do(t, rt, add{Name: "a", By: i, Mode: []string{"", "reject", "random", "panic"}[i%4]})
		}
		d, at := rt.Shard(0).Digest()
		if at != 10 {
			t.Errorf("t is %d", at)
		}
		digests = append(digests, d)
		stop()
	}
	if digests[0] != digests[1] || digests[0] == (cqrs.Digest{}) {
		t.Errorf("%x", digests)
	}
}

// An output of the program's own sees every commit, in order, at least once: also when it fails, and also when the process ends between
// the commit and its flush.
type audit struct {
	mu   sync.Mutex
	seen []uint64
	fail int // so many flushes fail
}

func (a *audit) Flush(_ context.Context, segs []workflow.Segment) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(segs) > 0 && a.fail > 0 {
		a.fail--
		return errors.New("the audit is down")
	}
	for _, s := range segs {
		a.seen = append(a.seen, s.(*cqrs.Commit).T)
	}
	return nil
}

func (a *audit) all() []uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.seen)
}

func TestOutputOfTheProgramsOwn(t *testing.T) {
	dir, a := t.TempDir(), &audit{fail: 3}
	cfg := counterConfig()
	plan := cqrs.DefaultPlan()
	plan.Workflow = append(plan.Workflow, workflow.Edge{From: "event/store", To: "audit"})
	plan.Catalog["audit"] = workflow.Task{Kind: workflow.Output, Out: a}
	cfg.Plan = &plan
	rt, _, stop := start(t, dir, cfg)
	for i := range 5 {
		mustDo(t, rt, add{Name: "a", By: i})
	}
	for ctx := patience(t); len(slices.Compact(a.all())) < 5; {
		mustDeadline(t, ctx)
	}
	if got := slices.Compact(a.all()); !slices.Equal(got, []uint64{1, 2, 3, 4, 5}) {
		t.Errorf("the audit saw %v", got)
	}
	if got := value(t, rt.View(), "a"); got != 10 {
		t.Errorf("value %d", got)
	}
	stop()

	a.fail = 1 << 30
	rt, _, stop = start(t, dir, cfg)
	mustDo(t, rt, add{Name: "a", By: 1})
	stop()
	a.fail, a.seen = 0, nil
	_, _, _ = start(t, dir, cfg)
	for ctx := patience(t); !slices.Contains(a.all(), 6); {
		mustDeadline(t, ctx)
	}
}

// addedOtherwise is added as a later version of the program has it, which can't read what was stored.
type addedOtherwise struct{ Name int }

func (addedOtherwise) EventType() string { return "counter/added" }

func TestOutputOfTheProgramsOwnSeesWhatCantBeDecoded(t *testing.T) {
	dir, a := t.TempDir(), &audit{fail: 1 << 30}
	cfg, plan := counterConfig(), cqrs.DefaultPlan()
	plan.Workflow = append(plan.Workflow, workflow.Edge{From: "event/store", To: "audit"})
	plan.Catalog["audit"] = workflow.Task{Kind: workflow.Output, Out: a}
	cfg.Plan = &plan
	rt, _, stop := start(t, dir, cfg)
	mustDo(t, rt, add{Name: "a", By: 1})
	stop()
	a.fail, cfg.Events = 0, []cqrs.Event{addedOtherwise{}}
	rt, _, _ = start(t, dir, cfg)
	for ctx := patience(t); !slices.Contains(a.all(), 1); {
		mustDeadline(t, ctx)
	}
	mustDo(t, rt, add{Name: "a", Mode: "nothing"})
}

func TestConcurrentSenders(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	ctx := patience(t)
	var wg sync.WaitGroup
	for g := range 32 {
		wg.Go(func() {
			for range 25 {
				r, err := rt.Send(ctx, add{Name: fmt.Sprint(g % 4), By: 1})
				if err != nil {
					t.Error(err)
					return
				}
				out, err := r.Wait(ctx)
				if err != nil || value(t, rt.AsOf(out.T), fmt.Sprint(g%4)) <= value(t, rt.AsOf(out.T-1), fmt.Sprint(g%4)) {
					t.Errorf("%+v %v", out, err)
				}
			}
		})
	}
	wg.Wait()
	for g := range 4 {
		if got := value(t, rt.View(), fmt.Sprint(g)); got != 200 {
			t.Errorf("counter %d is %d", g, got)
		}
	}
}
