package cqrs

import (
	"bytes"
	"encoding/binary"

	"github.com/cqrs-server/cqrs/internal/fail"
	"github.com/cqrs-server/cqrs/internal/mutant"
)

// pruneStep is how many chunks of history one batch drops at the most.
const pruneStep = 64

// prune moves the horizon to where Config wants it, and drops what lies before the one that was found. Readers saw that one before this
// transaction is committed, so none of them can meet a hole.
func (w *work) prune() error {
	if w.keepHistory == 0 && w.keepFor == 0 {
		return nil
	}
	horizon := w.found.horizon
	if mutant.Is("history dropped early") {
		horizon = w.pos.t
	}
	if err := w.cut(horizon); err != nil {
		return err
	}
	wanted, err := w.wantedHorizon()
	w.pos.horizon = max(w.pos.horizon, wanted)
	return err
}

func (w *work) wantedHorizon() (t uint64, err error) {
	if w.keepHistory > 0 && w.pos.t > w.keepHistory {
		t = w.pos.t - w.keepHistory
	}
	if w.keepFor == 0 {
		return t, nil
	}
	byAge, err := w.agg.timeMarkIn(w.tx.Tx, w.pos.latest-w.keepFor.Milliseconds())
	return max(t, byAge), err
}

// cut drops chunks at the left end of the history whose versions were all replaced at the horizon or before.
func (w *work) cut(horizon uint64) error {
	c := w.tx.Bucket(w.agg.historyName).Cursor()
	var drop [][]byte
	for k, chunk := c.First(); k != nil && len(drop) < pruneStep; k, chunk = c.Next() {
		rows, err := decodeChunk(chunk)
		if err != nil {
			return err
		}
		if rows[len(rows)-1].t() > horizon {
			break
		}
		drop = append(drop, bytes.Clone(k))
		for _, o := range rows {
			if err := w.rows.forget(o, horizon); err != nil {
				return err
			}
		}
	}
	fail.Here("prune")
	for _, k := range drop {
		if err := w.tx.Bucket(w.agg.historyName).Delete(k); err != nil {
			return err
		}
	}
	return nil
}

func decodeChunk(chunk []byte) (rows []oldRow, err error) {
	for len(chunk) > 0 {
		var o oldRow
		if o, chunk, err = nextOld(chunk); err != nil {
			return nil, err
		}
		rows = append(rows, o)
	}
	if len(rows) == 0 {
		return nil, errVersion
	}
	return rows, nil
}

// forget drops the groups of a row that no read needs any more, and the row itself when it was taken away before the horizon.
func (r *rowTx) forget(o oldRow, horizon uint64) error {
	table, key := binary.BigEndian.Uint16(o.key[8:]), o.key[historyFixed:]
	if int(table) >= len(r.agg.tables) || r.table(table).bucket == nil {
		return nil // a table that the program no longer has
	}
	if err := r.dropGroups(table, key, horizon); err != nil {
		return err
	}
	raw, err := r.newest(table, key)
	if raw == nil || err != nil {
		return err
	}
	var v version
	if err := v.decode(raw); err != nil || !v.deleted || v.ts[0] > horizon {
		return err
	}
	return r.setRow(table, key, nil)
}

func (r *rowTx) dropGroups(table uint16, key []byte, horizon uint64) error {
	prefix := groupPrefix(nil, table, key)
	groups, err := r.flushGroups()
	if err != nil {
		return err
	}
	for {
		k, v := groups.Cursor().Seek(prefix)
		if len(k) != len(prefix)+8 || !bytes.HasPrefix(k, prefix) {
			return nil
		}
		ended, n := binary.Uvarint(v)
		if n <= 0 {
			return errVersion
		}
		if ended > horizon {
			return nil
		}
		if err := groups.Delete(bytes.Clone(k)); err != nil {
			return err
		}
	}
}
