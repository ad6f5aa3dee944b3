package cqrs

import (
	"bytes"
	"errors"
	"maps"
	"math"
	"slices"

	"github.com/google/uuid"
)

// overlay is what is supposed to have been written over the value of the file at base: in memory, and never kept. One that a View has does
// not change any more; what is supposed on top of it goes into a clone, which shares the rows.
type overlay struct {
	base   uint64
	tables map[uint16][]*overRow // in the order of their keys
	ended  map[uuid.UUID]supposedEnd
}

// overRow is a row with the versions that were supposed. It does not change: a write puts another in its place.
type overRow struct {
	key    []byte
	newest *overVersion
}

type overVersion struct {
	t       uint64
	deleted bool
	row     []byte
	older   *overVersion
}

// clone gives an overlay that can be written.
func (o *overlay) clone() *overlay {
	c := &overlay{base: o.base, tables: make(map[uint16][]*overRow, len(o.tables)), ended: maps.Clone(o.ended)}
	for id, rows := range o.tables {
		c.tables[id] = slices.Clone(rows)
	}
	return c
}

// at gives the version that is valid at t, or nil when only the file knows.
func (r *overRow) at(t uint64) *overVersion {
	if r == nil {
		return nil
	}
	v := r.newest
	for v != nil && v.t > t {
		v = v.older
	}
	return v
}

func (o *overlay) find(table uint16, key []byte) (at int, found bool) {
	return slices.BinarySearchFunc(o.tables[table], key, func(r *overRow, key []byte) int { return bytes.Compare(r.key, key) })
}

func (o *overlay) row(table uint16, key []byte) *overRow {
	if at, found := o.find(table, key); found {
		return o.tables[table][at]
	}
	return nil
}

// write makes v the newest version of a row, in place of one of the same t.
func (o *overlay) write(table uint16, key []byte, v overVersion) {
	at, found := o.find(table, key)
	if !found {
		o.tables[table] = slices.Insert(o.tables[table], at, &overRow{bytes.Clone(key), &v})
		return
	}
	old := o.tables[table][at]
	if v.older = old.newest; v.older.t == v.t {
		v.older = v.older.older
	}
	o.tables[table][at] = &overRow{old.key, &v}
}

// span gives the rows whose keys lie between from (included) and to (not included); nil is no bound.
func (o *overlay) span(table uint16, from, to []byte) []*overRow {
	rows := o.tables[table]
	if to != nil {
		end, _ := o.find(table, to)
		rows = rows[:end]
	}
	begin, _ := o.find(table, from)
	return rows[min(begin, len(rows)):]
}

// enter makes sure that there is a transaction to read the file as of t with. What is supposed is worked out by the program's own code,
// which may take long and may read by itself, so no transaction is open while that runs.
func (r *rowTx) enter(t uint64) (opened bool, err error) {
	if r.tx != nil {
		return false, nil
	}
	tx, err := r.agg.readAt(min(t, r.over.base))
	if err != nil {
		return false, err
	}
	r.reset(r.agg, tx.Tx)
	r.own = tx
	return true, nil
}

// leave ends what enter opened.
func (r *rowTx) leave(opened bool) {
	if opened {
		r.own.Close()
		r.release()
	}
}

// getOver is get where something is supposed.
func (r *rowTx) getOver(table uint16, key []byte, t uint64) (row []byte, ok bool, err error) {
	if v := r.over.row(table, key).at(t); v != nil {
		return v.row, !v.deleted, nil
	}
	opened, err := r.enter(t)
	if err != nil {
		return nil, false, err
	}
	defer r.leave(opened)
	raw, err := r.newest(table, key)
	if raw == nil || err != nil {
		return nil, false, err
	}
	row, ok, err = r.asOf(table, key, raw, min(t, r.over.base))
	return bytes.Clone(row), ok, err
}

// putOver is put where something is supposed.
func (r *rowTx) putOver(table uint16, key, row []byte, deleted bool, t uint64) error {
	if deleted {
		there, err := r.thereOver(table, key, t)
		if err != nil || !there {
			return err
		}
	}
	r.over.write(table, key, overVersion{t: t, deleted: deleted, row: bytes.Clone(row)})
	return nil
}

func (r *rowTx) thereOver(table uint16, key []byte, t uint64) (bool, error) {
	_, there, err := r.getOver(table, key, t)
	return there, err
}

// versionAtOver is versionAt where something is supposed.
func (r *rowTx) versionAtOver(table uint16, key []byte, t uint64) (written uint64, row []byte, there, found bool, err error) {
	if v := r.over.row(table, key).at(t); v != nil {
		return v.t, v.row, !v.deleted, true, nil
	}
	opened, err := r.enter(t)
	if err != nil {
		return 0, nil, false, false, err
	}
	defer r.leave(opened)
	written, row, there, found, err = r.storedVersionAt(table, key, min(t, r.over.base))
	return written, bytes.Clone(row), there, found, err
}

// eachOver is each where something is supposed.
func (w *walk) eachOver(fn func(key, row []byte) error) error {
	r := w.rowTx
	opened, err := r.enter(w.t)
	if err != nil {
		return err
	}
	defer r.leave(opened)
	return w.union(func(key, raw []byte, above *overRow) error {
		if v := above.at(w.t); v != nil {
			if v.deleted {
				return nil
			}
			return fn(key, v.row)
		}
		if raw == nil {
			return nil
		}
		row, ok, err := r.asOf(w.table, key, raw, min(w.t, r.over.base))
		if err != nil || !ok {
			return err
		}
		return fn(key, row)
	})
}

// union walks the keys of the file and those that are supposed, also of rows that are not there at w.t. raw is nil when the file does not have
// the key, and above when nothing is supposed of it.
func (w *walk) union(fn func(key, raw []byte, above *overRow) error) error {
	above := w.rowTx.over.span(w.table, w.from, w.to)
	err := w.eachRaw(func(key, raw []byte) error {
		for len(above) > 0 && w.order(w.next(above).key, key) < 0 {
			row := w.next(above)
			above = w.behind(above)
			if err := fn(row.key, nil, row); err != nil {
				return err
			}
		}
		if len(above) > 0 && bytes.Equal(w.next(above).key, key) {
			row := w.next(above)
			above = w.behind(above)
			return fn(key, raw, row)
		}
		return fn(key, raw, nil)
	})
	for ; err == nil && len(above) > 0; above = w.behind(above) {
		err = fn(w.next(above).key, nil, w.next(above))
	}
	return err
}

// order compares keys in the direction of the walk.
func (w *walk) order(a, b []byte) int {
	if w.backward {
		return bytes.Compare(b, a)
	}
	return bytes.Compare(a, b)
}

func (w *walk) next(rows []*overRow) *overRow {
	if w.backward {
		return rows[len(rows)-1]
	}
	return rows[0]
}

func (w *walk) behind(rows []*overRow) []*overRow {
	if w.backward {
		return rows[:len(rows)-1]
	}
	return rows[1:]
}

// keys notes the keys of the rows of a table of which something is supposed.
func (o *overlay) keys(table uint16, seen map[string]bool) {
	if o == nil {
		return
	}
	for _, r := range o.tables[table] {
		seen[string(r.key)] = true
	}
}

// changedOver is changed where something is supposed.
func (s *reads) changedOver(r *rowTx, basis uint64) (list []Change, err error) {
	opened, err := r.enter(basis)
	if err != nil {
		return nil, err
	}
	defer r.leave(opened)
	for _, k := range s.keys {
		if list, err = r.ifNewerOver(list, k.table, k.key, basis); err != nil || len(list) >= maxChanges {
			return list, err
		}
	}
	for _, span := range s.spans {
		w := walk{rowTx: r, table: span.table, from: span.from, to: span.to}
		err := w.union(func(key, _ []byte, _ *overRow) (err error) {
			if list, err = r.ifNewerOver(list, span.table, key, basis); err == nil && len(list) >= maxChanges {
				err = errEnough
			}
			return err
		})
		if err != nil {
			return list, ignoring(err, errEnough)
		}
	}
	return list, nil
}

func ignoring(err, known error) error {
	if errors.Is(err, known) {
		return nil
	}
	return err
}

func (r *rowTx) ifNewerOver(list []Change, table uint16, key []byte, basis uint64) ([]Change, error) {
	written, _, _, found, err := r.versionAtOver(table, key, math.MaxUint64)
	if err != nil || !found || written <= basis {
		return list, err
	}
	return append(list, r.change(table, key, written)), nil
}
