// Package chunks keeps numbered, append-only entries in a bbolt bucket, several to a value.
//
// A Put of bbolt costs about a microsecond and five allocations, whatever its size. Entries that are written in one batch are
// therefore packed into values of a few kilobytes under the number of the first. A chunk is not larger, because bbolt writes a whole leaf
// (of up to four large values) when it adds to it.
package chunks

import (
	"bytes"
	"encoding/binary"
	"errors"

	"go.etcd.io/bbolt"
)

// Size is about how large a chunk of several entries becomes, in bytes: bbolt puts at least two values on a leaf, and two of this size
// fill two pages. A larger entry has a chunk of its own.
const Size = 4056

// ErrDamaged says that a chunk can't be read.
var ErrDamaged = errors.New("a chunk can't be read: the file is damaged")

// Writer packs entries. Its zero value is not usable: see NewWriter.
type Writer struct {
	bucket *bbolt.Bucket
	first  uint64 // number of the chunk's first entry
	n      uint64 // entries in the chunk
	chunk  []byte
}

// NewWriter begins with an entry of number next. All that is added must be flushed before the transaction is committed.
func NewWriter(b *bbolt.Bucket, next uint64) Writer {
	b.FillPercent = 0.95
	return Writer{bucket: b, first: next}
}

// Continue is NewWriter, but goes on with the last chunk when there is room in it, so that many small batches do not leave many small
// chunks: bbolt writes its page anyway.
func Continue(b *bbolt.Bucket, next uint64) Writer {
	w := NewWriter(b, next)
	k, v := b.Cursor().Last()
	if len(k) != 8 || len(v) > Size*3/4 {
		return w
	}
	first := binary.BigEndian.Uint64(k)
	if n, ok := count(v); ok && first+n == next {
		w.first, w.n = first, n
		w.chunk = append(make([]byte, 0, Size), v...)
	}
	return w
}

// count counts the entries of a chunk.
func count(chunk []byte) (n uint64, ok bool) {
	for ; len(chunk) > 0; n++ {
		size, k := binary.Uvarint(chunk)
		if k <= 0 || size > uint64(len(chunk)-k) {
			return 0, false
		}
		chunk = chunk[k+int(size):]
	}
	return n, true
}

// Add adds the next entry.
func (w *Writer) Add(data []byte) error {
	if len(w.chunk) > 0 && len(w.chunk)+len(data) > Size {
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if w.chunk == nil {
		w.chunk = make([]byte, 0, max(Size, len(data)+binary.MaxVarintLen64))
	}
	w.chunk = binary.AppendUvarint(w.chunk, uint64(len(data)))
	w.chunk = append(w.chunk, data...)
	w.n++
	return nil
}

// Next is the number that the next entry will have.
func (w *Writer) Next() uint64 { return w.first + w.n }

// Flush writes the chunk that has been begun.
func (w *Writer) Flush() error {
	if w.n == 0 {
		return nil
	}
	err := w.bucket.Put(Key(w.first), w.chunk)
	w.first, w.n, w.chunk = w.first+w.n, 0, nil // bbolt keeps the value until the transaction ends
	return err
}

// Key is the key of a chunk that begins with entry n.
func Key(n uint64) []byte { return binary.BigEndian.AppendUint64(make([]byte, 0, 8), n) }

// Reader walks entries in order. What it gives is valid until the transaction ends.
type Reader struct {
	cursor *bbolt.Cursor
	rest   []byte // of the chunk
	next   uint64 // number of the entry that rest begins with
	from   uint64
	begun  bool
}

// From gives a reader that begins with entry n, or with the first one behind it that is there.
func From(c *bbolt.Cursor, n uint64) Reader { return Reader{cursor: c, from: n} }

// Next gives the next entry; ok is false behind the last one.
func (r *Reader) Next() (n uint64, data []byte, ok bool, err error) {
	for {
		if len(r.rest) == 0 {
			if more, err := r.load(); !more || err != nil {
				return 0, nil, false, err
			}
		}
		size, k := binary.Uvarint(r.rest)
		if k <= 0 || size > uint64(len(r.rest)-k) {
			return 0, nil, false, ErrDamaged
		}
		data, n = r.rest[k:k+int(size):k+int(size)], r.next
		r.rest, r.next = r.rest[k+int(size):], r.next+1
		if n >= r.from {
			return n, data, true, nil
		}
	}
}

// load goes to the next chunk: at first, to the one that holds entry from.
func (r *Reader) load() (more bool, err error) {
	var k, v []byte
	if r.begun {
		k, v = r.cursor.Next()
	} else {
		k, v = seek(r.cursor, r.from)
		r.begun = true
	}
	if len(k) != 8 {
		return false, keyError(k)
	}
	r.next, r.rest = binary.BigEndian.Uint64(k), v
	return true, nil
}

// keyError tells the end of a bucket from a key that is none.
func keyError(k []byte) error {
	if k == nil {
		return nil
	}
	return ErrDamaged
}

// seek finds the last chunk that begins at n or before; when there is none, the first.
func seek(c *bbolt.Cursor, n uint64) (k, v []byte) {
	var buf [8]byte
	binary.BigEndian.PutUint64(buf[:], n)
	k, v = c.Seek(buf[:])
	if bytes.Equal(k, buf[:]) {
		return k, v
	}
	var pk, pv []byte
	if k == nil {
		pk, pv = c.Last()
	} else {
		pk, pv = c.Prev()
	}
	if pk == nil {
		return c.First()
	}
	return pk, pv
}

// Get gives entry n.
func Get(c *bbolt.Cursor, n uint64) (data []byte, ok bool, err error) {
	r := From(c, n)
	found, data, ok, err := r.Next()
	return data, ok && found == n, err
}

// Trim drops whole chunks whose entries are all below before, at most max entries, and tells how many entries it dropped. A chunk that
// reaches beyond stays.
func Trim(b *bbolt.Bucket, before uint64, max int) (dropped int, err error) {
	c := b.Cursor()
	k, _ := c.First()
	for len(k) == 8 && dropped < max {
		first := binary.BigEndian.Uint64(k)
		next, _ := c.Next()
		end := b.Sequence()
		if len(next) == 8 {
			end = binary.BigEndian.Uint64(next)
		}
		if end > before {
			break
		}
		if err := b.Delete(Key(first)); err != nil {
			return dropped, err
		}
		dropped += int(end - first)
		k, _ = c.Seek(Key(end))
	}
	if len(k) != 8 {
		return dropped, keyError(k)
	}
	return dropped, nil
}
