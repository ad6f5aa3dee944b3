package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/IBM/sarama"

	"github.com/cqrs-server/cqrs/queue"
)

const (
	readLimit = 8 << 20 // bytes that one Read gives, unless a single message is larger
	mostIdle  = 4       // cursors of a partition that wait to be used again
)

// Read implements queue.Queue. It gives about 8 MiB at most, or one message that is larger. A partition is read ahead: the
// Read that follows on the last one finds messages waiting, unless it was for a single message. When the brokers can't be reached for longer than the option
// Timeout says, Read fails.
func (q *Queue) Read(ctx context.Context, topic string, shard int, from int64, max int) ([]queue.Message, error) {
	p := partition{topic, shard}
	if max < 1 {
		return nil, fmt.Errorf("queue: read %q shard %d: at most %d messages were asked for, and the least is 1", topic, shard, max)
	}
	if err := q.find(ctx, p); err != nil {
		return nil, err
	}
	if from < 0 {
		return nil, q.outOfRange(ctx, p, from)
	}
	within, cancel := q.whileOpen(ctx)
	defer cancel()
	for wait := newPatience(q.timeout); ; {
		began := time.Now()
		msgs, err := q.readOnce(within, p, from, max)
		switch {
		case err == nil:
			return msgs, nil
		case within.Err() != nil:
			return nil, context.Cause(within)
		case !errors.Is(err, sarama.ErrOffsetOutOfRange):
			return nil, q.explain("read", p, err)
		}
		if err := q.outOfRange(ctx, p, from); err != nil {
			return nil, err
		}
		if err := wait.next(within, began, err); err != nil { // it is back in range: the leader has changed
			return nil, q.explain("read", p, err)
		}
	}
}

func (q *Queue) readOnce(ctx context.Context, p partition, from int64, max int) ([]queue.Message, error) {
	c := q.cursorAt(p, from)
	defer q.putBack(c)
	return c.read(ctx, max)
}

// outOfRange gives the error of reading an offset that is not there.
func (q *Queue) outOfRange(ctx context.Context, p partition, from int64) error {
	start, end, err := q.Bounds(ctx, p.topic, p.shard)
	if err != nil || start <= from && from <= end {
		return err
	}
	out := &queue.RangeError{Topic: p.topic, Shard: p.shard, Want: from, Start: start, End: end}
	if _, err := q.same(ctx, p.topic); errors.Is(err, queue.ErrOtherTopic) {
		return fmt.Errorf("%w: %w", out, err)
	}
	return out
}

// cursorAt gives a cursor that nobody else uses: one that is at the offset, if there is one.
func (q *Queue) cursorAt(p partition, from int64) *cursor {
	q.mu.Lock()
	defer q.mu.Unlock()
	idle := q.idle[p]
	if i := slices.IndexFunc(idle, func(c *cursor) bool { return c.at == from }); i >= 0 {
		c := idle[i]
		q.idle[p] = slices.Delete(idle, i, i+1)
		c.freshen()
		return c
	}
	if i := slices.IndexFunc(idle, func(c *cursor) bool { return c.pending == nil && c.link != nil }); i >= 0 {
		c := idle[i] // nothing is on its way to it: its connection can be used for another place
		q.idle[p] = slices.Delete(idle, i, i+1)
		c.at, c.next, c.buffer = from, from, nil
		return c
	}
	return &cursor{queue: q, partition: p, at: from, next: from}
}

// putBack keeps a cursor for the next Read, and closes the one that was not used for the longest time when there are too
// many.
func (q *Queue) putBack(c *cursor) {
	c.used = time.Now()
	if extra := q.keep(c); extra != nil && q.spawn(extra.close) != nil {
		extra.close()
	}
}

// keep gives a cursor that is not kept, if there is one.
func (q *Queue) keep(c *cursor) (extra *cursor) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return c
	}
	idle := append(q.idle[c.partition], c)
	if len(idle) > mostIdle {
		extra = idle[0]
		idle = slices.Delete(idle, 0, 1)
	}
	q.idle[c.partition] = idle
	return extra
}
