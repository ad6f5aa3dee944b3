package bolt

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"go.etcd.io/bbolt"

	"github.com/cqrs-server/cqrs/internal/fail"
	"github.com/cqrs-server/cqrs/queue"
)

// Append implements queue.Queue. All messages are added, or none.
func (q *Queue) Append(ctx context.Context, topic string, shard int, msgs []queue.Message) error {
	p := partition{topic, shard}
	if err := q.ready(ctx, p); err != nil {
		return err
	}
	if err := q.checkSizes(p, msgs); err != nil || len(msgs) == 0 {
		return err
	}
	a := newAppending(msgs) // here, and not while others wait for the transaction
	fail.At("append", topic)
	err := q.files[p.shard].UpdateTogether(ctx, q.appender(p), a)
	fail.At("appended", topic)
	if err == nil {
		number(msgs, a.first)
		a.giveBack()
	}
	return q.explain("append to", p, err)
}

// appender writes the messages of all who wait with Append for one partition.
type appender struct {
	q *Queue
	p partition
}

// appending is what one Append brings.
type appending struct {
	encoded [][]byte
	first   int64
	one     [1][]byte // room for encoded, which is mostly one message
	room    []byte    // and for that
}

// appendings are used again when nobody holds them any more.
var appendings = sync.Pool{New: func() any { return new(appending) }}

const maxRoom = 64 << 10 // bytes that are worth keeping

// giveBack is for what was written: after an error a transaction may still hold it.
func (a *appending) giveBack() {
	if cap(a.room) > maxRoom {
		a.room = nil
	}
	*a = appending{room: a.room}
	appendings.Put(a)
}

func newAppending(msgs []queue.Message) *appending {
	a := appendings.Get().(*appending)
	if len(msgs) > 1 {
		a.encoded = encodeAll(msgs)
		return a
	}
	a.room = appendMessage(a.room[:0], &msgs[0])
	a.one[0] = a.room
	a.encoded = a.one[:]
	return a
}

func (q *Queue) appender(p partition) *appender {
	a, ok := q.appenders.Load(p)
	if !ok {
		a, _ = q.appenders.LoadOrStore(p, &appender{q, p})
	}
	return a.(*appender)
}

// Run implements boltfile.Together.
func (a *appender) Run(tx *bbolt.Tx, items []any) error {
	all := items[0].(*appending).encoded
	if len(items) > 1 {
		all = nil
		for _, item := range items {
			all = append(all, item.(*appending).encoded...)
		}
	}
	first, err := a.q.appendTx(tx, a.p, all)
	for _, item := range items {
		call := item.(*appending)
		call.first = first
		first += int64(len(call.encoded))
	}
	return err
}

// Read implements queue.Queue. It gives about 8 MiB at most, or one message that is larger.
func (q *Queue) Read(ctx context.Context, topic string, shard int, from int64, max int) ([]queue.Message, error) {
	p := partition{topic, shard}
	if max < 1 {
		return nil, fmt.Errorf("queue: read %q shard %d: at most %d messages were asked for, and the least is 1", topic, shard, max)
	}
	for {
		if err := q.ready(ctx, p); err != nil {
			return nil, err
		}
		changed := q.wakes.next(p) // before the look, so that nothing falls in between
		msgs, err := q.readNow(p, span{from, max, readLimit})
		if err != nil || len(msgs) > 0 {
			return msgs, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
		case <-q.done:
		}
	}
}

func (q *Queue) readNow(p partition, s span) (msgs []queue.Message, err error) {
	err = q.files[p.shard].View(func(tx *bbolt.Tx) error {
		return q.scan(tx, p, s, func(offset int64, value []byte) error {
			m, err := decode(bytes.Clone(value))
			if err != nil {
				return err
			}
			m.Offset = offset
			msgs = append(msgs, m)
			return nil
		})
	})
	if err != nil {
		return nil, q.explain("read", p, err)
	}
	return msgs, nil
}

// Bounds implements queue.Queue. A topic that was never appended to has 0 and 0.
func (q *Queue) Bounds(ctx context.Context, topic string, shard int) (start, end int64, err error) {
	p := partition{topic, shard}
	err = q.view(ctx, "read bounds of", p, func(tx *bbolt.Tx) error {
		start, end = bounds(tx, p)
		return nil
	})
	return start, end, err
}

// Commit implements queue.Queue.
func (q *Queue) Commit(ctx context.Context, topic string, shard int, next int64) error {
	p := partition{topic, shard}
	if err := q.ready(ctx, p); err != nil {
		return err
	}
	return q.update(ctx, "commit", p, func(tx *bbolt.Tx) error { return commitTx(tx, p, next) })
}

// Committed implements queue.Queue.
func (q *Queue) Committed(ctx context.Context, topic string, shard int) (next int64, err error) {
	p := partition{topic, shard}
	err = q.view(ctx, "read position of", p, func(tx *bbolt.Tx) error {
		next = committed(tx, p)
		return nil
	})
	return next, err
}

// Trim implements queue.Trimmer.
func (q *Queue) Trim(ctx context.Context, topic string, shard int, before int64, max int) (int, error) {
	p := partition{topic, shard}
	if err := q.ready(ctx, p); err != nil {
		return 0, err
	}
	var dropped int // no named result: after ErrUnknown the transaction may still write it
	err := q.update(ctx, "trim", p, func(tx *bbolt.Tx) (err error) {
		dropped, err = trimTx(tx, p, before, max)
		return err
	})
	if err != nil {
		return 0, err
	}
	return dropped, nil
}

func (q *Queue) update(ctx context.Context, doing string, p partition, fn func(*bbolt.Tx) error) error {
	return q.explain(doing, p, q.files[p.shard].Update(ctx, fn))
}

func (q *Queue) view(ctx context.Context, doing string, p partition, fn func(*bbolt.Tx) error) error {
	if err := q.ready(ctx, p); err != nil {
		return err
	}
	return q.explain(doing, p, q.files[p.shard].View(fn))
}
