package cqrs

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"runtime/debug"

	"github.com/cqrs-server/cqrs/internal/keys"
)

// Table is typed rows by key, ordered by key. It is made once, as a value of the program, named in Config.Tables, and read through
// a View, a *Decision or a *Tx. Rows are kept as CBOR of V's exported fields: a field that is added reads as its zero
// value in older rows. A field's type that hides its own fields needs MarshalBinary (or MarshalCBOR) and its opposite.
//
// Keys may be strings (not the empty one), integers, floats, bools, uuids, times, arrays of bytes, and structs of these (ordered by their
// fields).
type Table[K comparable, V any] struct {
	tableCore
	key     func(V) K
	encode  func([]byte, K) []byte
	indexes []tableIndex[K, V]
}

// tableCore is what a table, or an index, is without its types.
type tableCore struct {
	name      string
	signature string // of the key's type
	err       error  // why it can't be used: Open reports it
	plan      *rowPlan
	readBack  bool // a row is read once before it is written: it may be one that can't be

	// fill writes an index that is new over rows that are there.
	fill func(r *rowTx, t uint64) error
}

// AnyTable is a *Table of any types.
type AnyTable interface {
	core() *tableCore
	indexCores() []*tableCore
}

func (t *tableCore) core() *tableCore { return t }

func (t *Table[K, V]) indexCores() (cores []*tableCore) {
	for _, x := range t.indexes {
		cores = append(cores, x.core)
	}
	return cores
}

// NewTable makes a table whose rows are found by the key that key gives. Open reports a key type that can't be ordered, and a row
// type that can't be kept.
func NewTable[K comparable, V any](name string, key func(V) K) *Table[K, V] {
	t := &Table[K, V]{key: key}
	t.name, t.signature, t.plan = name, signature(reflect.TypeFor[K]()), newRowPlan(reflect.TypeFor[V]())
	t.readBack, t.err = holdsInterface(reflect.TypeFor[V]()), checkRows(reflect.TypeFor[V]())
	encode, err := keys.Encoder[K]()
	t.encode, t.err = encode, errors.Join(err, t.err)
	return t
}

// signature describes a key type by what decides its encoding.
func signature(t reflect.Type) string {
	switch {
	case t.Kind() == reflect.Struct && t.NumField() > 0 && t.Field(0).IsExported():
		s := "struct{"
		for i := range t.NumField() {
			s += signature(t.Field(i).Type) + ";"
		}
		return s + "}"
	case t.Kind() == reflect.Struct:
		return t.String()
	case t.Kind() == reflect.Array:
		return fmt.Sprintf("[%d]%s", t.Len(), signature(t.Elem()))
	}
	return t.Kind().String()
}

// Key is the key under which a row stands, or would stand.
func (t *Table[K, V]) Key(row V) K { return t.key(row) }

const maxRowKey = 16 << 10 // bytes; bbolt takes 32 KiB, and the history's keys are longer

// Get gives the row with that key, or ErrNotFound.
func (t *Table[K, V]) Get(r Reader, key K) (row V, err error) {
	tr, err := r.begin()
	if err != nil {
		return row, err
	}
	defer r.end(tr)
	defer tr.guard(&err, debug.SetPanicOnFault(true))
	found, err := getRow(tr, &t.tableCore, t.keyOf(tr, key), &row)
	if err == nil && !found {
		err = ErrNotFound
	}
	return row, err
}

// keyOf encodes a key in the transaction's scratch: it is valid until the next call.
func (t *Table[K, V]) keyOf(tr *txReader, key K) []byte {
	tr.rowTx.key = t.encode(tr.rowTx.key[:0], key)
	return tr.rowTx.key
}

// getRow reads and decodes a row.
func getRow[V any](tr *txReader, t *tableCore, key []byte, row *V) (found bool, err error) {
	raw, found, err := tr.get(t, key)
	if err == nil && found {
		if err = decodeRow(t, raw, row); err != nil {
			tr.fail(err)
		}
	}
	return found, err
}

// get reads a row's bytes, and notes that it was read.
func (r *txReader) get(t *tableCore, key []byte) (raw []byte, found bool, err error) {
	id, err := r.rowTx.agg.id(t, r.t)
	if err == nil {
		r.seen.key(id, key)
		raw, found, err = r.rowTx.get(id, key, r.t)
	}
	if err != nil {
		r.fail(err)
	}
	return raw, found, err
}

// Has tells whether there is a row with that key. Through a View that can't be read it is false, and Get says why; through a
// Decision or a Tx the decision or fold then fails.
func (t *Table[K, V]) Has(r Reader, key K) bool {
	tr, err := r.begin()
	if err != nil {
		return false
	}
	defer r.end(tr)
	found, err := t.has(tr, key)
	return found && err == nil
}

func (t *Table[K, V]) has(tr *txReader, key K) (found bool, err error) {
	defer tr.guard(&err, debug.SetPanicOnFault(true))
	_, found, err = tr.get(&t.tableCore, t.keyOf(tr, key))
	return found, err
}

// Put writes a row under its key, over the one that is there.
func (t *Table[K, V]) Put(tx *Tx, row V) error {
	buf := &tx.reader.rowTx.buffer
	buf.Reset()
	if err := rowMode.MarshalToBuffer(row, buf); err != nil {
		return tx.failed(fmt.Errorf("cqrs: table %s: a row can't be encoded: %w", t.name, err))
	}
	if t.readBack {
		if err := decodeRow(&t.tableCore, buf.Bytes(), new(V)); err != nil {
			return tx.failed(fmt.Errorf("cqrs: table %s: a row could not be read again: %w", t.name, errors.Unwrap(err)))
		}
	}
	return t.write(tx, t.key(row), &row, buf.Bytes())
}

// Delete takes away the row with that key, if it is there.
func (t *Table[K, V]) Delete(tx *Tx, key K) error {
	return t.write(tx, key, nil, nil)
}

// write writes a row, or takes it away when row is nil, and brings the indexes along.
func (t *Table[K, V]) write(tx *Tx, key K, row *V, raw []byte) (err error) {
	defer tx.reader.guard(&err, debug.SetPanicOnFault(true))
	k := t.keyOf(&tx.reader, key)
	if len(t.indexes) > 0 {
		if err := t.index(tx, key, k, row); err != nil {
			return tx.failed(fmt.Errorf("cqrs: table %s: %w", t.name, err))
		}
	}
	return tx.put(&t.tableCore, k, raw, row == nil)
}

// put writes a row's bytes.
func (tx *Tx) put(t *tableCore, key, raw []byte, deleted bool) error {
	id, err := tx.reader.rowTx.agg.id(t, tx.reader.t)
	if err != nil {
		return tx.failed(err)
	}
	if err := t.checkKey(key); err != nil {
		return tx.failed(err)
	}
	if err := tx.reader.rowTx.put(id, key, raw, deleted, tx.reader.t); err != nil {
		return tx.failed(fmt.Errorf("cqrs: table %s: %w", t.name, err))
	}
	return nil
}

func (t *tableCore) checkKey(key []byte) error {
	if len(key) == 0 || len(key) > maxRowKey {
		return fmt.Errorf("cqrs: table %s: a key has %d bytes, and must have 1 to %d", t.name, len(key), maxRowKey)
	}
	return nil
}

// failed makes the fold fail as a whole even when its program ignores the error.
func (tx *Tx) failed(err error) error {
	tx.reader.fail(err)
	return err
}

// All gives all rows in the order of their keys. After an error, which comes with a zero row, it ends.
func (t *Table[K, V]) All(r Reader) iter.Seq2[V, error] { return t.Whole().Rows(r) }

// Whole is the whole table.
func (t *Table[K, V]) Whole() Range[V] { return t.span(nil, nil, nil) }

// From is the rows with keys from that one on.
func (t *Table[K, V]) From(key K) Range[V] { return t.span(t.encode(nil, key), nil, nil) }

// Between is the rows with keys from from on, below to.
func (t *Table[K, V]) Between(from, to K) Range[V] {
	return t.span(t.encode(nil, from), t.encode([]byte{}, to), nil) // nil would be no bound, and the empty text is one
}

// Prefix is the rows whose keys begin with that text. For keys that are structs, it is those whose first fields are the same as
// key's: as many of them as fields says. (For texts, fields is not looked at.)
func (t *Table[K, V]) Prefix(key K, fields int) Range[V] {
	if reflect.TypeFor[K]().Kind() == reflect.String {
		p := t.encode(nil, key)
		return t.span(p, keys.After(p), nil)
	}
	p, err := keys.Prefix(key, fields)
	return t.span(p, keys.After(p), err)
}

func (t *Table[K, V]) span(from, to []byte, err error) Range[V] {
	return Range[V]{walked: &t.tableCore, rows: &t.tableCore, from: bytes.Clone(from), to: to, err: err}
}
