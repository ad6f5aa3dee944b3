package cqrs

import (
	"bytes"
	"slices"
	"unsafe"

	"go.etcd.io/bbolt"
)

// A write transaction holds the newest versions of the rows that it has looked at, and puts those that changed into their bucket once:
// before it is committed, before a range of their table is walked, or when it holds many. bbolt asks a price for each look-up and for
// each Put, and the commits of a batch touch the same rows again and again.

// maxHeld is how many rows of a table a transaction holds at the most.
const maxHeld = 1 << 14

// heldRow is the newest version of a row.
type heldRow struct {
	key     []byte
	raw     []byte // nil: there is no such row
	changed bool   // the bucket has another version
}

// tableTx is a table's bucket in a transaction.
type tableTx struct {
	bucket *bbolt.Bucket
	cursor *bbolt.Cursor

	held    []heldRow      // of a write transaction
	places  map[string]int // in held, by key
	last    int            // the place that was looked up last: a fold mostly writes what it has just read
	changed []int          // places
}

func (r *rowTx) table(id uint16) *tableTx {
	t := &r.tables[id]
	if t.bucket == nil {
		t.bucket = r.tx.Bucket(r.agg.bucketOf(id))
		t.cursor = t.bucket.Cursor()
	}
	return t
}

// newest gives the bytes of a row's newest version, or nil.
func (r *rowTx) newest(table uint16, key []byte) ([]byte, error) {
	t := r.table(table)
	if !r.tx.Writable() {
		return t.seek(key), nil
	}
	i, err := t.hold(key, &r.arena)
	if err != nil {
		return nil, err
	}
	return t.held[i].raw, nil
}

// seek looks into the bucket.
func (t *tableTx) seek(key []byte) []byte {
	k, raw := t.cursor.Seek(key)
	if !bytes.Equal(k, key) {
		return nil
	}
	return raw
}

// hold gives the place of a row. It is valid until hold is called for another row.
func (t *tableTx) hold(key []byte, mem *arena) (int, error) {
	if t.last < len(t.held) && bytes.Equal(t.held[t.last].key, key) {
		return t.last, nil
	}
	i, ok := t.places[string(key)]
	if !ok {
		if err := t.makeRoom(); err != nil {
			return 0, err
		}
		i = len(t.held)
		own := append(mem.take(len(key)), key...)
		t.places[unsafe.String(unsafe.SliceData(own), len(own))] = i // nobody changes a key
		t.held = append(t.held, heldRow{key: own, raw: t.seek(key)})
	}
	t.last = i
	return i, nil
}

func (t *tableTx) makeRoom() (err error) {
	if len(t.held) == maxHeld {
		err = t.flush()
		t.forget()
	}
	if t.places == nil {
		t.places = map[string]int{}
	}
	return err
}

// change sets a row that is held.
func (t *tableTx) change(i int, raw []byte) {
	h := &t.held[i]
	h.raw = raw
	if !h.changed {
		h.changed = true
		t.changed = append(t.changed, i)
	}
}

// flush puts what has changed into the bucket, in the order of the keys: bbolt moves what stands behind a key that is new.
func (t *tableTx) flush() error {
	slices.SortFunc(t.changed, func(a, b int) int { return bytes.Compare(t.held[a].key, t.held[b].key) })
	for _, i := range t.changed {
		if err := t.held[i].put(t.bucket); err != nil {
			return err
		}
	}
	t.changed = t.changed[:0]
	return nil
}

func (h *heldRow) put(b *bbolt.Bucket) error {
	h.changed = false
	if h.raw == nil {
		return b.Delete(h.key)
	}
	return b.Put(h.key, h.raw)
}

// manyHeld is so many that the memory they took is not worth keeping.
const manyHeld = 1 << 12

// forget lets go of all rows.
func (t *tableTx) forget() {
	if len(t.held) > manyHeld {
		*t = tableTx{bucket: t.bucket, cursor: t.cursor}
		return
	}
	clear(t.held)
	clear(t.places)
	t.held, t.changed, t.last = t.held[:0], t.changed[:0], 0
}

// release lets go of the transaction.
func (t *tableTx) release() {
	t.forget()
	t.bucket, t.cursor = nil, nil
}

// flushRows puts the changed rows of all tables into their buckets.
func (r *rowTx) flushRows() error {
	for i := range r.tables {
		if err := r.tables[i].flush(); err != nil {
			return err
		}
	}
	if len(r.groups.rows) == 0 {
		return nil
	}
	_, err := r.flushGroups()
	return err
}

// walked gives a table's bucket for a walk over its rows: what has changed is in it.
func (r *rowTx) walked(table uint16) (*bbolt.Bucket, error) {
	t := r.table(table)
	return t.bucket, t.flush()
}
