package cqrs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"sort"

	"github.com/cqrs-server/cqrs/internal/mutant"
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

// pendingRows are rows of history or of groups that are not written yet. They hold no pointers, of which a large transaction would have
// many. Those of history are in the order of t.
type pendingRows struct {
	rows  []pendingRow
	bytes []byte
}

// pendingRow is where a row's key and value are, one behind the other.
type pendingRow struct{ at, key, value int }

func (p *pendingRows) row(i int) oldRow {
	r := &p.rows[i]
	value := r.at + r.key
	return oldRow{p.bytes[r.at:value:value], p.bytes[value : value+r.value : value+r.value]}
}

// put adds a row whose key and value were appended to the bytes from at on.
func (p *pendingRows) put(at, key int) {
	p.rows = append(p.rows, pendingRow{at, key, len(p.bytes) - at - key})
}

func (p *pendingRows) t(i int) uint64 { return binary.BigEndian.Uint64(p.bytes[p.rows[i].at:]) }

// cut takes back the rows behind the first n. Their bytes stay: somebody may have been given them.
func (p *pendingRows) cut(n int) { p.rows = p.rows[:n] }

// maxPending is how many bytes are kept for the next transaction.
const maxPending = 8 << 20

func (p *pendingRows) release() {
	if cap(p.bytes) > maxPending {
		*p = pendingRows{}
	}
	p.rows, p.bytes = p.rows[:0], p.bytes[:0]
}

// keepOld notes the version that is replaced at t. It is written by flushHistory.
func (r *rowTx) keepOld(table uint16, key, row []byte, there bool, t uint64) {
	if mutant.Is("history not kept") {
		return
	}
	p := &r.pending
	at, flag := len(p.bytes), byte(0)
	if there {
		flag = wasThere
	}
	p.bytes = append(append(historyKey(p.bytes, t, table, key), flag), row...)
	p.put(at, historyFixed+len(key))
}

// flushHistory writes what is pending. It is called once, before the transaction is committed.
func (r *rowTx) flushHistory() error {
	p := &r.pending
	if len(p.rows) == 0 {
		return nil
	}
	p.sort()
	b := r.tx.Bucket(r.agg.historyName)
	b.FillPercent = 0.95
	for from := 0; from < len(p.rows); {
		to, size := p.chunkFrom(from)
		if err := b.Put(p.row(from).key, p.appendChunk(r.arena.take(size), from, to)); err != nil {
			return err
		}
		from = to
	}
	p.cut(0)
	return nil
}

func (p *pendingRows) sort() {
	slices.SortStableFunc(p.rows, func(a, b pendingRow) int {
		return bytes.Compare(p.bytes[a.at:a.at+a.key], p.bytes[b.at:b.at+b.key])
	})
}

// chunkFrom tells where the chunk ends that begins with a row, and how many bytes are enough for it.
func (p *pendingRows) chunkFrom(from int) (to, size int) {
	for to = from; to < len(p.rows); to++ {
		n := p.rows[to].key + p.rows[to].value + 2*binary.MaxVarintLen32
		if to > from && size+n > historyChunk {
			break
		}
		size += n
	}
	return to, size
}

func (p *pendingRows) appendChunk(b []byte, from, to int) []byte {
	for i := from; i < to; i++ {
		o := p.row(i)
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
	if len(r.pending.rows) > 0 && replaced >= r.pending.t(0) {
		return r.pending.find(wanted, replaced), nil
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

func (p *pendingRows) find(wanted []byte, replaced uint64) []byte {
	for i := sort.Search(len(p.rows), func(i int) bool { return p.t(i) >= replaced }); i < len(p.rows) && p.t(i) == replaced; i++ {
		if o := p.row(i); bytes.Equal(o.key, wanted) {
			return o.value
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
