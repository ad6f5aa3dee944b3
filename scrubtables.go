package cqrs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"go.etcd.io/bbolt"
)

// tableScrub compares an aggregate with one that is folded anew from the log, in a file of its own. The aggregate moves meanwhile: it is
// read as of the t up to which the log was folded, or, when its history no longer reaches back to that, as it is, and the new one is then
// folded on to the same t.
type tableScrub struct {
	*scrub
	live *aggregate
	anew *aggregate
	work work
	name string // of the aggregate
}

func (s *scrub) tables(ctx context.Context, live *aggregate, name string, tables []AnyTable) error {
	dir, err := os.MkdirTemp("", "cqrs-scrub-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file, err := boltfile.Open(filepath.Join(dir, "anew.db"), boltfile.Options{Kind: "cqrs-aggregate", NoSync: true})
	if err != nil {
		return err
	}
	defer file.Close()
	anew, err := openAggregate(file, live.shard, name, live.version, live.fold, tables)
	if err != nil {
		return err
	}
	x := &tableScrub{scrub: s, live: live, anew: anew, name: name, work: newWork(s.rt, anew)}
	x.work.keepHistory, x.work.keepFor = 0, 0
	return x.run(ctx, tables)
}

func (x *tableScrub) run(ctx context.Context, tables []AnyTable) error {
	if ok, err := x.foldTo(ctx, min(x.live.position().t, x.upTo[x.live.shard].t)); !ok || err != nil {
		return err
	}
	if ok, err := x.compareFailed(ctx); !ok || err != nil {
		return err
	}
	for _, t := range tables {
		for _, core := range append([]*tableCore{t.core()}, t.indexCores()...) {
			if ok, err := x.table(ctx, core); !ok || err != nil {
				return err
			}
		}
	}
	return x.history(ctx)
}

// foldStep is how many commits are folded at a time where there is no rate.
const foldStep = 4096

// foldTo folds the log on to t. It is not ok when the log can't be folded: that is a difference, and nothing is compared.
func (x *tableScrub) foldTo(ctx context.Context, t uint64) (ok bool, err error) {
	for x.anew.position().t < t {
		from, step := x.anew.position().t, uint64(foldStep)
		if x.rate > 0 {
			step = uint64(x.step())
		}
		err := x.work.build(ctx, building{store: x.rt.store, to: min(t, from+step), alone: true, saved: func(p position) { x.anew.at.Store(&p) }})
		at := x.anew.position().t
		if err == nil && at == from {
			err = errors.New("the log ends there")
		}
		if err != nil && stops(ctx, err) {
			return false, err
		}
		if err != nil {
			x.differs(Difference{Shard: x.live.shard, T: at + 1, Event: -1,
				What: fmt.Sprintf("the log can't be folded into the aggregate %s any further, and its tables were not compared: %s", x.name, err)})
			return false, nil
		}
		if t > x.upTo[x.live.shard].t { // what came meanwhile is caught up with, at any rate
			err = ctx.Err()
		} else {
			err = x.went(ctx, int(at-from))
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

const (
	scrubRows  = 1000    // rows that are compared at a time
	scrubBytes = 1 << 20 // or so many bytes
)

// scrubRow is a row, copied out.
type scrubRow struct {
	key, row []byte
	err      error // why it can't be read
}

// table compares a table, or an index, piece by piece.
func (x *tableScrub) table(ctx context.Context, core *tableCore) (ok bool, err error) {
	for from, more := []byte{}, true; more; {
		var rows []scrubRow
		var to []byte
		var at uint64
		if rows, to, at, err = x.live.piece(core, from, x.anew.position().t); err != nil {
			return false, err
		}
		if ok, err = x.foldTo(ctx, at); !ok || err != nil {
			return false, err
		}
		wanted, err := x.anew.between(core, from, to, at)
		if err != nil {
			return false, err
		}
		x.compareRows(ctx, core, at, wanted, rows)
		x.report.Rows += uint64(len(wanted))
		if err := ctx.Err(); err != nil {
			return false, err
		}
		from, more = to, to != nil
	}
	return true, nil
}

// piece copies out the rows from a key on, as of the wanted t if that can be read, else as they are, and says which t it was. to is where
// the next piece begins, nil at the end.
func (a *aggregate) piece(core *tableCore, from []byte, wanted uint64) (rows []scrubRow, to []byte, at uint64, err error) {
	err = a.file.View(func(tx *bbolt.Tx) error {
		p, err := a.positionIn(tx)
		if err != nil {
			return err
		}
		if at = wanted; at < max(p.horizon, a.tables[a.ids[core]].since) {
			at = p.t
		}
		rows, to = a.copyRows(tx, core, from, nil, at, scrubRows)
		return nil
	})
	return rows, to, at, err
}

// between copies out the rows from one key on, below another, as of a t.
func (a *aggregate) between(core *tableCore, from, to []byte, at uint64) (rows []scrubRow, err error) {
	err = a.file.View(func(tx *bbolt.Tx) error {
		rows, _ = a.copyRows(tx, core, from, to, at, 0)
		return nil
	})
	return rows, err
}

// copyRows copies rows that are there at a t; most 0: all.
func (a *aggregate) copyRows(tx *bbolt.Tx, core *tableCore, from, to []byte, at uint64, most int) (rows []scrubRow, next []byte) {
	var r rowTx
	r.reset(a, tx)
	id := a.ids[core]
	c := r.table(id).bucket.Cursor()
	size, seen := 0, 0
	for k, raw := c.Seek(from); k != nil && (to == nil || bytes.Compare(k, to) < 0); k, raw = c.Next() {
		if most > 0 && (seen == most || size > scrubBytes) {
			return rows, bytes.Clone(k)
		}
		seen++
		row, there, err := r.asOf(id, k, raw, at)
		if err != nil {
			row = raw
		}
		if there || err != nil {
			rows = append(rows, scrubRow{bytes.Clone(k), append([]byte{}, row...), err})
			size += len(k) + len(row)
		}
	}
	return rows, nil
}

// compareRows names the rows that differ. Both lists are in the order of the keys.
func (x *tableScrub) compareRows(ctx context.Context, core *tableCore, at uint64, wanted, found []scrubRow) {
	for len(wanted) > 0 || len(found) > 0 {
		order := -1
		switch {
		case len(wanted) == 0:
			order = 1
		case len(found) > 0:
			order = bytes.Compare(wanted[0].key, found[0].key)
		}
		switch {
		case order < 0:
			x.rowDiffers(ctx, core, at, "it is missing", &wanted[0], nil)
			wanted = wanted[1:]
		case order > 0:
			x.rowDiffers(ctx, core, at, "it does not follow from the log", nil, &found[0])
			found = found[1:]
		default:
			if found[0].err != nil {
				x.rowDiffers(ctx, core, at, found[0].err.Error(), &wanted[0], &found[0])
			} else if !bytes.Equal(wanted[0].row, found[0].row) {
				x.rowDiffers(ctx, core, at, "it has other bytes than the log gives it", &wanted[0], &found[0])
			}
			wanted, found = wanted[1:], found[1:]
		}
	}
}

func (x *tableScrub) rowDiffers(ctx context.Context, core *tableCore, at uint64, what string, wanted, found *scrubRow) {
	d := Difference{Shard: x.live.shard, Event: -1, Table: x.named(core), What: what}
	if found != nil {
		d.Key, d.Found = string(found.key), found.row
	}
	if wanted != nil {
		d.Key, d.Logged = string(wanted.key), wanted.row
		d.T = x.writtenAt(core, wanted.key, at)
		x.nameCommand(ctx, &d)
	}
	if d.T == 0 {
		d.What += fmt.Sprintf(" (as of t %d)", at)
	}
	x.differs(d)
}

// named is the name of a table, with that of its aggregate when it is another than the main one.
func (x *tableScrub) named(core *tableCore) string {
	if x.name == "main" {
		return core.name
	}
	return x.name + ": " + core.name
}
