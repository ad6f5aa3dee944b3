package cqrs

import (
	"bytes"
	"fmt"
	"runtime/debug"
)

// reads is what a decision has read: rows (also those that were not there) and ranges of keys. A nil one notes nothing.
type reads struct {
	keys  []readKey
	spans []readSpan
}

type readKey struct {
	table uint16
	key   []byte
}

type readSpan struct {
	table    uint16
	from, to []byte
}

func (s *reads) key(table uint16, key []byte) {
	if s != nil {
		s.keys = append(s.keys, readKey{table, bytes.Clone(key)})
	}
}

func (s *reads) span(table uint16, from, to []byte) {
	if s != nil {
		s.spans = append(s.spans, readSpan{table, from, to})
	}
}

// Change names something that a decision had read and that has changed since its basis.
type Change struct {
	Table string `json:"table"` // an index has its table's name and its own: "users/email"
	Key   string `json:"key"`   // as it is encoded
	T     uint64 `json:"t"`     // when it changed last
}

const maxChanges = 20 // named in an error

// changed lists what was written after basis, and up to t, of what was read.
func (s *reads) changed(r *rowTx, basis, t uint64) (list []Change, err error) {
	defer r.agg.file.Guard(&err, debug.SetPanicOnFault(true))
	if r.over != nil {
		return s.changedOver(r, basis)
	}
	for _, k := range s.keys {
		raw, err := r.newest(k.table, k.key)
		if err != nil {
			return list, err
		}
		if raw == nil {
			continue
		}
		if list, err = r.ifNewer(list, k.table, k.key, raw, basis, t); err != nil || len(list) >= maxChanges {
			return list, err
		}
	}
	for _, span := range s.spans {
		if list, err = span.changed(r, basis, t, list); err != nil || len(list) >= maxChanges {
			return list, err
		}
	}
	return list, nil
}

// changed looks at all rows of the range, also at those that were taken away.
func (s *readSpan) changed(r *rowTx, basis, t uint64, list []Change) ([]Change, error) {
	bucket, err := r.walked(s.table)
	if err != nil {
		return list, err
	}
	c := bucket.Cursor()
	for k, raw := c.Seek(s.from); k != nil && (s.to == nil || bytes.Compare(k, s.to) < 0); k, raw = c.Next() {
		if list, err = r.ifNewer(list, s.table, k, raw, basis, t); err != nil || len(list) >= maxChanges {
			return list, err
		}
	}
	return list, nil
}

func (r *rowTx) ifNewer(list []Change, table uint16, key, raw []byte, basis, t uint64) ([]Change, error) {
	var v version
	if err := v.decode(raw); err != nil || v.ts[0] <= basis {
		return list, err
	}
	written := v.ts[0]
	if written > t { // t is in the past, and the row has changed again since
		var found bool
		var err error
		if written, _, _, found, err = r.versionAt(table, key, t); !found || err != nil || written <= basis {
			return list, err
		}
	}
	return append(list, r.change(table, key, written)), nil
}

func (r *rowTx) change(table uint16, key []byte, t uint64) Change {
	return Change{r.agg.tables[table].name, fmt.Sprintf("%.100q", key), t}
}
