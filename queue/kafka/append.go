package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/IBM/sarama"

	"github.com/cqrs-server/cqrs/queue"
)

// Append implements queue.Queue. All messages are added, or none, when they fit into one record batch (max.message.bytes
// of the topic). When they don't, and only some were added, the error wraps queue.ErrUnknown.
func (q *Queue) Append(ctx context.Context, topic string, shard int, msgs []queue.Message) error {
	p := partition{topic, shard}
	if err := q.find(ctx, p); err != nil {
		return err
	}
	t, err := q.traits(ctx, topic)
	if err != nil {
		return err
	}
	if err := t.fits(topic, msgs); err != nil || len(msgs) == 0 {
		return err
	}
	c := newCall(msgs, t.maxBatch)
	w := q.writerOf(p)
	if err := w.add(c); err != nil {
		return err
	}
	if err := w.await(ctx, c); err != nil {
		return q.explain("append to", p, err)
	}
	for i := range msgs {
		msgs[i].Offset = c.offsets[i]
	}
	return nil
}

func (q *Queue) writerOf(p partition) *writer {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := q.writers[p]
	if w == nil {
		w = &writer{queue: q, partition: p}
		q.writers[p] = w
	}
	return w
}

// call is one Append.
type call struct {
	batches  []batch // one, unless it is very large
	maxBatch int
	offsets  []int64       // of each message; valid when done without an error
	err      error         // valid when done
	done     chan struct{} // closed

	memory *memory
	one    [1]batch
	offset [1]int64
}

// batch is records that are added together.
type batch struct {
	records []*sarama.Record
	times   []int64 // of the records, in milliseconds
	size    int     // of the records, encoded, at most
}

func newCall(msgs []queue.Message, maxBatch int) *call {
	c := &call{maxBatch: maxBatch, done: make(chan struct{}), memory: keep(msgs)}
	c.batches, c.offsets = c.one[:0], c.offset[:0]
	if len(msgs) > 1 {
		c.offsets = make([]int64, 0, len(msgs))
	}
	from, size := 0, 0
	for i := range msgs {
		more := encodedSize(&msgs[i])
		if batchOverhead+size+more > maxBatch && i > from {
			c.batches = append(c.batches, c.memory.batch(from, i, size))
			from, size = i, 0
		}
		size += more
	}
	c.batches = append(c.batches, c.memory.batch(from, len(msgs), size))
	return c
}

// fail notes an error, if it is one. A batch that was not added after others that were leaves the call unknown.
func (c *call) fail(err error) {
	if err != nil && len(c.offsets) > 0 && !errors.Is(err, queue.ErrUnknown) {
		err = fmt.Errorf("%w: %d of its messages were added, and the others were not: %w", queue.ErrUnknown, len(c.offsets), err)
	}
	c.err = err
}

// number notes the offsets of the next n messages.
func (c *call) number(first int64, n int) {
	for i := range n {
		c.offsets = append(c.offsets, first+int64(i))
	}
}
