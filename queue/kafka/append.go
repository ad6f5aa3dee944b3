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

// call is one Append. Its bytes are its own, because Append may return before they are sent.
type call struct {
	batches  []batch // one, unless it is very large
	maxBatch int
	offsets  []int64       // of each message; valid when done without an error
	err      error         // valid when done
	done     chan struct{} // closed
}

// batch is records that are added together.
type batch struct {
	records []*sarama.Record
	times   []int64 // of the records, in milliseconds
	size    int     // of the records, encoded, at most
}

func newCall(msgs []queue.Message, maxBatch int) *call {
	c := &call{maxBatch: maxBatch, done: make(chan struct{}), offsets: make([]int64, 0, len(msgs))}
	b := batch{records: make([]*sarama.Record, 0, len(msgs)), times: make([]int64, 0, len(msgs))}
	records := copyOf(msgs)
	for i := range msgs {
		size := encodedSize(&msgs[i])
		if batchOverhead+b.size+size > maxBatch && len(b.records) > 0 {
			c.batches, b = append(c.batches, b), batch{}
		}
		b.records = append(b.records, &records[i])
		b.times = append(b.times, msgs[i].Time)
		b.size += size
	}
	c.batches = append(c.batches, b)
	return c
}

// copyOf makes records of messages, with all bytes in one block.
func copyOf(msgs []queue.Message) []sarama.Record {
	size, count := 0, 0
	for i := range msgs {
		size, count = size+msgs[i].Size(), count+len(msgs[i].Headers)
	}
	k := copier{block: make([]byte, 0, size), headers: make([]sarama.RecordHeader, 0, count), list: make([]*sarama.RecordHeader, 0, count)}
	records := make([]sarama.Record, len(msgs))
	for i := range msgs {
		m := &msgs[i]
		records[i].Key, records[i].Value = k.keep(m.Key), k.keep(m.Value)
		records[i].Headers = k.keepHeaders(m.Headers)
	}
	return records
}

// copier has room for all bytes and headers of some messages.
type copier struct {
	block   []byte
	headers []sarama.RecordHeader
	list    []*sarama.RecordHeader
}

func (k *copier) keep(b []byte) []byte {
	if b == nil {
		return nil
	}
	from := len(k.block)
	k.block = append(k.block, b...)
	return k.block[from:len(k.block):len(k.block)]
}

func (k *copier) keepHeaders(headers []queue.Header) []*sarama.RecordHeader {
	if len(headers) == 0 {
		return nil
	}
	first := len(k.list)
	for _, h := range headers {
		from := len(k.block)
		k.block = append(k.block, h.Key...)
		key := k.block[from:len(k.block):len(k.block)]
		k.headers = append(k.headers, sarama.RecordHeader{Key: key, Value: k.keep(h.Value)})
		k.list = append(k.list, &k.headers[len(k.headers)-1])
	}
	return k.list[first:len(k.list):len(k.list)]
}

// finish tells the caller. A batch that was not added after others that were leaves it unknown.
func (c *call) finish(err error) {
	if err != nil && len(c.offsets) > 0 && !errors.Is(err, queue.ErrUnknown) {
		err = fmt.Errorf("%w: %d of its messages were added, and the others were not: %w", queue.ErrUnknown, len(c.offsets), err)
	}
	c.err = err
	close(c.done)
}

// number notes the offsets of the next n messages.
func (c *call) number(first int64, n int) {
	for i := range n {
		c.offsets = append(c.offsets, first+int64(i))
	}
}
