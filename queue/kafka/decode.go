package kafka

import (
	"cmp"
	"slices"

	"github.com/IBM/sarama"

	"github.com/cqrs-server/cqrs/queue"
)

// decode gives the messages of an answer from an offset on, and the offset to go on from. What belongs to a transaction that was
// aborted, and the marks of transactions, are left out.
func decode(block *sarama.FetchResponseBlock, from int64) (msgs []queue.Message, next int64, err error) {
	switch {
	case block == nil:
		return nil, from, sarama.ErrIncompleteResponse
	case block.Err != sarama.ErrNoError:
		return nil, from, block.Err
	}
	next = from
	aborted := newAborted(block.AbortedTransactions)
	for _, set := range block.RecordsSet {
		b := set.RecordBatch
		switch {
		case b == nil:
			return nil, from, sarama.ErrUnsupportedForMessageFormat // written before Kafka 0.11
		case b.PartialTrailingRecord:
			return msgs, next, nil
		case !aborted.skip(b):
			msgs = appendBatch(msgs, b, from)
		}
		next = max(next, b.LastOffset()+1)
	}
	return msgs, next, nil
}

// appendBatch appends the messages of a batch from an offset on. They have the bytes of the answer, which nobody else has.
func appendBatch(msgs []queue.Message, b *sarama.RecordBatch, from int64) []queue.Message {
	msgs = slices.Grow(msgs, len(b.Records))
	for _, r := range b.Records {
		offset := b.FirstOffset + r.OffsetDelta
		if offset < from {
			continue
		}
		msgs = append(msgs, queue.Message{
			Offset: offset, Time: timeOf(b, r), Key: slices.Clip(r.Key), Value: slices.Clip(r.Value), Headers: headersOf(r),
		})
	}
	return msgs
}

// timeOf is 0 where the record has no time.
func timeOf(b *sarama.RecordBatch, r *sarama.Record) int64 {
	switch {
	case b.LogAppendTime && !b.MaxTimestamp.IsZero():
		return b.MaxTimestamp.UnixMilli()
	case b.FirstTimestamp.IsZero():
		return 0
	}
	return b.FirstTimestamp.UnixMilli() + r.TimestampDelta.Milliseconds()
}

func headersOf(r *sarama.Record) []queue.Header {
	if len(r.Headers) == 0 {
		return nil
	}
	headers := make([]queue.Header, len(r.Headers))
	for i, h := range r.Headers {
		headers[i] = queue.Header{Key: string(h.Key), Value: slices.Clip(h.Value)}
	}
	return headers
}

// aborted knows, while batches pass in order, which producers are within a transaction that was aborted.
type aborted struct {
	coming []*sarama.AbortedTransaction // by first offset
	open   map[int64]bool               // by producer
}

func newAborted(all []*sarama.AbortedTransaction) *aborted {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b *sarama.AbortedTransaction) int { return cmp.Compare(a.FirstOffset, b.FirstOffset) })
	return &aborted{coming: all, open: map[int64]bool{}}
}

// skip says that the messages of a batch don't count.
func (a *aborted) skip(b *sarama.RecordBatch) bool {
	for len(a.coming) > 0 && a.coming[0].FirstOffset <= b.LastOffset() {
		a.open[a.coming[0].ProducerID] = true
		a.coming = a.coming[1:]
	}
	if b.Control { // the end of the producer's transaction, if it has one
		delete(a.open, b.ProducerID)
		return true
	}
	return b.IsTransactional && a.open[b.ProducerID]
}
