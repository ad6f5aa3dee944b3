package bolt

import (
	"encoding/binary"
	"errors"
	"slices"

	"go.etcd.io/bbolt"
)

// move is one step of a merge: entries that go to the end of a target run.
type move struct {
	target  uint64
	entries []entry
	readers []reader
}

// read takes the first entries of the sources, n and those with the prefix of the last of them. It writes nothing.
func (m *move) read(chunks *bbolt.Bucket, target uint64, sources []uint64, n int) error {
	m.target, m.entries = target, slices.Grow(m.entries[:0], n)
	m.readers = slices.Grow(m.readers[:0], len(sources))[:len(sources)]
	for i, number := range sources {
		m.readers[i].open(chunks, number)
	}
	for {
		r := m.first()
		if r == nil || len(m.entries) >= n && r.prefix != m.entries[len(m.entries)-1].prefix {
			return m.failed()
		}
		m.entries = append(m.entries, r.pop())
	}
}

// first is the reader with the smallest entry, or nil when there are none left.
func (m *move) first() (first *reader) {
	for i := range m.readers {
		if r := &m.readers[i]; !r.done && (first == nil || r.prefix < first.prefix) {
			first = r
		}
	}
	return first
}

func (m *move) release() {
	for i := range m.readers {
		m.readers[i].release()
	}
}

func (m *move) failed() error {
	var errs []error
	for i := range m.readers {
		errs = append(errs, m.readers[i].err)
	}
	return errors.Join(errs...)
}

// reader takes entries from the front of a run.
type reader struct {
	number uint64
	cursor *bbolt.Cursor
	key    []byte // of the chunk under the cursor
	chunk  chunk
	next   int    // the next entry of that chunk
	prefix uint64 // of the next entry
	done   bool   // there is no next entry
	used   [][]byte
	left   []entry
	err    error
}

func (r *reader) open(chunks *bbolt.Bucket, number uint64) {
	r.number, r.cursor = number, chunks.Cursor()
	start := chunkKey(number, 0)
	r.enter(r.cursor.Seek(start[:]))
}

func (r *reader) release() {
	clear(r.used)
	*r = reader{used: r.used[:0], left: r.left[:0]}
}

// enter goes to the first entry of a chunk. What bbolt gave stays valid: nothing is written before all is read.
func (r *reader) enter(key, value []byte) {
	r.done, r.next, r.key = true, 0, key
	if len(key) != 16 || binary.BigEndian.Uint64(key) != r.number {
		return
	}
	if r.chunk, r.err = openChunk(value); r.err == nil && r.chunk.len() > 0 {
		r.done, r.prefix = false, r.chunk.prefix(0)
	}
}

func (r *reader) pop() entry {
	e := r.chunk.entry(r.next)
	if r.next == 0 {
		r.used = append(r.used, r.key)
	}
	if r.next++; r.next < r.chunk.len() {
		r.prefix = r.chunk.prefix(r.next)
	} else {
		r.enter(r.cursor.Next())
	}
	return e
}

// rest are the entries of a chunk that was begun.
func (r *reader) rest() []entry {
	for i := r.next; i < r.chunk.len(); i++ {
		r.left = append(r.left, r.chunk.entry(i))
	}
	return r.left
}
