package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"

	"go.etcd.io/bbolt"
)

// move is one step of a merge: entries that go to the end of a target run.
type move struct {
	target  uint64
	entries []entry
	ended   []uint64 // sources that are empty now
	readers []*reader
}

// readMove takes the first entries of the sources, n and those with the prefix of the last of them. It writes nothing.
func readMove(chunks *bbolt.Bucket, target uint64, sources []uint64, n int) (move, error) {
	m := move{target: target, entries: make([]entry, 0, n)}
	for _, number := range sources {
		m.readers = append(m.readers, newReader(chunks, number))
	}
	for {
		r := m.first()
		if r == nil || len(m.entries) >= n && r.rest[0].prefix != m.entries[len(m.entries)-1].prefix {
			return m, m.end()
		}
		m.entries = append(m.entries, r.pop())
	}
}

// first is the reader with the smallest entry.
func (m *move) first() (first *reader) {
	for _, r := range m.readers {
		if len(r.rest) > 0 && (first == nil || r.rest[0].prefix < first.rest[0].prefix) {
			first = r
		}
	}
	return first
}

func (m *move) end() error {
	var errs []error
	for _, r := range m.readers {
		errs = append(errs, r.err)
		if len(r.rest) == 0 {
			m.ended = append(m.ended, r.number)
		}
	}
	return errors.Join(errs...)
}

func (m *move) write(chunks *bbolt.Bucket) error {
	for _, r := range m.readers {
		for _, key := range r.used {
			if err := chunks.Delete(key); err != nil {
				return err
			}
		}
		if r.taken > 0 {
			if err := writeChunks(chunks, r.number, r.rest); err != nil {
				return err
			}
		}
	}
	return writeChunks(chunks, m.target, m.entries)
}

// reader takes entries from the front of a run.
type reader struct {
	number uint64
	c      *bbolt.Cursor
	key    []byte
	buf    [chunkEntries]entry
	rest   []entry  // of the chunk under the cursor
	taken  int      // from that chunk
	used   [][]byte // keys of the chunks that entries were taken from
	err    error
}

func newReader(chunks *bbolt.Bucket, number uint64) *reader {
	r := &reader{number: number, c: chunks.Cursor()}
	start := chunkKey(number, 0)
	r.open(r.c.Seek(start[:]))
	return r
}

func (r *reader) open(key, value []byte) {
	r.rest, r.taken, r.key = r.buf[:0], 0, key
	if len(key) != 16 || binary.BigEndian.Uint64(key) != r.number {
		return
	}
	chunk, err := openChunk(value)
	if err != nil {
		r.err = err
		return
	}
	for i := range chunk.len() {
		r.rest = append(r.rest, chunk.entry(i))
	}
}

func (r *reader) pop() entry {
	e := r.rest[0]
	if r.taken == 0 {
		r.used = append(r.used, bytes.Clone(r.key))
	}
	r.rest, r.taken = r.rest[1:], r.taken+1
	if len(r.rest) == 0 {
		r.open(r.c.Next())
	}
	return e
}
