package kafka

import (
	"sync"

	"github.com/IBM/sarama"

	"github.com/cqrs-server/cqrs/queue"
)

// memory is a copy of messages, as records. A call has a copy of its own, because Append may return before the records are sent. When
// they are sent, or never will be, the memory is given to another call.
type memory struct {
	records []sarama.Record
	list    []*sarama.Record // of the records
	times   []int64          // of the messages
	bytes   []byte           // of all of them
	headers []sarama.RecordHeader
	named   []*sarama.RecordHeader // the headers
}

// memories are those of calls for one message, and of others.
var memories [2]sync.Pool

const mostKept = gather // bytes that a memory has, for another call to have it

func keep(msgs []queue.Message) *memory {
	m, _ := memories[min(len(msgs), 2)-1].Get().(*memory)
	if m == nil {
		m = new(memory)
	}
	size, headers := 0, 0
	for i := range msgs {
		size, headers = size+msgs[i].Size(), headers+len(msgs[i].Headers)
	}
	m.records, m.list, m.times = withRoom(m.records, len(msgs)), withRoom(m.list, len(msgs)), withRoom(m.times, len(msgs))
	m.bytes, m.headers, m.named = withRoom(m.bytes, size), withRoom(m.headers, headers), withRoom(m.named, headers)
	for i := range msgs {
		m.add(&msgs[i])
	}
	return m
}

// withRoom is an empty list that does not have to move for n elements.
func withRoom[T any](list []T, n int) []T {
	if cap(list) < n {
		return make([]T, 0, n)
	}
	return list[:0]
}

func (m *memory) add(msg *queue.Message) {
	m.records = append(m.records, sarama.Record{Key: m.copy(msg.Key), Value: m.copy(msg.Value), Headers: m.copyHeaders(msg.Headers)})
	m.list = append(m.list, &m.records[len(m.records)-1])
	m.times = append(m.times, msg.Time)
}

func (m *memory) copy(b []byte) []byte {
	if b == nil {
		return nil
	}
	from := len(m.bytes)
	m.bytes = append(m.bytes, b...)
	return m.bytes[from:len(m.bytes):len(m.bytes)]
}

func (m *memory) copyHeaders(headers []queue.Header) []*sarama.RecordHeader {
	if len(headers) == 0 {
		return nil
	}
	first := len(m.named)
	for _, h := range headers {
		from := len(m.bytes)
		m.bytes = append(m.bytes, h.Key...)
		name := m.bytes[from:len(m.bytes):len(m.bytes)]
		m.headers = append(m.headers, sarama.RecordHeader{Key: name, Value: m.copy(h.Value)})
		m.named = append(m.named, &m.headers[len(m.headers)-1])
	}
	return m.named[first:len(m.named):len(m.named)]
}

// batch is the records from one number to another.
func (m *memory) batch(from, to, size int) batch {
	return batch{records: m.list[from:to:to], times: m.times[from:to:to], size: size}
}

// free gives the memory to another call. Nobody may use it any more.
func (m *memory) free() {
	if cap(m.bytes) <= mostKept {
		memories[min(len(m.records), 2)-1].Put(m)
	}
}
