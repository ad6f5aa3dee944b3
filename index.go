package cqrs

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"reflect"

	"github.com/cqrs-server/cqrs/internal/keys"
)

// ErrTaken is the error of a fold that gives a row a value of a unique index that another row has.
var ErrTaken = errors.New("another row has that value")

// tableIndex is an index as its table sees it.
type tableIndex[K comparable, V any] struct {
	core    *tableCore
	unique  bool
	entries func(row V, key K) [][]byte // the index's keys of a row
}

// Index finds the rows of a table by values that are computed from them, in the order of these values. It is versioned with its table: read
// through a View it shows what was there at the View's t. It needs no name in Config.Tables: its table brings it along.
type Index[X comparable, V any] struct {
	core *tableCore
	rows *tableCore

	values    func(V) []X
	composite bool // the row's key is part of the index's key
	encode    func([]byte, X) []byte
	prefix    func(X) ([]byte, error)
}

// indexKey is an entry of an index that may have several rows for a value.
type indexKey[X, K any] struct {
	Value X
	Key   K
}

// NewIndex makes an index of a table. Make it beside the table, before Open.
func NewIndex[K comparable, V any, X comparable](t *Table[K, V], name string, value func(V) X) *Index[X, V] {
	return NewMultiIndex(t, name, func(row V) []X { return []X{value(row)} })
}

// NewMultiIndex makes an index in which a row stands under several values, or under none.
func NewMultiIndex[K comparable, V any, X comparable](t *Table[K, V], name string, values func(V) []X) *Index[X, V] {
	encode, err := keys.Encoder[indexKey[X, K]]()
	core := newIndexCore[K, X](t, name, false, err)
	addIndex(t, core, false, func(row V, key K) (entries [][]byte) {
		for _, v := range values(row) {
			entries = append(entries, encode(nil, indexKey[X, K]{v, key}))
		}
		return entries
	})
	return &Index[X, V]{core: core, rows: &t.tableCore, values: values, composite: true, prefix: func(x X) ([]byte, error) {
		return keys.Prefix(indexKey[X, K]{Value: x}, 1)
	}}
}

// NewUniqueIndex makes an index in which no two rows have the same value. A fold that would break that fails as a whole, with
// ErrTaken; a Serializable decision that looks first can't run into it. values gives one value, several, or none for a row that the
// index passes over.
func NewUniqueIndex[K comparable, V any, X comparable](t *Table[K, V], name string, values func(V) []X) *Index[X, V] {
	encode, err := keys.Encoder[X]()
	core := newIndexCore[K, X](t, name, true, err)
	addIndex(t, core, true, func(row V, _ K) (entries [][]byte) {
		for _, v := range values(row) {
			entries = append(entries, encode(nil, v))
		}
		return entries
	})
	return &Index[X, V]{core: core, rows: &t.tableCore, values: values, encode: encode}
}

func newIndexCore[K, X comparable, V any](t *Table[K, V], name string, unique bool, err error) *tableCore {
	c := &tableCore{name: t.name + "/" + name, err: err}
	c.signature = fmt.Sprintf("index{%s;%s;%v}", signature(reflect.TypeFor[X]()), t.signature, unique)
	return c
}

func addIndex[K comparable, V any](t *Table[K, V], core *tableCore, unique bool, entries func(V, K) [][]byte) {
	x := tableIndex[K, V]{core, unique, entries}
	core.fill = func(r *rowTx, at uint64) error { return t.fill(r, x, at) }
	t.indexes = append(t.indexes, x)
}

// index brings the indexes along with a row that is about to be written, or taken away when row is nil.
func (t *Table[K, V]) index(tx *Tx, key K, k []byte, row *V) error {
	var old V
	there, err := getRow(&tx.reader, &t.tableCore, k, &old)
	if err != nil {
		return err
	}
	for _, x := range t.indexes {
		var before, after [][]byte
		if there {
			before = x.entries(old, key)
		}
		if row != nil {
			after = x.entries(*row, key)
		}
		if err := x.move(tx, k, before, after); err != nil {
			return fmt.Errorf("index %s: %w", x.core.name, err)
		}
	}
	return nil
}

// move takes entries away that are no longer right, and adds new ones.
func (x *tableIndex[K, V]) move(tx *Tx, k []byte, before, after [][]byte) error {
	for _, e := range before {
		if !containsBytes(after, e) {
			if err := tx.put(x.core, e, nil, true); err != nil {
				return err
			}
		}
	}
	for _, e := range after {
		if containsBytes(before, e) {
			continue
		}
		if err := x.free(&tx.reader, e, k); err != nil {
			return err
		}
		if err := tx.put(x.core, e, k, false); err != nil {
			return err
		}
	}
	return nil
}

// free returns ErrTaken when the entry of a unique index belongs to another row.
func (x *tableIndex[K, V]) free(tr *txReader, entry, k []byte) error {
	if !x.unique {
		return nil
	}
	holder, taken, err := tr.get(x.core, entry)
	if err == nil && taken && !bytes.Equal(holder, k) {
		err = fmt.Errorf("%w (value %.60q)", ErrTaken, entry)
	}
	return err
}

func containsBytes(list [][]byte, b []byte) bool {
	for _, e := range list {
		if bytes.Equal(e, b) {
			return true
		}
	}
	return false
}

// fill makes the entries of all rows that are there. They have no history: the index can be read as of at and later.
func (t *Table[K, V]) fill(r *rowTx, x tableIndex[K, V], at uint64) error {
	table, index := r.agg.ids[&t.tableCore], r.agg.ids[x.core]
	tr := &txReader{rowTx: r, t: at}
	w := walk{rowTx: r, table: table, t: at}
	return w.each(func(k, raw []byte) error {
		var row V
		if err := decodeRow(&t.tableCore, raw, &row); err != nil {
			return err
		}
		for _, e := range x.entries(row, t.key(row)) {
			err := errors.Join(x.core.checkKey(e), x.free(tr, e, k))
			if err == nil {
				err = r.putFirst(index, e, k, at)
			}
			if err != nil {
				return fmt.Errorf("index %s can't be added over the rows that are there: %w", x.core.name, err)
			}
		}
		return nil
	})
}

// Values are the values under which a row stands, or would stand, in the index.
func (x *Index[X, V]) Values(row V) []X { return x.values(row) }

// Find gives the rows with that value, in the order of their keys.
func (x *Index[X, V]) Find(r Reader, value X) iter.Seq2[V, error] { return x.Equal(value).Rows(r) }

// Get gives the row with that value (the first one, if the index is not unique), or ErrNotFound.
func (x *Index[X, V]) Get(r Reader, value X) (V, error) { return x.Equal(value).First(r) }

// Has tells whether there is a row with that value. It is false, too, through a View that can't be read.
func (x *Index[X, V]) Has(r Reader, value X) bool {
	_, err := x.Get(r, value)
	return err == nil
}

// All gives all rows in the order of their values; a row with several values comes several times.
func (x *Index[X, V]) All(r Reader) iter.Seq2[V, error] { return x.Whole().Rows(r) }

// Whole is all rows in the order of their values.
func (x *Index[X, V]) Whole() Range[V] { return x.span(nil, nil, nil) }

// Equal is the rows with that value.
func (x *Index[X, V]) Equal(value X) Range[V] {
	p, err := x.begin(value)
	if x.composite {
		return x.span(p, keys.After(p), err)
	}
	return x.span(p, append(bytes.Clone(p), 0), err)
}

// From is the rows with values from that one on.
func (x *Index[X, V]) From(value X) Range[V] {
	p, err := x.begin(value)
	return x.span(p, nil, err)
}

// Between is the rows with values from from on, below to.
func (x *Index[X, V]) Between(from, to X) Range[V] {
	p, err := x.begin(from)
	q, err2 := x.begin(to)
	return x.span(p, q, errors.Join(err, err2))
}

// begin is where the entries of a value begin.
func (x *Index[X, V]) begin(value X) ([]byte, error) {
	if x.composite {
		return x.prefix(value)
	}
	return x.encode([]byte{}, value), nil // nil would be no bound, and the empty text is one
}

func (x *Index[X, V]) span(from, to []byte, err error) Range[V] {
	return Range[V]{walked: x.core, rows: x.rows, from: from, to: to, err: err}
}
