// Package bolt is a queue on local files.
//
// Each shard is one bbolt file, and each topic is a bucket in it, made by the first Append. Offsets are 0, 1, 2 and so on without a
// gap. Nothing is dropped but by Trim.
//
// Messages that are written together are packed into values of a few kilobytes (see package chunks).
//
// Appends that wait at the same time share one commit, and with it one fsync. A worker that has a write transaction of its
// own on the shard's file puts its messages in it (AppendTx and the other methods that end in Tx): they are then there together
// with what else it wrote, or not at all.
//
// The files belong to one process. It owns all shards.
package bolt

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/google/uuid"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/queue"
)

const (
	limit       = 16 << 20 // of one message
	readLimit   = 8 << 20  // of what one Read gives, unless a single message is larger
	longestName = 249      // of a topic's name: what Kafka takes
)

// Queue is a queue.Queue and a queue.Trimmer on bbolt files. Its methods may be called from many goroutines.
type Queue struct {
	files []*boltfile.File
	owned bool // Close closes the files
	wakes wakes
	stops []func()

	appenders sync.Map // partition to *appender; as many as there are topics and shards

	mu     sync.Mutex
	closed bool
	done   chan struct{} // closed by Close
}

var (
	_ queue.Queue   = (*Queue)(nil)
	_ queue.Trimmer = (*Queue)(nil)
)

// On makes a queue on open files, one for each shard, in the order of the shards. Other data may be in them. They stay
// the caller's: Close leaves them open, and they must stay open until then. No file, or one file twice, is a panic.
func On(files ...*boltfile.File) *Queue {
	if len(files) == 0 {
		panic("queue/bolt: On needs a file for each shard, and was given none")
	}
	q := &Queue{files: files, done: make(chan struct{})}
	seen := map[*boltfile.File]bool{}
	for _, f := range files {
		if seen[f] {
			panic("queue/bolt: On was given " + f.Path() + " for two shards")
		}
		seen[f] = true
		q.stops = append(q.stops, f.Reopened(q.wakes.wakeAll))
	}
	return q
}

// File is the file of a shard. There must be such a shard.
func (q *Queue) File(shard int) *boltfile.File { return q.files[shard] }

// Limit is the size in bytes of the largest message that Append takes.
func (q *Queue) Limit() int { return limit }

// Shards is the number of files, for each topic.
func (q *Queue) Shards(ctx context.Context, topic string) (int, error) {
	return len(q.files), q.ready(ctx, partition{topic, 0})
}

// Identity is made of the files' ids and the topic's name.
func (q *Queue) Identity(ctx context.Context, topic string) (string, error) {
	if err := q.ready(ctx, partition{topic, 0}); err != nil {
		return "", err
	}
	var name []byte
	for _, f := range q.files {
		id := f.ID()
		name = append(name, id[:]...)
	}
	return uuid.NewSHA1(uuid.NameSpaceOID, append(name, topic...)).String(), nil
}

// Close ends the calls that wait, and closes the files that Open opened.
func (q *Queue) Close() error {
	if !q.markClosed() {
		return nil
	}
	for _, stop := range q.stops {
		stop()
	}
	if !q.owned {
		return nil
	}
	return closeAll(q.files)
}

func (q *Queue) markClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.closed = true
	close(q.done)
	return true
}

func closeAll(files []*boltfile.File) error {
	var errs []error
	for _, f := range files {
		if f == nil {
			continue
		}
		if err := f.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", f.Path(), err))
		}
	}
	return errors.Join(errs...)
}

// partition names one sequence of messages.
type partition struct {
	topic string
	shard int
}

// ready tells why a call on a partition can't begin, if so.
func (q *Queue) ready(ctx context.Context, p partition) error {
	if err := q.check(p); err != nil {
		return err
	}
	select {
	case <-q.done:
		return queue.ErrClosed
	default:
		return ctx.Err()
	}
}

func (q *Queue) check(p partition) error {
	if err := checkTopic(p.topic); err != nil {
		return err
	}
	if p.shard < 0 || p.shard >= len(q.files) {
		return fmt.Errorf("%w: %q has shards 0 to %d, and shard %d was asked for", queue.ErrNoTopic, p.topic, len(q.files)-1, p.shard)
	}
	return nil
}

func checkTopic(topic string) error {
	if topic == "" || len(topic) > longestName {
		return fmt.Errorf("%w: a topic's name has 1 to %d characters, and %q has %d", queue.ErrNoTopic, longestName, topic, len(topic))
	}
	for _, c := range []byte(topic) {
		if !inName(c) {
			return fmt.Errorf("%w: a topic's name consists of a-z, A-Z, 0-9 and . _ / -, and %q does not", queue.ErrNoTopic, topic)
		}
	}
	return nil
}

func inName(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return c == '.' || c == '_' || c == '/' || c == '-'
}

// explain says what failed and where, and gives boltfile's errors the names of the contract.
func (q *Queue) explain(doing string, p partition, err error) error {
	switch {
	case err == nil, err == context.Canceled, err == context.DeadlineExceeded:
		return err
	case errors.Is(err, boltfile.ErrUnknown):
		err = fmt.Errorf("%w: %w", queue.ErrUnknown, err)
	case errors.Is(err, boltfile.ErrClosed):
		err = fmt.Errorf("%w: %w", queue.ErrClosed, err)
	}
	return fmt.Errorf("%s %q shard %d in %s: %w", doing, p.topic, p.shard, q.files[p.shard].Path(), err)
}
