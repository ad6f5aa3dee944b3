// Package queuetest is the contract of package queue as a test suite. An implementation is finished when Run passes on it.
package queuetest

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs/queue"
)

// Features say what an implementation promises beyond the contract, and what the suite needs to know of its medium.
type Features struct {
	// Shards is the number of partitions of each topic. More than one makes the suite stronger.
	Shards int
	// DenseOffsets says that offsets are 0, 1, 2 and so on without a gap.
	DenseOffsets bool
	// Trim says that the queue is a queue.Trimmer.
	Trim bool
	// Topic makes a topic that was never used, and gives its name. Defaults to making up a name, for media where a
	// topic comes into being by itself.
	Topic func(t *testing.T) string
	// Reopen closes the queue, opens the same medium again, and sees to it that the new one is closed when the
	// test ends. Nil leaves out what has to outlive a process.
	Reopen func(t *testing.T, q queue.Queue) queue.Queue
	// Patience is how long the suite waits for what must happen. Defaults to 30 seconds.
	Patience time.Duration
	// Quiet is how long the suite watches that something does not happen. Defaults to 50 milliseconds.
	Quiet time.Duration
}

// suite is one subtest: a queue, and what is known of it.
type suite struct {
	*testing.T
	Features
	q     queue.Queue
	ctx   context.Context
	topic string // fresh
}

// Run checks an implementation. open gives a queue whose topics are shared by nobody else, and sees to it that the queue is
// closed when the test ends. The subtests run one after the other.
func Run(t *testing.T, features Features, open func(t *testing.T) queue.Queue) {
	features.setDefaults()
	for _, group := range [][]check{appends, reads, bounds, positions, ownership, limits, endings, trims} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				c.skipWithout(t, features)
				s := &suite{T: t, Features: features, q: open(t), topic: features.Topic(t)}
				ctx, cancel := context.WithTimeout(context.Background(), 4*features.Patience)
				defer cancel()
				s.ctx = ctx
				c.run(s)
			})
		}
	}
}

// check is one sentence of the contract.
type check struct {
	name  string
	needs func(Features) bool // nil: nothing
	run   func(*suite)
}

func (c check) skipWithout(t *testing.T, f Features) {
	t.Helper()
	if c.needs != nil && !c.needs(f) {
		t.Skip("the implementation does not have the feature that this is about")
	}
}

func needsReopen(f Features) bool { return f.Reopen != nil }
func needsTrim(f Features) bool   { return f.Trim }

var topics atomic.Int64

func (f *Features) setDefaults() {
	f.Shards = max(f.Shards, 1)
	if f.Topic == nil {
		f.Topic = func(*testing.T) string { return fmt.Sprintf("topic-%d-%d", time.Now().UnixNano(), topics.Add(1)) }
	}
	if f.Patience == 0 {
		f.Patience = 30 * time.Second
	}
	if f.Quiet == 0 {
		f.Quiet = 50 * time.Millisecond
	}
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) reopen() { s.q = s.Reopen(s.T, s.q) }

// append adds messages to a shard and checks nothing but the error.
func (s *suite) append(shard int, msgs ...queue.Message) []queue.Message {
	s.Helper()
	s.must(s.q.Append(s.ctx, s.topic, shard, msgs))
	return msgs
}

// appendN adds that many messages with values that tell them apart.
func (s *suite) appendN(shard, n int) []queue.Message {
	s.Helper()
	msgs := make([]queue.Message, n)
	for i := range msgs {
		msgs[i] = text(fmt.Sprintf("%d of %d", i, n))
	}
	return s.append(shard, msgs...)
}

func text(value string) queue.Message {
	return queue.Message{Time: 1_700_000_000_000, Key: []byte("key"), Value: []byte(value)}
}

func (s *suite) bounds(shard int) (start, end int64) {
	s.Helper()
	start, end, err := s.q.Bounds(s.ctx, s.topic, shard)
	s.must(err)
	return start, end
}

// all reads a shard from its first message to its last.
func (s *suite) all(shard int) (msgs []queue.Message) {
	s.Helper()
	from, end := s.bounds(shard)
	for from < end {
		part, err := s.q.Read(s.ctx, s.topic, shard, from, 1000)
		s.must(err)
		msgs = append(msgs, part...)
		from = part[len(part)-1].Offset + 1
	}
	return msgs
}

// soon gives what a channel brings.
func soon[T any](s *suite, what string, c <-chan T) (v T) {
	s.Helper()
	select {
	case v = <-c:
	case <-time.After(s.Patience):
		s.Fatalf("waited %v in vain for %s", s.Patience, what)
	}
	return v
}

// never checks that a channel stays silent for a while.
func never[T any](s *suite, what string, c <-chan T) {
	s.Helper()
	select {
	case v := <-c:
		s.Fatalf("%s: %v", what, v)
	case <-time.After(s.Quiet):
	}
}

// result is what a call in the background returned.
type result struct {
	msgs []queue.Message
	err  error
}

// reading calls Read on a goroutine of its own.
func (s *suite) reading(ctx context.Context, shard int, from int64) <-chan result {
	c, q, topic := make(chan result, 1), s.q, s.topic
	go func() {
		msgs, err := q.Read(ctx, topic, shard, from, 10)
		c <- result{msgs, err}
	}()
	return c
}
