// Package queue is the contract between the runtime and what carries its messages.
//
// A queue holds topics. A topic has a fixed number of partitions, one for each shard, and each partition is
// one totally ordered, append-only sequence of messages, numbered by offset. It is what Kafka offers, cut
// down to what the runtime needs; queue/bolt gives the same on local files. Messages are bytes here: what
// they mean is the runtime's business.
//
// An implementation is finished when queuetest.Run passes on it.
package queue

import (
	"context"
	"errors"
	"fmt"
)

// Header is a named value that travels beside a message. Order and repetition are kept.
type Header struct {
	Key   string
	Value []byte
}

// Message is one entry of a partition.
type Message struct {
	Offset  int64 // its number in the partition; set by Append and by Read
	Time    int64 // milliseconds since 1970, as given to Append
	Key     []byte
	Value   []byte
	Headers []Header
}

// Queue carries messages. All methods may be called from many goroutines at once.
type Queue interface {
	// Append adds messages at the end of a partition, in order, all or none where the medium can,
	// and sets their offsets. When it returns nil they are durable. The bytes stay the caller's: the queue does not
	// keep them. An error that wraps ErrUnknown says that the messages may have been added or may yet be;
	// after any other error they were not, and never will be.
	Append(ctx context.Context, topic string, shard int, msgs []Message) error

	// Read gives the messages from offset from on, in order, at most max of them (which is 1 or more). It waits until there
	// is at least one or ctx ends (and then returns ctx's error). The bytes are the caller's.
	// A from below the first or above the end of the partition gives a *RangeError.
	Read(ctx context.Context, topic string, shard int, from int64, max int) ([]Message, error)

	// Bounds tells the offset of the first message that is still there, and the offset that the next one will get.
	Bounds(ctx context.Context, topic string, shard int) (start, end int64, err error)

	// Commit notes that everything below next has had its effect, so that another process can start there. It is a hint: who
	// keeps effects keeps its own position beside them.
	Commit(ctx context.Context, topic string, shard int, next int64) error

	// Committed is what Commit noted last, or 0.
	Committed(ctx context.Context, topic string, shard int) (int64, error)

	// Own calls work for each shard of the topic that this process is to do the work of, each in a goroutine
	// of its own, with a context that ends when the ownership does. It returns when all work has returned: with ctx's
	// error when ctx has ended, or else with the first error of work, which ends the work of the other shards. Two
	// processes may believe for a while that they own a shard: the log's rule of acceptance makes that harmless.
	Own(ctx context.Context, topic string, work func(ctx context.Context, shard int) error) error

	// Shards is the number of partitions of the topic.
	Shards(ctx context.Context, topic string) (int, error)

	// Identity changes when the topic was deleted and made again under the same name.
	Identity(ctx context.Context, topic string) (string, error)

	// Limit is the size in bytes of the largest message (key, value and headers) that Append takes.
	Limit() int

	// Close gives back what the queue holds. Calls that wait, and calls that come later, return ErrClosed. A second Close
	// does nothing.
	Close() error
}

// Trimmer is a queue that lets go of old messages when told to; others have a retention of their own.
type Trimmer interface {
	// Trim drops the messages below the offset before, at most max of them, and tells how many it dropped.
	Trim(ctx context.Context, topic string, shard int, before int64, max int) (int, error)
}

// Troubled is a queue whose Own tries again by itself, for as long as it takes.
type Troubled interface {
	// Trouble is why an Own that goes on can be given no shards; nil when all is well.
	Trouble() error
}

var (
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("queue: closed")
	// ErrUnknown marks an Append whose outcome could not be learned. Sending again is safe where the
	// reader removes duplicates.
	ErrUnknown = errors.New("queue: outcome unknown")
	// ErrNoTopic is returned for a topic or a partition that does not exist.
	ErrNoTopic = errors.New("queue: no such topic or partition")
	// ErrOtherTopic is returned when the topic was deleted, and another was made under its name, since this Queue has used
	// it: offsets mean other messages now. Where Identity is asked for again, it tells the new one.
	ErrOtherTopic = errors.New("queue: another topic has taken the name")
)

// TooLargeError is returned by Append for a message over the limit. Nothing was added.
type TooLargeError struct {
	Topic       string
	Size, Limit int // bytes
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("queue: a message for %q has %d bytes, and the limit is %d", e.Topic, e.Size, e.Limit)
}

// RangeError is returned by Read when the wanted offset is not, or no longer, in the partition.
type RangeError struct {
	Topic      string
	Shard      int
	Want       int64
	Start, End int64
}

func (e *RangeError) Error() string {
	return fmt.Sprintf("queue: %q shard %d has offsets %d to %d, and %d was asked for", e.Topic, e.Shard, e.Start, e.End, e.Want)
}

// Size is what a message counts against Limit.
func (m *Message) Size() int {
	n := len(m.Key) + len(m.Value)
	for _, h := range m.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

// Header gives the value of the first header of that name.
func (m *Message) Header(key string) ([]byte, bool) {
	for _, h := range m.Headers {
		if h.Key == key {
			return h.Value, true
		}
	}
	return nil, false
}
