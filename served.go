package cqrs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cqrs-server/cqrs/internal/mutant"
	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/store"
	"github.com/cqrs-server/cqrs/workflow"

	boltstore "github.com/cqrs-server/cqrs/store/bolt"
)

// The tasks of the default workflow on a queue, a store, or both, of their own. The owner of a shard holds one write transaction on
// its aggregate for a batch: it decides each command and folds its events, appends the commits to the event queue, and when their
// offsets follow directly on the last one that it had read (so nobody else wrote), puts them into the store, commits the
// transaction, and tells the senders. When anything of that fails the batch is rolled back, and the shard reads its log again
// like any replica, from where everything was brought to its end.

type served struct {
	tasks
	queue queue.Queue
	poll  queue.Poller
	store store.Store      // nil: the archive is in the shard's file
	local *boltstore.Store // that archive

	letters []queue.Message // of this batch, for the dead letters
	told    memory          // of this batch, for the feedback queue
	source  string          // of CloudEvents

	behind  bool   // the log must be read before commands are taken
	reading int64  // where it is read on
	settled int64  // below this offset of the log everything is stored and told
	handled int64  // below this offset of the commands everything has ended
	stored  uint64 // the t up to which the store was when this process took the shard

	reached offsets // as settled and handled, while feedback is on its way
	telling telling

	sight       sight
	command     place // a command that was handled a while ago
	lastCommand place // the last one that was
	strayed     error // why the work on the shard has ended

	heard heardBefore
	saved offsets   // what the queue was told of settled and handled
	when  time.Time // when it was

	trimmed time.Time // when the queue was last rid of what is old
}

// offsets are how far the work on a shard has come.
type offsets struct{ settled, handled int64 }

func newServed(s *Shard, q queue.Queue, st store.Store) *served {
	v := &served{queue: q, poll: pollerOf(q), store: st, source: sourceOf(s.n)}
	v.tasks = tasks{shard: s, batch: &s.batch, types: s.rt.types, logged: true, room: logRoom}
	if st == nil {
		v.local = boltstore.On(s.rt.files[:s.rt.cfg.Shards]...)
	}
	s.batch.extra = v.save
	return v
}

// logRoom is what a commit leaves of the queue's limit for the attributes that its events have in the feedback queue.
const logRoom = 4 << 10

// bind fills in the tasks that the plan leaves open.
func (v *served) bind(plan workflow.Plan) (workflow.Plan, error) {
	catalog := workflow.Catalog{}
	for name, task := range plan.Catalog {
		catalog[name] = v.fill(name, task)
	}
	plan.Catalog = catalog
	_, ours := catalog[eventOut].Out.(*servedLog)
	if _, reads := catalog[eventIn].In.(*servedEntries); !ours || !reads {
		return plan, fmt.Errorf("Plan: %s and %s must be left to the library where Config.Queue or Config.Store is given: "+
			"what is accepted is decided there", eventOut, eventIn)
	}
	return plan, nil
}

func (v *served) fill(name string, t workflow.Task) workflow.Task {
	if t.Fn != nil || t.In != nil || t.Out != nil {
		return t
	}
	t.Medium = "queue"
	switch name {
	case commandIn:
		t.In, t.Fn, t.Batch = &servedCommands{served: v}, withOrigin(v.take), v.shard.rt.cfg.Batch
	case eventIn:
		t.In, t.Fn, t.Batch = &servedEntries{served: v}, v.acceptEntry, v.shard.rt.cfg.Batch
	case commandCoerce:
		t.Fn, t.Medium = withOrigin(v.coerce), ""
	case commandProcess:
		t.Fn, t.Medium = withOrigin(v.process), ""
	case eventAggregator:
		t.Fn, t.Medium, t.After = v.aggregateAgain, "bolt", v.settle
	case eventOut:
		t.Out = &servedLog{v}
	case eventStore:
		t.Out, t.Medium = &servedStore{served: v}, "store"
	case commandFeedback:
		t.Out = &servedFeedback{v}
	case cqrsError:
		t.Out = &servedErrors{v}
	}
	return t
}

// begin starts a batch.
func (v *served) begin(ctx context.Context) error {
	if err := v.batch.begin(ctx); err != nil {
		return err
	}
	v.batch.behind = v.behind
	v.letters, v.batch.buried = v.letters[:0], v.batch.buried[:0]
	v.told.reset()
	return nil
}

// settle keeps the batch's dead letters, and then commits it.
func (v *served) settle(ctx context.Context) error {
	if err := v.flushLetters(ctx); err != nil {
		return err
	}
	if mutant.Is("settled too early") {
		v.settled, v.reached.settled = v.batch.pos.offset, v.batch.pos.offset
	}
	return v.batch.commit()
}

func (v *served) flushLetters(ctx context.Context) error {
	if mutant.Is("dead letter lost") {
		v.letters = v.letters[:0]
	}
	err := v.appendTo(ctx, topicDead, v.letters)
	if err == nil {
		v.letters = v.letters[:0]
	}
	return err
}

// finish is called when all outputs have been flushed.
func (v *served) finish(context.Context) error {
	if err := v.batch.commit(); err != nil {
		return err
	}
	if !v.behind {
		v.reached.settled = v.shard.agg().position().offset
		v.reach()
	}
	return nil
}

func (v *served) rollback() {
	_ = v.arrive(0) // what has not arrived comes again in any case
	v.batch.rollback()
	clear(v.batch.buried)
	v.batch.buried = v.batch.buried[:0]
	v.fallBehind()
}

// fallBehind has the log read again from where everything is settled and applied.
func (v *served) fallBehind() {
	v.behind, v.reading = true, min(v.settled, v.shard.agg().position().offset)
	if mutant.Is("owner reads from where others settled") {
		v.reading = v.settled
	}
}

// servedEntries reads the log, when the shard is behind it.
type servedEntries struct {
	*served
	segs []workflow.Segment
}

func (l *servedEntries) Poll(ctx context.Context, most int) ([]workflow.Segment, error) {
	l.segs = l.segs[:0]
	if !l.behind {
		return nil, nil
	}
	msgs, err := l.shard.readLog(ctx, l.reading, most)
	if err == nil {
		err = l.shard.sameLog(ctx)
		if mutant.Is("owner does not look at what it follows") {
			err = nil
		}
	}
	if err != nil {
		return nil, err
	}
	if len(msgs) == 0 {
		l.behind, l.batch.behind = false, false
		return nil, l.batch.endRebuilt()
	}
	for i := range msgs {
		e := readEntry(&msgs[i])
		l.segs = append(l.segs, &e)
		l.reading = e.offset + 1
	}
	return l.segs, nil
}

func (l *servedEntries) Ack(_ context.Context, n int) error {
	if n > 0 {
		l.reached.settled = max(l.reached.settled, l.segs[n-1].(*entry).offset+1)
		l.reach()
	}
	return nil
}

func (l *servedEntries) Rewind() { l.fallBehind() }

// acceptEntry is event/in-queue: what was decided here is appended, and what was read is judged by the rule of acceptance.
func (v *served) acceptEntry(ctx context.Context, p workflow.Params, s workflow.Segment) ([]workflow.Segment, error) {
	e, ok := s.(*entry)
	if !ok {
		return v.accept(ctx, p, s)
	}
	c, err := v.shard.admitEntry(e)
	if err != nil {
		return nil, Retry(err)
	}
	if c == nil {
		return nil, nil
	}
	return v.one(c)
}

// aggregateAgain is event/aggregator. A commit that was folded before, and may not have been told of, is not folded again: only the
// failures of its folds come again.
func (v *served) aggregateAgain(ctx context.Context, p workflow.Params, s workflow.Segment) ([]workflow.Segment, error) {
	c, ok := s.(*Commit)
	if !ok || c.Repeat || c.T > v.batch.savedPos.t {
		return v.aggregate(ctx, p, s)
	}
	out := []workflow.Segment{c}
	for i := range c.Events {
		if why := v.batch.failedBefore(c.T, i); why != "" {
			out = append(out, foldError(c, failedFoldOf(c, i), errors.New(why)))
		}
	}
	return out, nil
}

// servedLog is event/out-queue.
type servedLog struct{ *served }

// errInterleaved says that somebody else wrote to the log between this process's messages.
var errInterleaved = errors.New("somebody else has written to the log: it is read again, and what was not accepted is decided again")

func (l *servedLog) Flush(ctx context.Context, _ []workflow.Segment) error {
	if err := l.arrive(tellings - 1); err != nil {
		return err
	}
	b := l.batch
	if mutant.Is("feedback before the commit") {
		_ = l.appendTo(ctx, topicFeedback, l.told.msgs)
	}
	if len(b.log) == 0 {
		return l.fence(ctx)
	}
	if mutant.Is("batch published in part") {
		b.log = b.log[:1]
		b.pos.offset = b.found.offset + 1
	}
	if err := l.queue.Append(ctx, topicEvents, l.shard.n, b.log); err != nil {
		if !mutant.Is("append timeout taken for success") || !errors.Is(err, queue.ErrUnknown) {
			return fmt.Errorf("append to the log: %w", l.shard.logError(err))
		}
	}
	for i := range b.log {
		if b.log[i].Offset != b.pos.offset-int64(len(b.log)-i) && !mutant.Is("contiguity unchecked") && !mutant.Is("append timeout taken for success") {
			return errInterleaved
		}
	}
	b.pos.anchor = anchorOf(b.log[len(b.log)-1].Value)
	return nil
}

// fence makes sure that nobody has written to the log, when a batch without a message for it tells errors that depend on the value.
func (l *servedLog) fence(ctx context.Context) error {
	if len(l.letters) == 0 && !l.batch.fenced || mutant.Is("fence left out") {
		return nil
	}
	_, end, err := l.queue.Bounds(ctx, topicEvents, l.shard.n)
	if err == nil && end != l.batch.pos.offset && !l.behind {
		err = errInterleaved
	}
	return err
}

// servedStore is event/store.
type servedStore struct {
	*served
	fresh, known []store.Record // decided in this batch; read from the log
}

func (k *servedStore) Prepare(_ context.Context, segs []workflow.Segment) error {
	k.fresh, k.known = k.fresh[:0], k.known[:0]
	for _, s := range segs {
		c, ok := s.(*Commit)
		switch {
		case !ok || c.bytes == nil || c.Repeat:
		case mutant.Is("store skipped after a failure") && c.command == nil:
		case c.command != nil:
			k.fresh = append(k.fresh, c.Record)
		case k.store != nil && c.T > k.stored, k.store == nil && c.T > k.batch.found.t:
			k.known = append(k.known, c.Record)
		}
	}
	if k.store == nil {
		return k.shard.archive(append(k.known, k.fresh...))
	}
	return nil
}

func (k *servedStore) Flush(ctx context.Context, _ []workflow.Segment) error {
	if k.store == nil {
		return nil
	}
	put := k.store.Put
	if quick, ok := k.store.(store.NewPutter); ok {
		put = quick.PutNew
	}
	err := k.put(ctx, k.store.Put, k.known)
	if err == nil {
		err = k.put(ctx, put, k.fresh)
	}
	clear(k.known)
	clear(k.fresh)
	return err
}

// put stores records. One whose ids stand there with other bytes goes to the dead letters: what was stored first stays.
func (k *servedStore) put(ctx context.Context, put func(context.Context, []store.Record) error, list []store.Record) error {
	if len(list) == 0 {
		return nil
	}
	if mutant.Is("unprocessed records forgotten") {
		list = list[:1]
	}
	err := put(ctx, list)
	if mutant.Is("store timeout taken for success") {
		return nil
	}
	conflict, ok := errors.AsType[*store.ConflictError](err)
	if !ok {
		return err
	}
	k.letters = append(k.letters, k.letter(devError(tagDifferent, err).of(conflict.Command)))
	return nil
}

// servedFeedback is command/feedback.
type servedFeedback struct{ *served }

func (f *servedFeedback) Prepare(_ context.Context, segs []workflow.Segment) error {
	for _, s := range segs {
		if fb, ok := feedbackOf(s); ok {
			if fb.Err != nil {
				f.batch.done = append(f.batch.done, ended{err: fb.Err})
			}
			if c, ok := s.(*Commit); ok {
				fb.Events = make([]Recorded, len(c.Events))
				for i := range c.Events {
					fb.Events[i] = c.recorded(i)
				}
			}
			f.tell(&fb)
		}
	}
	return nil
}

// tell puts feedback into the batch.
func (v *served) tell(f *Feedback) {
	f.Shard = v.shard.n
	w, now := teller{source: v.source, writer: &v.told.writer}, v.shard.rt.cfg.Now()
	told, err := w.tell(v.told.msgs, f, now)
	if err != nil { // what it says does not fit into a CloudEvent: then only that the command has ended
		v.shard.rt.cfg.Log.Warn("cqrs: feedback without its events", "command", f.Command, "error", err)
		f.Events = nil
		told, _ = w.tell(v.told.msgs, f, now)
	}
	v.told.msgs = told
}

func (f *servedFeedback) Flush(ctx context.Context, _ []workflow.Segment) error {
	if len(f.told.msgs) > 0 && !f.behind && !f.shard.rt.stepped {
		f.send()
		return nil
	}
	return f.tellNow(ctx)
}

// tellNow waits until the feedback has arrived.
func (v *served) tellNow(ctx context.Context) error {
	err := v.appendTo(ctx, topicFeedback, v.told.msgs)
	if err == nil {
		v.heardOwn(v.told.msgs)
	}
	return err
}

func (v *served) appendTo(ctx context.Context, topic string, msgs []queue.Message) error {
	if len(msgs) == 0 {
		return nil
	}
	if err := v.queue.Append(ctx, topic, v.shard.n, msgs); err != nil {
		return fmt.Errorf("append to %s: %w", topic, err)
	}
	return nil
}

// servedErrors is cqrs/error: the dead letters.
type servedErrors struct{ *served }

func (k *servedErrors) Prepare(_ context.Context, segs []workflow.Segment) error {
	for _, s := range segs {
		e, ok := s.(*Error)
		if !ok {
			e = devError(tagWorkflow, fmt.Errorf("a %T came to %s", s, cqrsError))
		}
		k.letters = append(k.letters, k.letter(e))
		if e.fold == nil {
			k.batch.buried = append(k.batch.buried, ended{err: e})
		}
	}
	return nil
}

func (v *served) letter(e *Error) queue.Message {
	return queue.Message{Time: v.shard.rt.cfg.Now().UnixMilli(), Value: encodeLetter(e, v.queue.Limit()-letterRoom)}
}

// Flush tells those whose commands ended so.
func (k *servedErrors) Flush(ctx context.Context, _ []workflow.Segment) error {
	if err := k.flushLetters(ctx); err != nil { // the plan has no event/aggregator
		return err
	}
	k.told.reset()
	for i := range k.batch.buried {
		e := k.batch.buried[i].err
		f, _ := feedbackOf(e)
		k.tell(&f)
	}
	if err := k.tellNow(ctx); err != nil {
		return err
	}
	k.shard.rt.receipts.settle(k.batch.buried)
	clear(k.batch.buried)
	k.batch.buried = k.batch.buried[:0]
	return nil
}
