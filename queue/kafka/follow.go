package kafka

import (
	"context"
	"sync"

	"github.com/cqrs-server/cqrs/queue"
)

const followLimit = 8 << 20 // bytes that a follower has waiting

// follower reads a partition in the background, for those who poll it.
type follower struct {
	queue *Queue
	partition

	mu     sync.Mutex
	at     int64 // offset of the next message that Poll gives; -1 until the first Poll
	end    int64 // offset of the next message to read
	buffer []queue.Message
	bytes  int                // of the buffer
	err    error              // of reading on; Poll gives it once
	cancel context.CancelFunc // of the Read that is going on
	notify map[*func()]struct{}
	wake   chan struct{} // has room for one
	done   chan struct{}
}

// Notify has f called when there may be something new for Poll: messages or an error. f must not wait, nor call the queue. After
// stop it is not called any more. What was read in advance for Poll is dropped with the last stop.
func (q *Queue) Notify(topic string, shard int, f func()) (stop func()) {
	p := partition{topic, shard}
	w := q.followerOf(p)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notify[&f] = struct{}{}
	return func() { q.unfollow(w, &f) }
}

// Poll gives at most max messages from an offset on, of those that were read in advance, and never waits. From another
// offset than the one behind the last message that it gave, it gives nothing at first, and has them read. It gives the
// errors of Read; after an error it tries again.
func (q *Queue) Poll(topic string, shard int, from int64, max int) ([]queue.Message, error) {
	if q.life.Err() != nil {
		return nil, queue.ErrClosed
	}
	return q.followerOf(partition{topic, shard}).poll(from, max)
}

func (q *Queue) followerOf(p partition) *follower {
	q.mu.Lock()
	w := q.followers[p]
	fresh := w == nil
	if fresh {
		w = &follower{queue: q, partition: p, at: -1, notify: map[*func()]struct{}{}, wake: make(chan struct{}, 1), done: make(chan struct{})}
		q.followers[p] = w
	}
	q.mu.Unlock()
	if fresh {
		_ = q.spawn(w.run) // it fails after Close, and so does Poll
	}
	return w
}

func (q *Queue) unfollow(w *follower, f *func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ours := w.notify[f]; !ours {
		return
	}
	delete(w.notify, f)
	if len(w.notify) == 0 && q.followers[w.partition] == w {
		delete(q.followers, w.partition)
		close(w.done)
	}
}

func (w *follower) poll(from int64, max int) ([]queue.Message, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if from != w.at {
		w.seek(from)
		return nil, nil
	}
	if err := w.err; err != nil && len(w.buffer) == 0 {
		w.err = nil
		w.stir()
		return nil, err
	}
	n := min(max, len(w.buffer))
	if n < 1 {
		return nil, nil
	}
	msgs := w.buffer[:n:n]
	w.buffer = w.buffer[n:]
	for i := range msgs {
		w.bytes -= msgs[i].Size()
	}
	w.at = msgs[n-1].Offset + 1
	w.stir()
	return msgs, nil
}

// seek has another place of the partition read.
func (w *follower) seek(to int64) {
	w.at, w.end, w.buffer, w.bytes, w.err = to, to, nil, 0, nil
	if w.cancel != nil {
		w.cancel()
	}
	w.stir()
}

// stir has run look again at what is to be done.
func (w *follower) stir() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run reads on while there is room.
func (w *follower) run() {
	ctx, cancel := context.WithCancel(w.queue.life)
	defer cancel()
	go func() { // ends with run
		select {
		case <-w.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	for ctx.Err() == nil {
		if from, inner, ok := w.next(ctx); ok {
			msgs, err := w.queue.Read(inner, w.topic, w.shard, from, 10_000)
			w.take(inner, msgs, err)
			continue
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
		}
	}
}

// next tells from where to read on, if there is room. The context ends when that is no longer wanted.
func (w *follower) next(ctx context.Context) (from int64, inner context.Context, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at == -1 || w.err != nil || w.bytes >= followLimit {
		return 0, nil, false
	}
	inner, w.cancel = context.WithCancel(ctx)
	return w.end, inner, true
}

// take keeps what was read, unless it is no longer wanted.
func (w *follower) take(inner context.Context, msgs []queue.Message, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	wanted := inner.Err() == nil
	w.cancel()
	w.cancel = nil
	if !wanted {
		return
	}
	w.err = err
	w.buffer = append(w.buffer, msgs...)
	for i := range msgs {
		w.bytes += msgs[i].Size()
	}
	if n := len(msgs); n > 0 {
		w.end = msgs[n-1].Offset + 1
	}
	for f := range w.notify {
		(*f)()
	}
}
