package cqrs

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"reflect"

	"github.com/cqrs-server/cqrs/internal/keys"
	"github.com/fxamacker/cbor/v2"
)

// Table is typed rows by key, ordered by key. It is made once, as a value of the program, named in Config.Tables, and read through
// a View, a *Decision or a *Tx. Rows are kept as CBOR of V's exported fields: a field that is added reads as its zero
// value in older rows.
//
// Keys may be strings, integers, floats, bools, uuids, times, arrays of bytes, and structs of these (ordered by their fields).
type Table[K comparable, V any] struct {
	tableCore
	key    func(V) K
	encode func([]byte, K) []byte
}

// tableCore is what a table is without its types.
type tableCore struct {
	name      string
	signature string // of the key's type
	err       error  // why the table can't be used: Open reports it
}

// AnyTable is a *Table of any types.
type AnyTable interface{ core() *tableCore }

func (t *tableCore) core() *tableCore { return t }

// NewTable makes a table whose rows are found by the key that key gives. Open reports a key type that can't be ordered.
func NewTable[K comparable, V any](name string, key func(V) K) *Table[K, V] {
	t := &Table[K, V]{key: key}
	t.name, t.signature = name, signature(reflect.TypeFor[K]())
	t.encode, t.err = keys.Encoder[K]()
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

const maxRowKey = 16 << 10 // bytes; bbolt takes 32 KiB, and the history's keys are longer

// Get gives the row with that key, or ErrNotFound.
func (t *Table[K, V]) Get(r Reader, key K) (V, error) {
	var row V
	tr, err := r.begin()
	if err != nil {
		return row, err
	}
	defer r.end(tr)
	raw, ok, err := t.find(tr, key)
	if err == nil && ok {
		err = decodeRow(t.name, raw, &row)
	}
	if err != nil {
		tr.fail(err)
		return row, err
	}
	if !ok {
		return row, ErrNotFound
	}
	return row, nil
}

// Has tells whether there is a row with that key. Through a View that can't be read it is false, and Get says why; through a
// Decision or a Tx the decision or fold then fails.
func (t *Table[K, V]) Has(r Reader, key K) bool {
	tr, err := r.begin()
	if err != nil {
		return false
	}
	defer r.end(tr)
	_, ok, err := t.find(tr, key)
	if err != nil {
		tr.fail(err)
	}
	return ok && err == nil
}

func (t *Table[K, V]) find(tr *txReader, key K) ([]byte, bool, error) {
	id, err := tr.rowTx.agg.id(&t.tableCore)
	if err != nil {
		return nil, false, err
	}
	var buf [64]byte
	return tr.rowTx.get(id, t.encode(buf[:0], key), tr.t)
}

func (a *aggregate) id(t *tableCore) (uint16, error) {
	if id, ok := a.ids[t]; ok {
		return id, nil
	}
	return 0, fmt.Errorf("cqrs: table %s is not named in Config.Tables", t.name)
}

// Put writes a row under its key, over the one that is there.
func (t *Table[K, V]) Put(tx *Tx, row V) error {
	buf := rowBuffer(tx)
	if err := rowMode.MarshalToBuffer(row, buf); err != nil {
		return tx.failed(fmt.Errorf("cqrs: table %s: a row can't be encoded: %w", t.name, err))
	}
	return t.write(tx, t.key(row), buf.Bytes(), false)
}

// Delete takes away the row with that key, if it is there.
func (t *Table[K, V]) Delete(tx *Tx, key K) error {
	return t.write(tx, key, nil, true)
}

func (t *Table[K, V]) write(tx *Tx, key K, row []byte, deleted bool) error {
	id, err := tx.reader.rowTx.agg.id(&t.tableCore)
	if err != nil {
		return tx.failed(err)
	}
	var buf [64]byte
	k := t.encode(buf[:0], key)
	if len(k) == 0 || len(k) > maxRowKey {
		return tx.failed(fmt.Errorf("cqrs: table %s: a key has %d bytes, and must have 1 to %d", t.name, len(k), maxRowKey))
	}
	if err := tx.reader.rowTx.put(id, k, row, deleted, tx.reader.t); err != nil {
		return tx.failed(fmt.Errorf("cqrs: table %s: %w", t.name, err))
	}
	return nil
}

// failed makes the fold fail as a whole even when its program ignores the error.
func (tx *Tx) failed(err error) error {
	tx.reader.fail(err)
	return err
}

// All gives all rows in the order of their keys. After an error, which comes with a zero row, it ends.
func (t *Table[K, V]) All(r Reader) iter.Seq2[V, error] {
	return t.scan(r, nil, nil)
}

// Range gives the rows with keys from from on, below to, in order. After an error, which comes with a zero row, it ends.
func (t *Table[K, V]) Range(r Reader, from, to K) iter.Seq2[V, error] {
	return t.scan(r, t.encode(nil, from), t.encode(nil, to))
}

const scanChunk = 256 // rows that are copied out at a time

// scan reads in chunks, so that no transaction stays open while the caller works on a row.
func (t *Table[K, V]) scan(r Reader, from, to []byte) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		for more := true; more; {
			var rows []V
			var err error
			rows, from, more, err = t.chunk(r, from, to)
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

// chunk reads the next rows, and tells where to go on.
func (t *Table[K, V]) chunk(r Reader, from, to []byte) (rows []V, next []byte, more bool, err error) {
	tr, err := r.begin()
	if err != nil {
		return nil, nil, false, err
	}
	defer r.end(tr)
	id, err := tr.rowTx.agg.id(&t.tableCore)
	if err != nil {
		return nil, nil, false, err
	}
	next, more, err = tr.rowTx.scan(id, from, to, tr.t, func(raw []byte) (bool, error) {
		var row V
		err := decodeRow(t.name, raw, &row)
		rows = append(rows, row)
		return len(rows) < scanChunk, err
	})
	if err != nil {
		tr.fail(err)
	}
	return rows, next, more, err
}

// scan calls fn with the rows as of t from the key from on, below to (nil: to the end), until fn says that it is enough.
func (r *rowTx) scan(table uint16, from, to []byte, t uint64, fn func(row []byte) (bool, error)) (next []byte, more bool, err error) {
	c := r.table(table).bucket.Cursor()
	for k, raw := c.Seek(from); k != nil && (to == nil || bytes.Compare(k, to) < 0); k, raw = c.Next() {
		row, ok, err := r.asOf(table, k, raw, t)
		if err != nil {
			return nil, false, err
		}
		if !ok {
			continue
		}
		if goOn, err := fn(row); !goOn || err != nil {
			return append(bytes.Clone(k), 0), err == nil, err
		}
	}
	return nil, false, nil
}

var rowMode, rowDecoder = rowModes()

// rowModes: core deterministic CBOR, so that a row has one form on every replica.
func rowModes() (cbor.UserBufferEncMode, cbor.DecMode) {
	options := cbor.CoreDetEncOptions()
	options.Time = cbor.TimeRFC3339NanoUTC
	enc, err := options.UserBufferEncMode()
	dec, err2 := cbor.DecOptions{DefaultMapType: reflect.TypeFor[map[string]any]()}.DecMode()
	if err := errors.Join(err, err2); err != nil {
		panic(err) // the options above are fixed
	}
	return enc, dec
}

func decodeRow(table string, raw []byte, row any) error {
	if err := rowDecoder.Unmarshal(raw, row); err != nil {
		return fmt.Errorf("cqrs: table %s: a row does not fit its type any more: %w", table, err)
	}
	return nil
}

// rowBuffer is the buffer that rows are encoded in; bbolt's values are copied out of it.
func rowBuffer(tx *Tx) *bytes.Buffer {
	b := &tx.reader.rowTx.buffer
	b.Reset()
	return b
}
