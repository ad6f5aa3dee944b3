package cqrs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"
)

// The history bucket holds the versions that were replaced, in the order of the t at which they were, then of table and key. Several
// of them make a chunk, a value under the key of the first: a batch writes thousands, and bbolt asks a price for each Put.

const (
	wasThere = 1 // first byte of an old row; 0 means that there was none

	historyChunk = 4000 // bytes; see chunks.Size
	historyFixed = 10   // bytes of an entry's key before the row's key: t and table
)

// oldRow is a version that was replaced.
type oldRow struct {
	key   []byte // t, table, key of the row
	value []byte // wasThere or 0, row
}

func (o *oldRow) t() uint64 { return binary.BigEndian.Uint64(o.key) }

func historyKey(dst []byte, replaced uint64, table uint16, key []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, replaced)
	dst = binary.BigEndian.AppendUint16(dst, table)
	return append(dst, key...)
}

// keepOld notes the version that is replaced at t. It is written by flushHistory.
func (r *rowTx) keepOld(table uint16, key, row []byte, there bool, t uint64) {
	value := append(r.arena.take(1+len(row)), 0)
	if there {
		value[0] = wasThere
	}
	k := historyKey(r.arena.take(historyFixed+len(key)), t, table, key)
	r.pending = append(r.pending, oldRow{k, append(value, row...)})
}

// flushHistory writes what is pending. It is called once, before the transaction is committed.
func (r *rowTx) flushHistory() error {
	if len(r.pending) == 0 {
		return nil
	}
	slices.SortFunc(r.pending, func(a, b oldRow) int { return bytes.Compare(a.key, b.key) })
	b := r.tx.Bucket(r.agg.historyName)
	b.FillPercent = 0.95
	for rest := r.pending; len(rest) > 0; {
		n := chunkOf(rest)
		if err := b.Put(rest[0].key, encodeChunk(rest[:n])); err != nil {
			return err
		}
		rest = rest[n:]
	}
	clear(r.pending)
	r.pending = r.pending[:0]
	return nil
}

// chunkOf tells how many rows go into the next chunk.
func chunkOf(rows []oldRow) (n int) {
	for size := 0; n < len(rows); n++ {
		size += len(rows[n].key) + len(rows[n].value) + 4
		if n > 0 && size > historyChunk {
			break
		}
	}
	return n
}

func encodeChunk(rows []oldRow) []byte {
	size := 0
	for _, o := range rows {
		size += len(o.key) + len(o.value) + 2*binary.MaxVarintLen32
	}
	b := make([]byte, 0, size)
	for _, o := range rows {
		b = append(binary.AppendUvarint(b, uint64(len(o.key))), o.key...)
		b = append(binary.AppendUvarint(b, uint64(len(o.value))), o.value...)
	}
	return b
}

// nextOld reads the first row of what is left of a chunk.
func nextOld(chunk []byte) (o oldRow, rest []byte, err error) {
	r := wire{rest: chunk}
	o.key, o.value = r.bytes(), r.bytes()
	if r.bad || len(o.key) < historyFixed || len(o.value) == 0 {
		return o, nil, errVersion
	}
	return o, r.rest, nil
}

// old gives the version of a row that was replaced at that t.
func (r *rowTx) old(table uint16, key []byte, replaced uint64) (row []byte, ok bool, err error) {
	var buf [128]byte
	wanted := historyKey(buf[:0], replaced, table, key)
	value, err := r.findOld(wanted, replaced)
	if err == nil && value == nil {
		err = fmt.Errorf("%w (table %s: no version replaced at t %d)", errVersion, r.agg.tables[table].name, replaced)
	}
	if err != nil {
		return nil, false, err
	}
	return value[1:], value[0] == wasThere, nil
}

func (r *rowTx) findOld(wanted []byte, replaced uint64) ([]byte, error) {
	if len(r.pending) > 0 && replaced >= r.pending[0].t() {
		return r.findPending(wanted, replaced), nil
	}
	chunk := r.chunkWith(wanted)
	for len(chunk) > 0 {
		o, rest, err := nextOld(chunk)
		if err != nil {
			return nil, err
		}
		if bytes.Equal(o.key, wanted) {
			return o.value, nil
		}
		chunk = rest
	}
	return nil, nil
}

func (r *rowTx) findPending(wanted []byte, replaced uint64) []byte {
	i, _ := slices.BinarySearchFunc(r.pending, replaced, func(o oldRow, t uint64) int {
		return bytes.Compare(o.key[:8], binary.BigEndian.AppendUint64(nil, t))
	})
	for ; i < len(r.pending) && r.pending[i].t() == replaced; i++ {
		if bytes.Equal(r.pending[i].key, wanted) {
			return r.pending[i].value
		}
	}
	return nil
}

// chunkWith gives the chunk that would hold the key.
func (r *rowTx) chunkWith(key []byte) []byte {
	if r.history == nil {
		r.history = r.tx.Bucket(r.agg.historyName).Cursor()
	}
	return lastUpTo(r.history, key)
}

// seekBelow goes to the last key below to; nil: to the last.
func seekBelow(c *bbolt.Cursor, to []byte) (k, v []byte) {
	if to != nil {
		if k, _ := c.Seek(to); k != nil {
			return c.Prev()
		}
	}
	return c.Last()
}

// lastUpTo gives the value of the last key that is not above key.
func lastUpTo(c *bbolt.Cursor, key []byte) []byte {
	if k, v := c.Seek(key); bytes.Equal(k, key) {
		return v
	}
	_, v := seekBelow(c, key)
	return v
}
