package bolt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/cqrs-server/cqrs/store"
	"go.etcd.io/bbolt"
)

// The log.
//
// A Put of bbolt costs about a microsecond and several allocations, whatever its size. Records of one shard that follow
// one another and are put together therefore share a value, a chunk. Its key is the shard and the t of its first record. It holds
// the bytes of its records, then where each but the last one ends, and how many there are (2 bytes each). A record that is
// put out of order has a chunk of its own or shares one with those that follow it. Chunks do not overlap, so a record
// is in the last chunk that does not begin behind it, or nowhere.

const (
	// maxChunk lets a leaf of bbolt, which holds two large values at least, fill two pages.
	maxChunk  = 4048
	chunkTail = 2
)

// logKey is a chunk's key: shard, t of the first record.
func logKey(shard int, t uint64) (key [12]byte) {
	binary.BigEndian.PutUint32(key[:], uint32(shard))
	binary.BigEndian.PutUint64(key[4:], t)
	return key
}

func shardOf(key []byte) int { return int(binary.BigEndian.Uint32(key)) }

func tOf(key []byte) uint64 { return binary.BigEndian.Uint64(key[4:]) }

// records are those of a chunk.
type records struct {
	first uint64 // t of the first
	n     int
	ends  []byte
	bytes []byte
}

func openRecords(key, value []byte) (r records, err error) {
	end := len(value) - chunkTail
	if end >= 0 {
		r.n = int(binary.LittleEndian.Uint16(value[end:]))
	}
	ends := end - 2*(r.n-1)
	if len(key) != 12 || r.n == 0 || ends < 0 {
		return records{}, fmt.Errorf("the chunk at key %x of the log is cut off: %w", key, errDamaged)
	}
	r.first, r.bytes, r.ends = tOf(key), value[:ends], value[ends:end]
	return r, nil
}

func (r *records) last() uint64 { return r.first + uint64(r.n) - 1 }

// at gives the bytes of the record with that t, or nil when it is not in the chunk.
func (r *records) at(t uint64) ([]byte, error) {
	if t < r.first || t > r.last() {
		return nil, nil
	}
	i := int(t - r.first)
	from, to := r.end(i-1), r.end(i)
	if from >= to || to > len(r.bytes) {
		return nil, fmt.Errorf("t %d is cut off in its chunk of the log: %w", t, errDamaged)
	}
	return r.bytes[from:to:to], nil
}

func (r *records) end(i int) int {
	switch {
	case i < 0:
		return 0
	case i == r.n-1:
		return len(r.bytes)
	}
	return int(binary.LittleEndian.Uint16(r.ends[2*i:]))
}

// seekLog goes to the last chunk of the shard that does not begin behind t; when there is none, to the first one behind it.
// The key is nil when the shard has neither.
func seekLog(c *bbolt.Cursor, shard int, t uint64) (key, value []byte) {
	want := logKey(shard, t)
	return seekBack(c, want[:4], want[:])
}

// seekBack goes to the last key with the prefix that is not behind want; when there is none, to the first one behind it.
// The key is nil when there is no key with the prefix.
func seekBack(c *bbolt.Cursor, prefix, want []byte) (key, value []byte) {
	found, value := c.Seek(want)
	if bytes.Equal(found, want) {
		return found, value
	}
	if found == nil {
		key, value = c.Last()
	} else {
		key, value = c.Prev()
	}
	if !bytes.HasPrefix(key, prefix) {
		key, value = c.Seek(want)
	}
	if !bytes.HasPrefix(key, prefix) {
		return nil, nil
	}
	return key, value
}

// logged gives the bytes of a record in the log, or nil when it is not there.
func logged(c *bbolt.Cursor, shard int, t uint64) ([]byte, error) {
	l := logReader{cursor: c}
	return l.get(shard, t)
}

// logReader looks at the chunk that it found last before it searches.
type logReader struct {
	cursor *bbolt.Cursor
	shard  int
	open   records
}

func openLog(tx *bbolt.Tx) (*logReader, error) {
	log := tx.Bucket(logBucket)
	if log == nil {
		return nil, fmt.Errorf("an index has entries, and there is no log: %w", errDamaged)
	}
	return &logReader{cursor: log.Cursor()}, nil
}

func (l *logReader) get(shard int, t uint64) ([]byte, error) {
	if l.shard != shard || l.open.n == 0 || t < l.open.first || t > l.open.last() {
		key, value := seekLog(l.cursor, shard, t)
		if key == nil {
			return nil, nil
		}
		var err error
		if l.open, err = openRecords(key, value); err != nil {
			return nil, err
		}
		l.shard = shard
	}
	return l.open.at(t)
}

// find is get for a record that an index points to.
func (l *logReader) find(shard int, t uint64) ([]byte, error) {
	data, err := l.get(shard, t)
	if err == nil && data == nil {
		err = missing(shard, t)
	}
	return data, err
}

func missing(shard int, t uint64) error {
	return fmt.Errorf("an index points to t %d of shard %d, which is not there: %w", t, shard, errDamaged)
}

// load decodes a record that an index points to. Its bytes are the transaction's.
func (l *logReader) load(shard int, t uint64, r *store.Record) error {
	data, err := l.find(shard, t)
	if err != nil {
		return err
	}
	return decode(shard, t, data, r)
}

func decode(shard int, t uint64, data []byte, r *store.Record) error {
	r.Shard, r.T = shard, t
	if err := r.Decode(data); err != nil {
		return fmt.Errorf("t %d of shard %d: %w: %w", t, shard, errDamaged, err)
	}
	return nil
}

func lastIn(tx *bbolt.Tx, shard int) (uint64, error) {
	log := tx.Bucket(logBucket)
	if log == nil || shard < 0 {
		return 0, nil
	}
	key, value := seekLog(log.Cursor(), shard, math.MaxUint64) // no record has that t
	if key == nil {
		return 0, nil
	}
	r, err := openRecords(key, value)
	if err != nil {
		return 0, fmt.Errorf("shard %d: %w", shard, err)
	}
	return r.last(), nil
}
