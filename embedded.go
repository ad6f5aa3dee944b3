package cqrs

import (
	"context"
	"fmt"
	"time"

	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/store"
	"github.com/cqrs-server/cqrs/workflow"

	boltqueue "github.com/cqrs-server/cqrs/queue/bolt"
	boltstore "github.com/cqrs-server/cqrs/store/bolt"
)

// The tasks of the default workflow on one file: the command queue, the log, the store, the aggregate and the feedback
// queue of a shard share the batch's transaction, so a batch costs one commit. The log and the store's log order are then the same
// thing, and the commits are written once, by event/store. (When a plan has no event/store of ours, they are written to the
// event queue.)

const topicEvents = "events"

type embedded struct {
	tasks
	queue *boltqueue.Queue
	store *boltstore.Store

	logInQueue bool  // no event/store keeps the log
	trimmedAt  int64 // milliseconds, when retention was last looked at
}

// bind fills in the tasks that the plan leaves open.
func bind(s *Shard, plan workflow.Plan) workflow.Plan {
	e := &embedded{queue: s.rt.embedded, store: s.rt.store.(*boltstore.Store)}
	e.tasks = tasks{shard: s, batch: &s.batch, types: s.rt.types}
	catalog := workflow.Catalog{}
	for name, task := range plan.Catalog {
		catalog[name] = e.fill(name, task)
	}
	plan.Catalog = catalog
	_, ours := catalog[eventStore].Out.(*storeSink)
	e.logInQueue = !ours
	s.foreign = hasForeign(catalog)
	return plan
}

func (e *embedded) fill(name string, t workflow.Task) workflow.Task {
	if t.Fn != nil || t.In != nil || t.Out != nil {
		return t
	}
	t.Medium = "bolt"
	switch name {
	case commandIn:
		t.In, t.Fn = &commandSource{embedded: e}, withOrigin(e.take)
		t.Batch = e.shard.rt.cfg.Batch
	case eventIn:
		t.In, t.Fn = &logSource{embedded: e}, e.accept
	case commandCoerce:
		t.Fn, t.Medium = withOrigin(e.coerce), ""
	case commandProcess:
		t.Fn, t.Medium = withOrigin(e.process), ""
	case eventAggregator:
		t.Fn = e.aggregate
	case eventOut:
		t.Out = &logSink{e}
	case eventStore:
		t.Out = &storeSink{embedded: e}
	case commandFeedback:
		t.Out = &feedbackSink{embedded: e}
	case cqrsError:
		t.Out = &errorSink{embedded: e}
	}
	return t
}

// withOrigin has the errors that a task gives know the command that they are about: its id may not tell.
func withOrigin(fn workflow.Fn) workflow.Fn {
	return func(ctx context.Context, p workflow.Params, s workflow.Segment) ([]workflow.Segment, error) {
		out, err := fn(ctx, p, s)
		c, ok := s.(*command)
		for i := 0; ok && i < len(out); i++ {
			if e, isError := out[i].(*Error); isError {
				known := *e // it may be the program's own
				known.origin = c
				out[i] = &known
			}
		}
		return out, err
	}
}

func hasForeign(catalog workflow.Catalog) bool {
	for _, t := range catalog {
		switch t.Out.(type) {
		case nil, *logSink, *storeSink, *feedbackSink, *errorSink:
		default:
			return true
		}
	}
	return false
}

// messageBuffer is used again from batch to batch.
type messageBuffer []queue.Message

// commandSource reads the command queue inside the batch's transaction.
type commandSource struct {
	*embedded
	segs []workflow.Segment
}

func (q *commandSource) Poll(_ context.Context, most int) ([]workflow.Segment, error) {
	b := q.batch
	b.messages = b.messages[:0]
	if b.behind {
		return nil, nil
	}
	from, err := q.queue.CommittedTx(b.tx.Tx, topicCommands, q.shard.n)
	if err != nil {
		return nil, err
	}
	b.messages, err = q.queue.ReadTx(b.tx.Tx, topicCommands, q.shard.n, from, most, b.messages[:0])
	if err != nil {
		return nil, err
	}
	b.messages = upTo(b.messages, batchBytes)
	b.commands = make([]command, len(b.messages))
	q.segs = q.segs[:0]
	for i := range b.messages {
		b.commands[i].message = b.messages[i]
		q.segs = append(q.segs, &b.commands[i])
	}
	return q.segs, nil
}

// batchBytes is about how much a batch takes of the queue. What is decided and folded of it is held in memory, several times over.
const batchBytes = 8 << 20

// upTo gives the first messages, with so many bytes together, and one at least.
func upTo(msgs []queue.Message, limit int) []queue.Message {
	for i := range msgs {
		if limit -= msgs[i].Size(); limit < 0 {
			return msgs[:max(i, 1)]
		}
	}
	return msgs
}

func (q *commandSource) PrepareAck(_ context.Context, n int) error {
	if n == 0 {
		return nil
	}
	b := q.batch
	b.used = true
	next := b.messages[n-1].Offset + 1
	if err := q.queue.CommitTx(b.tx.Tx, topicCommands, q.shard.n, next); err != nil {
		return err
	}
	return q.trim(next)
}

func (q *commandSource) Ack(context.Context, int) error { return nil }
func (q *commandSource) Rewind()                        {}

const (
	trimEvery = time.Minute
	trimStep  = 10_000 // messages at a time, so that no batch is held up
)

// trim lets go of old commands and feedback, in small steps beside the work.
func (e *embedded) trim(handled int64) error {
	now := e.shard.rt.cfg.Now().UnixMilli()
	if e.shard.rt.cfg.Retention < 0 || now-e.trimmedAt < trimEvery.Milliseconds() {
		return nil
	}
	oldest := now - e.shard.rt.cfg.Retention.Milliseconds()
	more1, err := e.trimTopic(topicCommands, oldest, handled)
	if err != nil {
		return err
	}
	more2, err := e.trimTopic(topicFeedback, oldest, -1)
	if !more1 && !more2 {
		e.trimmedAt = now
	}
	return err
}

// trimTopic drops messages older than oldest and below the offset limit (-1: none).
func (e *embedded) trimTopic(topic string, oldest, limit int64) (more bool, err error) {
	tx := e.batch.tx.Tx
	start, end, err := e.queue.BoundsTx(tx, topic, e.shard.n)
	if err != nil || start == end {
		return false, err
	}
	if limit < 0 {
		limit = end
	}
	limit = min(limit, start+trimStep)
	for before := start; ; {
		got, err := e.queue.ReadTx(tx, topic, e.shard.n, before, 1000, nil)
		if err != nil {
			return false, err
		}
		n := 0
		for n < len(got) && got[n].Offset < limit && got[n].Time < oldest {
			n++
		}
		before += int64(n)
		if n < len(got) || n == 0 {
			_, err := e.queue.TrimTx(tx, topic, e.shard.n, before, trimStep)
			return before == limit && limit == start+trimStep, err
		}
	}
}

// logSource gives outputs outside the file what they missed when the process died, or when they failed.
type logSource struct{ *embedded }

func (l *logSource) Poll(ctx context.Context, most int) (segs []workflow.Segment, err error) {
	if !l.batch.behind {
		return nil, nil
	}
	for r, err := range l.store.Log(ctx, l.shard.n, l.shard.delivered+1) {
		if err != nil {
			return nil, err
		}
		c := &Commit{Record: r}
		l.types.decodeStored(c)
		l.batch.deliver = r.T
		if segs = append(segs, c); len(segs) == most {
			break
		}
	}
	return segs, nil
}

func (l *logSource) PrepareAck(context.Context, int) error { return nil }
func (l *logSource) Ack(context.Context, int) error        { return nil }
func (l *logSource) Rewind()                               {}

// logSink is event/out-queue. Its flush commits the batch: what flushes after it is durable.
type logSink struct{ *embedded }

func (l *logSink) Prepare(_ context.Context, segs []workflow.Segment) error {
	if !l.logInQueue {
		return nil
	}
	var msgs []queue.Message
	for _, s := range segs {
		if c, ok := s.(*Commit); ok && c.bytes != nil && c.T > 0 {
			msgs = append(msgs, queue.Message{Value: c.bytes, Time: c.Time})
		}
	}
	return l.queue.AppendTx(l.batch.tx.Tx, topicEvents, l.shard.n, msgs)
}

func (l *logSink) Flush(context.Context, []workflow.Segment) error {
	return l.batch.commit()
}

// storeSink is event/store.
type storeSink struct {
	*embedded
	records []store.Record
}

func (k *storeSink) Prepare(_ context.Context, segs []workflow.Segment) error {
	k.records = k.records[:0]
	for _, s := range segs {
		if c, ok := s.(*Commit); ok && c.bytes != nil {
			k.records = append(k.records, c.Record)
		}
	}
	if len(k.records) == 0 {
		return nil
	}
	defer clear(k.records)
	return k.store.PutTx(k.batch.tx.Tx, k.records, true)
}

func (k *storeSink) Flush(context.Context, []workflow.Segment) error { return nil }

// feedbackSink is command/feedback.
type feedbackSink struct {
	*embedded
	msgs []queue.Message
}

func (f *feedbackSink) Prepare(_ context.Context, segs []workflow.Segment) error {
	f.msgs = f.msgs[:0]
	now := f.shard.rt.cfg.Now().UnixMilli()
	for _, s := range segs {
		fb, ok := feedbackOf(s)
		if !ok {
			continue
		}
		if fb.Err != nil {
			f.batch.done = append(f.batch.done, ended{err: fb.Err})
		}
		f.msgs = append(f.msgs, queue.Message{Time: now, Value: fb.append(f.batch.rows.arena.take(64))})
	}
	if len(f.msgs) == 0 {
		return nil
	}
	f.batch.used = true
	return f.queue.AppendTx(f.batch.tx.Tx, topicFeedback, f.shard.n, f.msgs)
}

func (f *feedbackSink) Flush(context.Context, []workflow.Segment) error { return nil }

// errorSink is cqrs/error: the dead letters.
type errorSink struct{ *embedded }

func (k *errorSink) Prepare(_ context.Context, segs []workflow.Segment) error {
	for _, s := range segs {
		e, ok := s.(*Error)
		if !ok {
			e = devError(tagWorkflow, fmt.Errorf("a %T came to %s", s, cqrsError))
		}
		if err := k.bury(e); err != nil {
			return err
		}
	}
	return nil
}

func (k *errorSink) Flush(context.Context, []workflow.Segment) error { return nil }

const letterRoom = 1 << 10 // between a letter and the queue's limit

// bury keeps a dead letter, and tells the sender when it is the end of the command.
func (k *errorSink) bury(e *Error) error {
	k.batch.used = true
	now := k.shard.rt.cfg.Now().UnixMilli()
	letter := []queue.Message{{Time: now, Value: encodeLetter(e, k.queue.Limit()-letterRoom)}}
	if err := k.queue.AppendTx(k.batch.tx.Tx, topicDead, k.shard.n, letter); err != nil || e.fold != nil {
		return err
	}
	k.batch.done = append(k.batch.done, ended{err: e})
	notice := Feedback{Command: e.Command, Err: e}
	return k.queue.AppendTx(k.batch.tx.Tx, topicFeedback, k.shard.n, []queue.Message{{Time: now, Value: notice.append(nil)}})
}
