package cqrs

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"runtime/debug"
)

// Range is a piece of a table, or the rows that an index leads to, in order. It holds no resources.
type Range[V any] struct {
	walked   *tableCore // the table or index whose keys are walked
	rows     *tableCore // the table of the rows
	from, to []byte     // from on, below to; nil: no bound
	err      error
}

// Rows gives the rows in order. After an error, which comes with a zero row, it ends.
func (q Range[V]) Rows(r Reader) iter.Seq2[V, error] { return q.each(r, false) }

// Backward gives the rows in the opposite order.
func (q Range[V]) Backward(r Reader) iter.Seq2[V, error] { return q.each(r, true) }

// First gives the first row, or ErrNotFound.
func (q Range[V]) First(r Reader) (row V, err error) {
	rows, _, _, _, err := q.chunk(r, false, 1, false)
	if err != nil {
		return row, err
	}
	if len(rows) == 0 {
		return row, ErrNotFound
	}
	return rows[0], nil
}

// Count counts the rows.
func (q Range[V]) Count(r Reader) (n int, err error) {
	for more := true; more && err == nil; {
		keys, from, to, left, e := q.step(r, false, countChunk, func(*txReader, []byte, []byte) error { return nil })
		q, more, err = q.within(from, to), left, e
		n += keys
	}
	return n, err
}

// within is the same range with other bounds.
func (q Range[V]) within(from, to []byte) Range[V] {
	return Range[V]{walked: q.walked, rows: q.rows, from: from, to: to, err: q.err}
}

// Cursor says where a page ended, as text that may be sent to a client and come back. The empty Cursor is the beginning.
type Cursor string

// Page gives at most n rows behind the cursor, and the cursor of the next page, which is empty behind the last.
func (q Range[V]) Page(r Reader, n int, after Cursor) (rows []V, next Cursor, err error) {
	if q.from, err = after.from(q.from); err != nil || n <= 0 {
		return nil, "", err
	}
	rows, q.from, _, _, err = q.chunk(r, false, n, true)
	if err == nil && len(rows) == n && q.from != nil {
		next = Cursor(base64.RawURLEncoding.EncodeToString(q.from))
	}
	return rows, next, err
}

// from is where a page begins: never before the range does, whatever a client made of the cursor.
func (c Cursor) from(first []byte) ([]byte, error) {
	if c == "" {
		return first, nil
	}
	key, err := base64.RawURLEncoding.DecodeString(string(c))
	if err != nil || len(key) > maxRowKey+1 {
		return nil, fmt.Errorf("cqrs: cursor %.40q is not one that Page gave", string(c))
	}
	if bytes.Compare(key, first) < 0 {
		return first, nil
	}
	return key, nil
}

const (
	firstChunk = 4 // rows that are copied out at a time: few at first, since the caller may want no more
	scanChunk  = 256
	countChunk = 4096
)

// each reads in chunks, so that no transaction stays open while the caller works on a row. A decision that notes what it reads goes
// row by row, so that nothing is noted that it did not see.
func (q Range[V]) each(r Reader, backward bool) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		q, n := q, firstChunk
		if d, ok := r.(*Decision); ok && d.reader.seen != nil {
			n = 1
		}
		for more := true; more; n = grow(n) {
			var rows []V
			var err error
			rows, q.from, q.to, more, err = q.chunk(r, backward, n, false)
			for _, row := range rows {
				if !yield(row, nil) {
					return
				}
			}
			if err != nil {
				var zero V
				yield(zero, err)
				return
			}
		}
	}
}

func grow(n int) int {
	if n == 1 {
		return 1
	}
	return min(n*4, scanChunk)
}

// chunk reads the next n rows, and tells what is left. With ahead it knows whether there are more; without, it looks at nothing behind
// the last of them, and there may be none.
func (q Range[V]) chunk(r Reader, backward bool, n int, ahead bool) (rows []V, from, to []byte, more bool, err error) {
	_, from, to, more, err = q.step(r, backward, n, func(tr *txReader, _, value []byte) error {
		var row V
		if err := q.decode(tr, value, &row); err != nil {
			return err
		}
		if rows = append(rows, row); len(rows) == n && !ahead {
			return errEnough
		}
		return nil
	})
	return rows, from, to, more, err
}

// decode makes a row of what was found: its bytes, or from an index its key.
func (q Range[V]) decode(tr *txReader, value []byte, row *V) error {
	if q.walked == q.rows {
		return decodeRow(q.rows, value, row)
	}
	found, err := getRow(tr, q.rows, value, row)
	if err == nil && !found {
		err = fmt.Errorf("cqrs: index %s leads to a row of %s that is not there: the file is damaged", q.walked.name, q.rows.name)
	}
	return err
}

// step walks at most n keys, or until fn has enough, and gives what is left of the range.
func (q Range[V]) step(r Reader, backward bool, n int, fn func(tr *txReader, key, value []byte) error) (
	count int, from, to []byte, more bool, err error) {
	if q.err != nil {
		return 0, nil, nil, false, q.err
	}
	tr, err := r.begin()
	if err != nil {
		return 0, nil, nil, false, err
	}
	defer r.end(tr)
	defer tr.guard(&err, debug.SetPanicOnFault(true))
	id, err := tr.rowTx.agg.id(q.walked, tr.t)
	if err != nil {
		tr.fail(err)
		return 0, nil, nil, false, err
	}
	from, to = q.from, q.to
	w := walk{rowTx: tr.rowTx, table: id, from: from, to: to, t: tr.t, backward: backward}
	err = w.each(func(key, value []byte) error {
		if count == n {
			tr.seen.key(id, key) // that there is more was seen, too
			return errEnough
		}
		count++
		if backward {
			to = bytes.Clone(key)
		} else {
			from = append(bytes.Clone(key), 0)
		}
		return fn(tr, key, value)
	})
	more = errors.Is(err, errEnough)
	q.note(tr, id, backward, more, from, to)
	if err != nil && !more {
		tr.fail(err)
		return count, nil, nil, false, err
	}
	if !more {
		from = nil
	}
	return count, from, to, more, nil
}

// note records what was walked: all of the range, or the part up to where it stopped.
func (q *Range[V]) note(tr *txReader, id uint16, backward, more bool, from, to []byte) {
	switch {
	case !more:
		tr.seen.span(id, q.from, q.to)
	case backward:
		tr.seen.span(id, to, q.to)
	default:
		tr.seen.span(id, q.from, from)
	}
}

var errEnough = errors.New("enough")

// walk goes over the rows of a table as of t.
type walk struct {
	rowTx    *rowTx
	table    uint16
	from, to []byte
	t        uint64
	backward bool
}

// each calls fn for the rows that are there, until it returns an error.
func (w *walk) each(fn func(key, row []byte) error) error {
	if w.rowTx.over != nil {
		return w.eachOver(fn)
	}
	return w.eachRaw(func(key, raw []byte) error {
		row, ok, err := w.rowTx.asOf(w.table, key, raw, w.t)
		if err != nil || !ok {
			return err
		}
		return fn(key, row)
	})
}

// eachRaw calls fn for all keys of the file, with the newest version's bytes.
func (w *walk) eachRaw(fn func(key, raw []byte) error) error {
	bucket, err := w.rowTx.walked(w.table)
	if err != nil {
		return err
	}
	c := bucket.Cursor()
	next := c.Next
	k, raw := c.Seek(w.from)
	if w.backward {
		next = c.Prev
		k, raw = seekBelow(c, w.to)
	}
	for ; k != nil && w.within(k); k, raw = next() {
		if err := fn(k, raw); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) within(key []byte) bool {
	if w.backward {
		return bytes.Compare(key, w.from) >= 0
	}
	return w.to == nil || bytes.Compare(key, w.to) < 0
}
