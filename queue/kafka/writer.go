package kafka

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/cqrs-server/cqrs/queue"
)

// gather is how many bytes of different calls go into one batch, at most.
const gather = 1 << 20

// writer adds to one partition. One request at a time is on its way; the calls that come meanwhile share the next one.
type writer struct {
	queue *Queue
	partition

	mu      sync.Mutex
	waiting []*call
	running bool

	producer producer // used by whoever runs, and so is:
	shared   batch    // of several calls
}

// add puts a call in the line, and sees to it that somebody works it off.
func (w *writer) add(c *call) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.running {
		if err := w.queue.spawn(w.run); err != nil {
			return err
		}
		w.running = true
	}
	w.waiting = append(w.waiting, c)
	return nil
}

// await waits for the call's end. When ctx or the queue ends first, a call that was not begun is withdrawn, and nothing of
// it was sent.
func (w *writer) await(ctx context.Context, c *call) error {
	var cause error
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		cause = context.Cause(ctx)
	case <-w.queue.life.Done():
		cause = queue.ErrClosed
	}
	if w.withdraw(c) {
		return cause
	}
	select {
	case <-c.done:
		return c.err
	default:
		return fmt.Errorf("%w: it was being sent: %w", queue.ErrUnknown, cause)
	}
}

func (w *writer) withdraw(c *call) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.Index(w.waiting, c)
	if i < 0 {
		return false
	}
	w.waiting = slices.Delete(w.waiting, i, i+1)
	return true
}

// run works off calls until there are none.
func (w *writer) run() {
	w.producer.writer = w
	for {
		calls := w.take()
		if len(calls) == 0 {
			return
		}
		w.send(calls)
	}
}

// take gives the calls for the next batch: one that needs several, or some that fit into one together.
func (w *writer) take() (calls []*call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	size := batchOverhead
	for _, c := range w.waiting {
		size += c.batches[0].size
		if len(calls) > 0 && (len(c.batches) > 1 || size > min(gather, c.maxBatch)) {
			break
		}
		calls = append(calls, c)
		if len(c.batches) > 1 {
			break
		}
	}
	w.waiting = slices.Delete(w.waiting, 0, len(calls))
	w.running = len(calls) > 0
	return calls
}

func (w *writer) send(calls []*call) {
	if len(calls) == 1 {
		w.sendOne(calls[0])
	} else {
		w.sendTogether(calls)
	}
	for _, c := range calls {
		memory := c.memory
		close(c.done)
		memory.free()
	}
}

func (w *writer) sendTogether(calls []*call) {
	b := batch{records: w.shared.records[:0], times: w.shared.times[:0]}
	for _, c := range calls {
		b.records = append(b.records, c.batches[0].records...)
		b.times = append(b.times, c.batches[0].times...)
		b.size += c.batches[0].size
	}
	w.shared = b
	first, err := w.producer.send(b)
	for _, c := range calls {
		n := len(c.batches[0].records)
		if err == nil {
			c.number(first, n)
		}
		first += int64(n)
		c.fail(err)
	}
}

func (w *writer) sendOne(c *call) {
	for _, b := range c.batches {
		first, err := w.producer.send(b)
		if err != nil {
			c.fail(err)
			return
		}
		c.number(first, len(b.records))
	}
}
