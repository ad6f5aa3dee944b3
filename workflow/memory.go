package workflow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
)

// ErrClosed is returned when something is put into a Memory that was closed.
var ErrClosed = errors.New("workflow: the memory queue is closed: nothing can be put into it any more")

// Memory is a queue in memory: a Source, a Sink and a Waker. What was put in stays until it is acknowledged
// or drained. It has no bound. All methods may be called from many goroutines at once, but only one engine may
// take it as a source.
//
// Used as the Out of an output and as the In of an input of one plan, it ends when every other input
// has ended and it is empty.
type Memory struct {
	mu     sync.Mutex
	items  []Segment
	head   int // the number of items[0], counted from the first segment ever put in
	next   int // the number of the segment that Poll gives next
	last   int // the number that the last Poll began at
	closed bool
	wakes  []func()
}

// NewMemory makes an open queue that holds segments.
func NewMemory(segments ...Segment) *Memory {
	return &Memory{items: slices.Clone(segments)}
}

// Put adds segments at the end. After Close it adds none and returns ErrClosed.
func (m *Memory) Put(segments ...Segment) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	m.items = append(m.items, segments...)
	m.wakeAll()
	return nil
}

// Close says that nothing more will be put in: Poll says io.EOF with the last segment. It returns nil.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.wakeAll()
	return nil
}

// Segments gives what is in the queue, polled or not, and leaves it there.
func (m *Memory) Segments() []Segment {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.items)
}

// Drain takes out all that is in the queue, polled or not.
func (m *Memory) Drain() []Segment {
	m.mu.Lock()
	defer m.mu.Unlock()
	items := m.items
	m.head += len(items)
	m.items, m.next, m.last = nil, m.head, m.head
	return items
}

// Poll is of Source. Segments that were put in while it is polled come with the next Poll.
func (m *Memory) Poll(_ context.Context, most int) ([]Segment, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	from := m.next - m.head
	to := min(from+most, len(m.items))
	m.last, m.next = m.next, m.head+to
	var err error
	if m.closed && to == len(m.items) {
		err = io.EOF
	}
	return slices.Clip(m.items[from:to]), err
}

// Ack is of Source: the first n segments of the last Poll, and all before them, leave the queue.
func (m *Memory) Ack(_ context.Context, n int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	upTo := m.last + n
	if n < 0 || upTo > m.next {
		return fmt.Errorf("workflow: memory queue: %d of %d polled segments acknowledged: acknowledge no more than were polled", n, m.next-m.last)
	}
	if gone := upTo - m.head; gone > 0 {
		clear(m.items[:gone])
		m.items, m.head = m.items[gone:], upTo
	}
	return nil
}

// Rewind is of Source.
func (m *Memory) Rewind() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next, m.last = m.head, m.head
}

// Flush is of Sink: it puts the segments in.
func (m *Memory) Flush(_ context.Context, segments []Segment) error {
	if len(segments) == 0 {
		return nil
	}
	return m.Put(segments...)
}

// Wake is of Waker: wake is called whenever something was put in, and when the queue is closed.
func (m *Memory) Wake(wake func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wakes = append(m.wakes, wake)
}

func (m *Memory) wakeAll() {
	for _, wake := range m.wakes {
		wake()
	}
}
