package bolt

import (
	"encoding/binary"
	"fmt"
	"math"

	"go.etcd.io/bbolt"

	"github.com/cqrs-server/cqrs/internal/chunks"
	"github.com/cqrs-server/cqrs/queue"
)

const topicPrefix = "queue/"

// startBucket holds the first offset that Trim left, by topic: the chunk around it may hold older messages still.
var startBucket = []byte("queue-start")

// committedBucket holds what Commit noted, by topic. A topic's bucket name has a slash, so it can't be this one.
var committedBucket = []byte("queue-committed")

// AppendTx is Append inside a write transaction on the shard's file. The messages are there when it commits. Their offsets
// are set at once, and hold for this transaction only: when it is rolled back, others will get them. When AppendTx returns an
// error, it has written nothing. The bytes are copied.
func (q *Queue) AppendTx(tx *bbolt.Tx, topic string, shard int, msgs []queue.Message) error {
	p := partition{topic, shard}
	if err := q.checkTx(tx, p); err != nil {
		return err
	}
	if err := q.checkSizes(p, msgs); err != nil {
		return err
	}
	first, err := q.appendTx(tx, p, encodeAll(msgs))
	if err != nil {
		return q.explain("append to", p, err)
	}
	number(msgs, first)
	return nil
}

// checkTx refuses a transaction on another file than the partition's: it would hide the messages from all others.
func (q *Queue) checkTx(tx *bbolt.Tx, p partition) error {
	if err := q.check(p); err != nil {
		return err
	}
	if got, want := tx.DB().Path(), q.files[p.shard].Path(); got != want {
		return fmt.Errorf("queue: shard %d of %q is in %s, and the transaction is on %s: use the file of the shard", p.shard, p.topic, want, got)
	}
	return nil
}

func (q *Queue) checkSizes(p partition, msgs []queue.Message) error {
	for i := range msgs {
		if size := msgs[i].Size(); size > limit {
			return &queue.TooLargeError{Topic: p.topic, Size: size, Limit: limit}
		}
	}
	return nil
}

func number(msgs []queue.Message, first int64) {
	for i := range msgs {
		msgs[i].Offset = first + int64(i)
	}
}

// appendTx adds encoded messages and tells the offset of the first.
func (q *Queue) appendTx(tx *bbolt.Tx, p partition, encoded [][]byte) (first int64, err error) {
	if len(encoded) == 0 {
		return 0, nil
	}
	b, err := tx.CreateBucketIfNotExists(bucketName(p))
	if err != nil {
		return 0, err
	}
	next := b.Sequence()
	w := chunks.Continue(b, next)
	for _, message := range encoded {
		if err := w.Add(message); err != nil {
			return 0, err
		}
	}
	if err := w.Flush(); err != nil {
		return 0, err
	}
	tx.OnCommit(func() { q.wakes.wake(p) })
	return int64(next), b.SetSequence(w.Next())
}

// ReadTx is Read inside a transaction on the shard's file. It appends to dst. It does not wait: at the end of the partition
// it gives dst. The bytes are the file's own: they must not be changed, and are valid until the transaction ends, or writes.
func (q *Queue) ReadTx(tx *bbolt.Tx, topic string, shard int, from int64, max int, dst []queue.Message) ([]queue.Message, error) {
	p := partition{topic, shard}
	if err := q.checkTx(tx, p); err != nil {
		return dst, err
	}
	err := q.scan(tx, p, span{from, max, math.MaxInt}, func(offset int64, value []byte) error {
		m, err := decode(value)
		if err != nil {
			return err
		}
		m.Offset = offset
		dst = append(dst, m)
		return nil
	})
	return dst, q.explain("read", p, err)
}

// span is what to read: from an offset on, so many messages, and about so many bytes, but one message at least.
type span struct {
	from  int64
	max   int
	bytes int
}

// scan calls take for the messages of a span. Damage ends it, and is an error when it is met first.
func (q *Queue) scan(tx *bbolt.Tx, p partition, s span, take func(offset int64, value []byte) error) error {
	start, end := bounds(tx, p)
	switch {
	case s.from < start || s.from > end:
		return &queue.RangeError{Topic: p.topic, Shard: p.shard, Want: s.from, Start: start, End: end}
	case s.from == end:
		return nil
	}
	r := chunks.From(tx.Bucket(bucketName(p)).Cursor(), uint64(s.from))
	for next := s.from; next < end && s.max > 0; next++ {
		n, value, ok, err := r.Next()
		if err == nil && (!ok || n != uint64(next)) {
			err = errMissing
		}
		if err == nil && s.bytes < len(value) && next > s.from {
			return nil
		}
		if err == nil {
			err = take(next, value)
		}
		if err != nil && next > s.from {
			return nil
		}
		if err != nil {
			return &DamagedError{Topic: p.topic, Shard: p.shard, Offset: next, Reason: err.Error()}
		}
		s.max, s.bytes = s.max-1, s.bytes-len(value)
	}
	return nil
}

// BoundsTx is Bounds inside a transaction on the shard's file.
func (q *Queue) BoundsTx(tx *bbolt.Tx, topic string, shard int) (start, end int64, err error) {
	p := partition{topic, shard}
	if err := q.checkTx(tx, p); err != nil {
		return 0, 0, err
	}
	start, end = bounds(tx, p)
	return start, end, nil
}

// CommitTx is Commit inside a write transaction on the shard's file.
func (q *Queue) CommitTx(tx *bbolt.Tx, topic string, shard int, next int64) error {
	p := partition{topic, shard}
	if err := q.checkTx(tx, p); err != nil {
		return err
	}
	return q.explain("commit", p, commitTx(tx, p, next))
}

func commitTx(tx *bbolt.Tx, p partition, next int64) error {
	if next < 0 {
		return fmt.Errorf("an offset is not negative, and %d is", next)
	}
	b, err := tx.CreateBucketIfNotExists(committedBucket)
	if err != nil {
		return err
	}
	return b.Put([]byte(p.topic), offsetKey(uint64(next)))
}

// CommittedTx is Committed inside a transaction on the shard's file.
func (q *Queue) CommittedTx(tx *bbolt.Tx, topic string, shard int) (int64, error) {
	p := partition{topic, shard}
	if err := q.checkTx(tx, p); err != nil {
		return 0, err
	}
	return committed(tx, p), nil
}

func committed(tx *bbolt.Tx, p partition) int64 {
	b := tx.Bucket(committedBucket)
	if b == nil {
		return 0
	}
	if v := b.Get([]byte(p.topic)); len(v) == 8 {
		return int64(binary.BigEndian.Uint64(v))
	}
	return 0
}

// TrimTx is Trim inside a write transaction on the shard's file.
func (q *Queue) TrimTx(tx *bbolt.Tx, topic string, shard int, before int64, max int) (int, error) {
	p := partition{topic, shard}
	if err := q.checkTx(tx, p); err != nil {
		return 0, err
	}
	dropped, err := trimTx(tx, p, before, max)
	return dropped, q.explain("trim", p, err)
}

func trimTx(tx *bbolt.Tx, p partition, before int64, most int) (dropped int, err error) {
	start, end := bounds(tx, p)
	stop := min(before, end)
	if stop-start > int64(most) {
		stop = start + int64(most)
	}
	if stop <= start {
		return 0, nil
	}
	starts, err := tx.CreateBucketIfNotExists(startBucket)
	if err == nil {
		err = starts.Put([]byte(p.topic), offsetKey(uint64(stop)))
	}
	if err == nil {
		_, err = chunks.Trim(tx.Bucket(bucketName(p)), uint64(stop), math.MaxInt)
	}
	return int(stop - start), err
}

func bucketName(p partition) []byte { return []byte(topicPrefix + p.topic) }

func offsetKey(offset uint64) []byte { return binary.BigEndian.AppendUint64(nil, offset) }

// bounds gives the offset of the first message and of the next one. The end is the bucket's sequence, which trimming leaves
// alone; a topic without a bucket begins and ends at 0.
func bounds(tx *bbolt.Tx, p partition) (start, end int64) {
	b := tx.Bucket(bucketName(p))
	if b == nil {
		return 0, 0
	}
	if starts := tx.Bucket(startBucket); starts != nil {
		if v := starts.Get([]byte(p.topic)); len(v) == 8 {
			start = int64(binary.BigEndian.Uint64(v))
		}
	}
	return start, int64(b.Sequence())
}
