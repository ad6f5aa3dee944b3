package kafka

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/cqrs-server/cqrs/queue"
)

// poller polls as an engine does: without waiting, when it is notified.
type poller struct {
	t     *testing.T
	q     *Queue
	topic string
	at    int64
	news  chan struct{}
	stop  func()
}

func newPoller(t *testing.T, q *Queue, topic string) *poller {
	p := &poller{t: t, q: q, topic: topic, news: make(chan struct{}, 1)}
	p.stop = q.Notify(topic, 0, func() {
		select {
		case p.news <- struct{}{}:
		default:
		}
	})
	return p
}

// next polls until there is something.
func (p *poller) next(max int) (msgs []queue.Message, err error) {
	p.t.Helper()
	for {
		msgs, err = p.q.Poll(p.topic, 0, p.at, max)
		if err != nil {
			return nil, err
		}
		if len(msgs) > 0 {
			p.at = msgs[len(msgs)-1].Offset + 1
			return msgs, nil
		}
		select {
		case <-p.news:
		case <-p.t.Context().Done():
			p.t.Fatal("nothing came")
		}
	}
}

// read polls n messages.
func (p *poller) read(n int) (got []string) {
	p.t.Helper()
	for len(got) < n {
		msgs, err := p.next(min(7, n-len(got)))
		if err != nil {
			p.t.Fatal(err)
		}
		for _, m := range msgs {
			got = append(got, string(m.Value))
		}
	}
	return got
}

func (p *poller) want(prefix string, from, n int) {
	p.t.Helper()
	for i, v := range p.read(n) {
		if want := fmt.Sprint(prefix, " ", from+i); v != want {
			p.t.Fatalf("message %d is %q, and should be %q", i, v, want)
		}
	}
}

func TestPoll(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		q := openQueue(t, brokers)
		topic := makeTopic(t, q)
		p := newPoller(t, q, topic)
		defer p.stop()
		mustAppend(t, q, topic, texts("m", 100)...)
		p.want("m", 0, 100)
		p.at = 20 // a batch was rolled back
		p.want("m", 20, 80)
		if msgs, err := q.Poll(topic, 0, 100, 10); len(msgs) > 0 || err != nil {
			t.Error(msgs, err)
		}
		mustAppend(t, q, topic, texts("n", 5)...)
		p.want("n", 0, 5)
		p.at = 1000
		_, err := p.next(1)
		isRange(t, err, 0, 105)
		p.at = 104
		p.want("n", 4, 1)
	})
}

func TestPollEnds(t *testing.T) {
	q := openQueue(t, fakeCluster(t).ListenAddrs())
	topic := makeTopic(t, q)
	mustAppend(t, q, topic, texts("m", 10)...)
	var calls atomic.Int64
	stop := q.Notify(topic, 0, func() { calls.Add(1) })
	p := newPoller(t, q, topic)
	p.want("m", 0, 10)
	stop()
	stop()
	before := calls.Load()
	if before == 0 {
		t.Error("the other was not called")
	}
	mustAppend(t, q, topic, texts("n", 10)...)
	p.want("n", 0, 10)
	if calls.Load() != before {
		t.Error("it was called after stop")
	}
	p.stop()
	if len(q.followers) != 0 {
		t.Error("somebody still follows")
	}
	again := newPoller(t, q, topic)
	again.want("m", 0, 10)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Poll(topic, 0, 0, 1); !errors.Is(err, queue.ErrClosed) {
		t.Errorf("want ErrClosed: %v", err)
	}
	again.stop()
}

// What is read in advance is bounded, while nobody polls.
func TestPollBounded(t *testing.T) {
	q := openQueue(t, fakeCluster(t).ListenAddrs())
	topic := makeTopic(t, q)
	const n = 40
	for range n {
		mustAppend(t, q, topic, queue.Message{Value: make([]byte, 1_000_000)})
	}
	p := newPoller(t, q, topic)
	defer p.stop()
	p.read(1)
	w := q.followerOf(partition{topic, 0})
	idle := 0 // looks in a row at which nothing was being read
	eventually(t, "it to stop reading", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		if idle++; w.cancel != nil || w.bytes < followLimit {
			idle = 0
		}
		return idle > 20
	})
	if w.bytes > 2*followLimit {
		t.Errorf("%d bytes are read in advance", w.bytes)
	}
	p.read(n - 1)
}
