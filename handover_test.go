package cqrs_test

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/internal/steps"
	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"

	boltqueue "github.com/cqrs-server/cqrs/queue/bolt"
	boltstore "github.com/cqrs-server/cqrs/store/bolt"
)

// asked counts how often a commit is looked for.
type asked struct {
	store.Store
	commits atomic.Int64
}

func (a *asked) Commit(ctx context.Context, command uuid.UUID) (store.Record, error) {
	a.commits.Add(1)
	return a.Store.Commit(ctx, command)
}

// pairOf is two processes on one queue and one store, run step by step.
type pairOf struct {
	t     *testing.T
	queue *boltqueue.Queue
	store *asked
	a, b  steps.Process
}

func newPair(t *testing.T) *pairOf {
	dir := t.TempDir()
	q, err := boltqueue.Open(filepath.Join(dir, "queue"), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	s, err := boltstore.Open(filepath.Join(dir, "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	p := &pairOf{t: t, queue: q, store: &asked{Store: s}}
	cfg := counterConfig()
	cfg.Queue, cfg.Store = q, p.store
	for name, process := range map[string]*steps.Process{"a": &p.a, "b": &p.b} {
		if *process, err = steps.Open(filepath.Join(dir, name), cfg, steps.How{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { (*process).Close() })
	}
	return p
}

func (p *pairOf) send(process steps.Process, mode string, id uuid.UUID) *cqrs.Receipt {
	p.t.Helper()
	r, err := process.Runtime().(*cqrs.Runtime).Send(p.t.Context(), add{Name: "a", By: 1, Mode: mode}, cqrs.WithID(id))
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// own has a process take up the shard.
func (p *pairOf) own(process steps.Process) steps.Owner {
	p.t.Helper()
	o, err := process.Own(p.t.Context(), 0)
	if err != nil {
		p.t.Fatal(err)
	}
	return o
}

// drain works until there is nothing to do.
func (p *pairOf) drain(o steps.Owner) {
	p.t.Helper()
	for {
		n, err := o.Step(p.t.Context())
		if err != nil {
			p.t.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
}

func (p *pairOf) follow(process steps.Process) {
	p.t.Helper()
	if n, err := process.Follow(p.t.Context(), 0); err != nil || n == 0 {
		p.t.Fatalf("%d messages of the log, %v", n, err)
	}
}

func (p *pairOf) listen(process steps.Process) {
	p.t.Helper()
	if _, err := process.Listen(p.t.Context(), 0); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pairOf) end(o steps.Owner) {
	p.t.Helper()
	if err := o.End(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}

// ended waits for a receipt that must have its end by now.
func (p *pairOf) ended(r *cqrs.Receipt) (cqrs.Outcome, error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Second)
	defer cancel()
	out, err := r.Wait(ctx)
	if ctx.Err() != nil {
		p.t.Fatalf("the end of %s is not known: %v", r.ID, err)
	}
	return out, err
}

// What another process told of this one's commands before this one took up the work, its sender hears, without a look into the store.
func TestWhoTakesUpTheWorkHearsWhatWasTold(t *testing.T) {
	p := newPair(t)
	known := uuid.Must(uuid.NewV7())
	p.send(p.b, "", known)
	o := p.own(p.b)
	p.drain(o)
	p.follow(p.a)
	p.listen(p.a)

	bad, refused, again := p.send(p.a, "error", uuid.New()), p.send(p.a, "reject", uuid.New()), p.send(p.a, "", known)
	good := p.send(p.a, "", uuid.Must(uuid.NewV7()))
	p.drain(o)
	p.end(o)
	later := p.send(p.a, "", uuid.Must(uuid.NewV7()))

	o = p.own(p.a)
	p.drain(o)
	_, err := p.ended(bad)
	wantError(t, err, cqrs.Dev, "process-command")
	_, err = p.ended(refused)
	wantError(t, err, cqrs.User, "rejected")
	for want, r := range map[uint64]*cqrs.Receipt{2: good, 3: later} {
		if out, err := p.ended(r); err != nil || out.T != want || len(out.Events) != 1 {
			t.Errorf("%+v %v, and t %d was expected", out, err, want)
		}
	}
	if n := p.store.commits.Load(); n > 0 {
		t.Errorf("the store was asked %d times", n)
	}
	if out, err := p.ended(again); err != nil || out.T != 1 || !out.Repeat {
		t.Errorf("the repetition: %+v %v", out, err)
	}
	p.end(o)
}

// What another process tells while this one still thinks that the work is its own, is heard when it has given it back.
func TestWhoGivesBackTheWorkHearsWhatOthersTold(t *testing.T) {
	p := newPair(t)
	zombie := p.own(p.a)
	p.drain(zombie)
	bad := p.send(p.a, "error", uuid.New())

	o := p.own(p.b)
	p.drain(o) // tells a's command
	p.end(o)
	other := p.send(p.b, "", uuid.Must(uuid.NewV7()))
	zombie.Look(t.Context())
	p.end(zombie)
	p.listen(p.a)
	_, err := p.ended(bad)
	wantError(t, err, cqrs.Dev, "process-command")

	o = p.own(p.a)
	p.drain(o)
	p.end(o)
	p.follow(p.b) // from the store: b's t is 0
	if out, err := p.ended(other); err != nil || out.T != 1 {
		t.Errorf("%+v %v", out, err)
	}
}

// Who takes up the work reads first what the others have settled, however far behind it is.
func TestWhoTakesUpTheWorkIsBehind(t *testing.T) {
	p := newPair(t)
	o := p.own(p.b)
	p.send(p.b, "", uuid.Must(uuid.NewV7()))
	p.drain(o)
	p.follow(p.a)
	for range 5 {
		p.send(p.b, "", uuid.Must(uuid.NewV7()))
	}
	p.drain(o)
	p.end(o)
	r := p.send(p.a, "", uuid.Must(uuid.NewV7()))
	o = p.own(p.a)
	p.drain(o)
	if out, err := p.ended(r); err != nil || out.T != 7 {
		t.Errorf("%+v %v", out, err)
	}
	p.end(o)
}

// Feedback that was cut off in the middle of a command's events keeps nobody from the work.
func TestFeedbackThatIsCutOff(t *testing.T) {
	p := newPair(t)
	o := p.own(p.b)
	if _, err := p.b.Runtime().(*cqrs.Runtime).Send(t.Context(), add{Name: "a", By: 2, Mode: "many"}); err != nil {
		t.Fatal(err)
	}
	p.drain(o)
	p.end(o)
	msgs, err := p.queue.Read(t.Context(), "feedback", 0, 0, 10)
	if err != nil || len(msgs) != 2 {
		t.Fatalf("%d messages, %v", len(msgs), err)
	}
	if err := p.queue.Append(t.Context(), "feedback", 0, msgs[:1]); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if o, err = p.a.Own(ctx, 0); err != nil {
		t.Fatal(err)
	}
	p.end(o)
}
