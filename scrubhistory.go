package cqrs

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"
)

// writtenAt gives the t at which the row was written that the log gives as of a t.
func (x *tableScrub) writtenAt(core *tableCore, key []byte, at uint64) (t uint64) {
	_ = x.anew.file.View(func(tx *bbolt.Tx) error { // what can't be told is left out
		var r rowTx
		r.reset(x.anew, tx)
		t, _, _, _, _ = r.versionAt(x.anew.ids[core], key, at)
		return nil
	})
	return t
}

// nameCommand fills in the command whose commit a difference is about.
func (x *tableScrub) nameCommand(ctx context.Context, d *Difference) {
	for r, err := range x.rt.store.Log(ctx, x.live.shard, max(d.T, 1)) {
		if err == nil && r.T == d.T {
			d.Command, d.CommandType = r.Command, r.CommandType
		}
		break
	}
}

// compareFailed compares which folds failed then with those that fail now.
func (x *tableScrub) compareFailed(ctx context.Context) (ok bool, err error) {
	live, p, err := x.live.failedFolds()
	if err != nil {
		return false, err
	}
	if ok, err := x.foldTo(ctx, p.t); !ok || err != nil {
		return false, err
	}
	anew, q, err := x.anew.failedFolds()
	if err != nil || q.t != p.t { // always the same: the live one is never behind
		return false, err
	}
	place := func(d Difference) string { return fmt.Sprint(d.T, " ", d.Event) }
	then, now := map[string]bool{}, map[string]bool{}
	for _, d := range live {
		then[place(d)] = true
	}
	for _, d := range anew {
		now[place(d)] = true
		if !then[place(d)] {
			d.What, d.Found = "the fold of this event fails now, and did not when it came", []byte(d.What)
			x.nameCommand(ctx, &d)
			x.differs(d)
		}
	}
	for _, d := range live {
		if !now[place(d)] {
			d.What, d.Logged = "the fold of this event passes now, and failed when it came", []byte(d.What)
			x.nameCommand(ctx, &d)
			x.differs(d)
		}
	}
	return true, nil
}

// replaced is a version that was replaced, under the name of its table instead of the number, which is another one in each file.
type replaced struct {
	t     uint64
	core  *tableCore
	key   []byte
	value []byte
	err   error // what is wrong with it
}

func (r replaced) compare(o replaced) int {
	return cmp.Or(cmp.Compare(r.t, o.t), cmp.Compare(r.core.name, o.core.name), bytes.Compare(r.key, o.key))
}

// historyStep is how many t are compared at a time.
const historyStep = 256

// history compares the old versions of all rows that can still be read, and looks whether they are found as of their t.
func (x *tableScrub) history(ctx context.Context) error {
	limit := x.anew.position().t
	for from := uint64(1); from <= limit; {
		found, first, last, err := x.live.replacedFrom(from, limit)
		if err != nil {
			return err
		}
		wanted, err := x.anew.replacedBetween(first, last, x.live)
		if err != nil {
			return err
		}
		x.compareHistory(ctx, wanted, found)
		x.report.Rows += uint64(len(wanted))
		from = last + 1
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// replacedFrom gives what was replaced from a t on, as far as it is kept, and from which t to which that is.
func (a *aggregate) replacedFrom(from, limit uint64) (list []replaced, first, last uint64, err error) {
	err = a.file.View(func(tx *bbolt.Tx) error {
		p, err := a.positionIn(tx)
		if err != nil {
			return err
		}
		first = max(from, p.horizon+1)
		last = max(from, min(first+historyStep-1, limit))
		list, err = a.replacedIn(tx, first, last, a)
		for i := range list {
			list[i].err = a.checkOld(tx, &list[i])
		}
		return err
	})
	return list, first, last, err
}

func (a *aggregate) replacedBetween(first, last uint64, as *aggregate) (list []replaced, err error) {
	err = a.file.View(func(tx *bbolt.Tx) error {
		list, err = a.replacedIn(tx, first, last, as)
		return err
	})
	return list, err
}

// replacedIn lists what was replaced between two t, in tables that the program has, and in indexes from where they can be read in as.
func (a *aggregate) replacedIn(tx *bbolt.Tx, first, last uint64, as *aggregate) (list []replaced, err error) {
	var r rowTx
	r.reset(a, tx)
	cores := map[uint16]*tableCore{}
	for core, id := range a.ids {
		cores[id] = core
	}
	err = r.eachOld(first, last, func(o oldRow) error {
		core := cores[binary.BigEndian.Uint16(o.key[8:])]
		if core == nil || o.t() <= as.tables[as.ids[core]].since {
			return nil
		}
		list = append(list, replaced{t: o.t(), core: core, key: bytes.Clone(o.key[historyFixed:]), value: bytes.Clone(o.value)})
		return nil
	})
	slices.SortFunc(list, replaced.compare)
	return list, err
}

// checkOld reads the row as of the last t at which the version was valid.
func (a *aggregate) checkOld(tx *bbolt.Tx, o *replaced) error {
	var r rowTx
	r.reset(a, tx)
	row, there, err := r.get(a.ids[o.core], o.key, o.t-1)
	if err != nil {
		return err
	}
	if there != (o.value[0] == wasThere) || !bytes.Equal(row, o.value[1:]) && there {
		return fmt.Errorf("as of t %d it reads %.200q", o.t-1, row)
	}
	return nil
}

// compareHistory names what differs. Both lists are in order.
func (x *tableScrub) compareHistory(ctx context.Context, wanted, found []replaced) {
	for len(wanted) > 0 || len(found) > 0 {
		order := -1
		switch {
		case len(wanted) == 0:
			order = 1
		case len(found) > 0:
			order = wanted[0].compare(found[0])
		}
		switch {
		case order < 0:
			x.oldDiffers(ctx, &wanted[0], "of the version before it nothing is kept", wanted[0].value, nil)
			wanted = wanted[1:]
		case order > 0:
			x.oldDiffers(ctx, &found[0], "a version before it is kept that does not follow from the log", nil, found[0].value)
			found = found[1:]
		default:
			if !bytes.Equal(wanted[0].value, found[0].value) {
				x.oldDiffers(ctx, &found[0], "the version before it has other bytes than the log gives it", wanted[0].value, found[0].value)
			} else if found[0].err != nil {
				x.oldDiffers(ctx, &found[0], "the version before it is not found: "+found[0].err.Error(), wanted[0].value, nil)
			}
			wanted, found = wanted[1:], found[1:]
		}
	}
}

func (x *tableScrub) oldDiffers(ctx context.Context, o *replaced, what string, logged, found []byte) {
	d := Difference{Shard: x.live.shard, T: o.t, Event: -1, Table: x.named(o.core), Key: string(o.key), What: what, Logged: logged, Found: found}
	x.nameCommand(ctx, &d)
	x.differs(d)
}
