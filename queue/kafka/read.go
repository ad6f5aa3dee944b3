package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/IBM/sarama"

	"github.com/cqrs-server/cqrs/queue"
)

const (
	readLimit = 8 << 20 // bytes that one Read gives, unless a single message is larger
	mostIdle  = 4       // cursors of a partition that wait to be used again
)

// Read implements queue.Queue. It gives about 8 MiB at most, or one message that is larger. A partition is read ahead: the
// Read that follows on the last one finds messages waiting. When the brokers can't be reached for longer than the option
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
	c := q.cursorAt(p, from)
	msgs, err := c.read(within, max)
	q.putBack(c)
	switch {
	case err == nil:
		return msgs, nil
	case within.Err() != nil:
		return nil, context.Cause(within)
	case errors.Is(err, sarama.ErrOffsetOutOfRange):
		return nil, q.outOfRange(ctx, p, from)
	}
	return nil, q.explain("read", p, err)
}

// outOfRange gives the error of reading an offset that is not there.
func (q *Queue) outOfRange(ctx context.Context, p partition, from int64) error {
	start, end, err := q.Bounds(ctx, p.topic, p.shard)
	if err != nil {
		return err
	}
	if start <= from && from <= end {
		return fmt.Errorf("queue: read %q shard %d: Kafka does not give offset %d, although it has %d to %d: try again", p.topic, p.shard, from, start, end)
	}
	return &queue.RangeError{Topic: p.topic, Shard: p.shard, Want: from, Start: start, End: end}
}

// cursorAt gives a cursor that nobody else uses: one that is at the offset, if there is one.
func (q *Queue) cursorAt(p partition, from int64) *cursor {
	q.mu.Lock()
	defer q.mu.Unlock()
	idle := q.idle[p]
	for i, c := range idle {
		if c.at == from {
			q.idle[p] = append(idle[:i:i], idle[i+1:]...)
			return c
		}
	}
	c := &cursor{queue: q, partition: p}
	c.seek(from)
	return c
}

// putBack keeps a cursor for the next Read, and closes the one that was not used for the longest time when there are too many.
func (q *Queue) putBack(c *cursor) {
	q.mu.Lock()
	idle := append(q.idle[c.partition], c)
	var oldest *cursor
	if len(idle) > mostIdle {
		oldest, idle = idle[0], append(idle[:0:0], idle[1:]...)
	}
	q.idle[c.partition] = idle
	q.mu.Unlock()
	if oldest != nil {
		oldest.link.close()
	}
}
