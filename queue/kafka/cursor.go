package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"github.com/cqrs-server/cqrs/queue"
)

// stale is how old what was read ahead may be. A topic can be deleted and made again meanwhile.
const stale = time.Second

// cursor reads one partition onwards. One goroutine at a time uses it.
type cursor struct {
	queue *Queue
	partition
	used time.Time // when a Read had it last

	at      int64           // offset of the next message that read gives
	buffer  []queue.Message // what was fetched and not given yet
	next    int64           // offset of the next fetch
	pending chan fetched    // of a fetch that is on its way, else nil
	ahead   bool            // what is on its way is stale
	one     bool            // one message is looked at, and what follows is not wanted

	link *link
}

// fetched is what came of a fetch.
type fetched struct {
	msgs []queue.Message
	next int64
	link *link // to go on with; nil: there is none
	err  error
}

// freshen forgets what was read ahead too long ago.
func (c *cursor) freshen() {
	if time.Since(c.used) < stale {
		return
	}
	c.buffer, c.next = nil, c.at
	if c.pending != nil {
		c.ahead = true
	}
}

// read gives at most max messages, and waits until there is one.
func (c *cursor) read(ctx context.Context, max int) ([]queue.Message, error) {
	patience := newPatience(c.queue.timeout)
	c.one = max == 1
	for len(c.buffer) == 0 {
		began := time.Now()
		f, err := c.fetch(ctx)
		if err != nil {
			return nil, err
		}
		switch {
		case f.err == nil:
			patience.reset()
		case isFinal(f.err), errors.Is(f.err, sarama.ErrOffsetOutOfRange):
			return nil, f.err
		default:
			if err := patience.next(ctx, began, f.err); err != nil {
				return nil, err
			}
		}
		c.buffer, c.next = f.msgs, f.next
	}
	return c.give(max), nil
}

// fetch waits for the fetch that is on its way, after beginning one when there is none. When ctx ends first, it stays on
// its way.
func (c *cursor) fetch(ctx context.Context) (fetched, error) {
	if c.pending == nil {
		if err := c.begin(); err != nil {
			return fetched{}, err
		}
	}
	select {
	case f := <-c.pending:
		if c.ahead {
			f.msgs, f.next, f.err = nil, c.next, nil
		}
		c.pending, c.ahead, c.link = nil, false, f.link
		return f, nil
	case <-ctx.Done():
		return fetched{}, context.Cause(ctx)
	}
}

// begin sends a fetch on its way.
func (c *cursor) begin() error {
	pending := make(chan fetched, 1)
	link, next, most := c.link, c.next, c.queue.config.Consumer.Fetch.Default
	if c.one {
		most = 1 // the broker gives a whole batch all the same
	}
	err := c.queue.spawn(func() { pending <- c.queue.fetch(c.partition, link, next, most) })
	if err == nil {
		c.pending = pending
	}
	return err
}

// give hands out messages from the buffer, and has more fetched when it has become empty, unless one message was looked at.
func (c *cursor) give(max int) []queue.Message {
	n, bytes := 0, 0
	for n < len(c.buffer) && n < max {
		bytes += c.buffer[n].Size()
		if n > 0 && bytes > readLimit {
			break
		}
		n++
	}
	msgs := c.buffer[:n:n]
	c.buffer = c.buffer[n:]
	c.at = msgs[n-1].Offset + 1
	if len(c.buffer) == 0 && !c.one {
		c.buffer = nil
		_ = c.begin() // it fails after Close, and so will the next read
	}
	return msgs
}

// close waits for the fetch that is on its way.
func (c *cursor) close() {
	if c.pending != nil {
		f := <-c.pending
		c.pending, c.link = nil, f.link
	}
	c.link.close()
}

var errMoved = errors.New("the broker does not have the partition (any more)")

// fetch asks the leader for messages from an offset on, and waits a moment for them when there are none. They take about so many bytes, at most.
func (q *Queue) fetch(p partition, l *link, from int64, most int32) fetched {
	ctx, cancel := q.within(context.Background())
	defer cancel()
	var err error
	if l == nil {
		if l, err = q.connectTo(ctx, p); err != nil {
			q.refresh(ctx, p)
			return fetched{next: from, err: err}
		}
	}
	var answer *sarama.FetchResponse
	err = l.use(ctx, func(b *sarama.Broker) (err error) {
		answer, err = b.Fetch(q.fetchRequest(p, from, most))
		return err
	})
	if err != nil {
		l.close()
		q.refresh(ctx, p)
		return fetched{next: from, err: err}
	}
	msgs, next, err := decode(answer.GetBlock(q.prefix+p.topic, int32(p.shard)), from)
	if err == sarama.ErrUnknownTopicOrPartition {
		err = errMoved // if it exists nowhere, the client will find out
	}
	if err != nil && !errors.Is(err, sarama.ErrOffsetOutOfRange) { // the leader may be another by now
		l.close()
		q.refresh(ctx, p)
		l = nil
	}
	return fetched{msgs, next, l, err}
}

func (q *Queue) fetchRequest(p partition, from int64, most int32) *sarama.FetchRequest {
	c := &q.config.Consumer
	wait := min(c.MaxWaitTime, q.timeout/2)
	r := &sarama.FetchRequest{
		Version: 12, SessionEpoch: -1, Isolation: c.IsolationLevel,
		MinBytes: 1, MaxWaitTime: int32(wait / time.Millisecond), MaxBytes: c.Fetch.MaxBytes,
	}
	const anyEpoch = -1
	r.AddBlock(q.prefix+p.topic, int32(p.shard), from, most, anyEpoch)
	return r
}

// patience bounds how long failures in a row are borne.
type patience struct {
	most  time.Duration
	since time.Time // of the first failure
	wait  *backoff
}

func newPatience(most time.Duration) *patience { return &patience{most: most, wait: newBackoff()} }

func (p *patience) reset() { p.since, p.wait = time.Time{}, newBackoff() }

// next waits before the next attempt, and gives an error instead when it went on for too long. began is when the attempt
// that failed began.
func (p *patience) next(ctx context.Context, began time.Time, failure error) error {
	if p.since.IsZero() {
		p.since = began
	}
	if time.Since(p.since) >= p.most {
		return fmt.Errorf("%w (%v): %w", errNoAnswer, p.most, failure)
	}
	return p.wait.next(ctx)
}
