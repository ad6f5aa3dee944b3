package cqrs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/internal/fail"
	"github.com/cqrs-server/cqrs/internal/mutant"
	"go.etcd.io/bbolt"
)

// A shard's file says which version of its own aggregate serves. Another one is built in buckets beside it: by Open, before anything is
// served, or while the old one serves (next.go). It takes over in one transaction.

var currentName = []byte("aggregate")

// currentVersion is the version of the shard's own aggregate that serves; made tells that there is one.
func currentVersion(file *boltfile.File) (version string, made bool, err error) {
	err = file.View(func(tx *bbolt.Tx) error {
		version, made = currentVersionIn(tx)
		return nil
	})
	return version, made, readError(err)
}

func currentVersionIn(tx *bbolt.Tx) (version string, made bool) {
	if b := tx.Bucket(currentName); b != nil {
		v := b.Get([]byte("main"))
		version, made = string(v), v != nil
	}
	return version, made
}

// servingPosition is the position of the version that serves.
func servingPosition(tx *bbolt.Tx, shard int) (position, error) {
	version, _ := currentVersionIn(tx)
	return newAggregate(nil, shard, "main", version, nil).positionIn(tx)
}

// openMain opens the shard's own aggregate. When its version has changed it is built first, unless Config.Next is to be built while the old
// one serves: then that is next.
func openMain(ctx context.Context, rt *Runtime, file *boltfile.File, shard int) (serving, next *aggregate, err error) {
	version, made, err := currentVersion(file)
	if err != nil {
		return nil, nil, err
	}
	wanted, beside := rt.cfg.versions(version, made)
	if made && version != "" && version != wanted.Version && rt.cfg.Version == "" {
		return nil, nil, fmt.Errorf("%s was left with version %q of the aggregate, and Config.Version is empty: set it to %q, "+
			"or to a new name to have the tables built anew", file.Path(), version, version)
	}
	if serving, err = openVersion(rt, file, shard, wanted); err != nil {
		return nil, nil, err
	}
	if !made || version != wanted.Version {
		if err := replace(ctx, rt, version, made, serving); err != nil {
			return nil, nil, err
		}
	}
	if beside != nil {
		if next, err = openVersion(rt, file, shard, *beside); err != nil {
			return nil, nil, err
		}
	}
	return serving, next, dropOthers(file, serving, next)
}

// versions tells which version is to serve first, in a folder that was left with that version, and which is to be built beside it. Where
// there is nothing that could serve meanwhile, Next is the first one.
func (c *Config) versions(left string, made bool) (first Aggregate, beside *Aggregate) {
	first = Aggregate{Version: c.Version, Aggregator: c.Aggregator, Tables: c.Tables}
	switch {
	case c.Next == nil:
		return first, nil
	case made && left == c.Version:
		return first, c.Next
	}
	return *c.Next, nil
}

func openVersion(rt *Runtime, file *boltfile.File, shard int, a Aggregate) (*aggregate, error) {
	agg, err := openAggregate(file, shard, "main", a.Version, a.Aggregator, a.Tables)
	if err == nil {
		agg.rt, agg.main, agg.declared = rt, true, a.Tables
	}
	return agg, err
}

// replace makes next the version that serves, in place of one that is built no further.
func replace(ctx context.Context, rt *Runtime, version string, made bool, next *aggregate) error {
	var old *aggregate
	if made {
		old = newAggregate(next.file, next.shard, "main", version, ignore{})
		if err := old.load(); err != nil {
			return err
		}
		if err := rebuild(ctx, rt, old, next); err != nil {
			return fmt.Errorf("build version %q of the aggregate: %w", next.version, err)
		}
	}
	fail.Here("rebuild: built")
	return takeOver(next, old)
}

// rebuild builds the shard's own aggregate in another version, from the store, before anything is served. It can be stopped
// at any moment, and goes on where it was.
func rebuild(ctx context.Context, rt *Runtime, old, next *aggregate) error {
	w := newWork(rt, next)
	limit, meter := old.position(), newMeter(rt.cfg.Progress, "main", next)
	err := w.build(ctx, building{store: rt.store, to: limit.t, saved: func(p position) {
		next.at.Store(&p)
		meter.show(p.t, limit.t)
	}})
	t := next.position().t
	if err == nil && t < limit.t && rt.embedded == nil {
		return nil // the shard's owner has not stored the rest yet: it comes from the log
	}
	if err == nil && t < limit.t {
		err = fmt.Errorf("the store ends at t %d, and the log went to t %d", t, limit.t)
	}
	if err != nil {
		return err
	}
	if got := next.position().digest; got != limit.digest {
		return fmt.Errorf("built to t %d from the store, the digest differs from that of the log", limit.t)
	}
	return nil
}

// takeOver makes next the version that serves, in one step.
func takeOver(next, old *aggregate) error {
	p := *next.position()
	err := next.file.Update(context.Background(), func(tx *bbolt.Tx) error {
		if old != nil {
			p.inherit(old.position())
		}
		return errors.Join(tx.Bucket(next.stateName).Put(positionKey, p.encode()), serveFrom(tx, next, old, p.offset))
	})
	if err == nil {
		next.at.Store(&p)
	}
	return err
}

// inherit takes from the old version's position what does not depend on the version. What outputs outside the file have not seen yet they have
// still not seen.
func (p *position) inherit(old *position) {
	p.delivered = old.delivered
	if p.t == old.t {
		p.offset, p.anchor = old.offset, old.anchor
	}
}

// serveFrom notes that next serves from this transaction on. It has read the log up to an offset.
func serveFrom(tx *bbolt.Tx, next, old *aggregate, offset int64) error {
	b, err := tx.CreateBucketIfNotExists(currentName)
	if err == nil {
		err = b.Put([]byte("main"), []byte(next.version))
	}
	if err != nil || old == nil {
		return err
	}
	return errors.Join(keepState(tx, next, old), keepOutran(tx, next, old, offset))
}

// keepState copies what is kept beside the position and does not depend on the version.
func keepState(tx *bbolt.Tx, next, old *aggregate) (err error) {
	from, to := tx.Bucket(old.stateName), tx.Bucket(next.stateName)
	list := [][]byte{topicsKey, offsetsKey, strayedKey, rebuiltName, knowsKey}
	if mutant.Is("next version forgets what is kept beside the position") {
		list = list[:1]
	}
	for _, key := range list {
		if v := from.Get(key); v != nil {
			err = errors.Join(err, to.Put(key, v))
		} else { // it may be left from when it served before
			err = errors.Join(err, to.Delete(key))
		}
	}
	return err
}

// dropOthers deletes the buckets of all versions of the shard's own aggregate but those that serve or are being built: of one that served
// before, and of any whose building was given up. It is done when the file is opened, because nobody has a view of them then.
func dropOthers(file *boltfile.File, keep ...*aggregate) error {
	var names [][]byte
	err := file.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, _ *bbolt.Bucket) error {
			if bytes.HasPrefix(name, []byte("aggregate/main@")) && !isOf(name, keep) {
				names = append(names, bytes.Clone(name))
			}
			return nil
		})
	})
	if err != nil || len(names) == 0 {
		return readError(err)
	}
	return file.Update(context.Background(), func(tx *bbolt.Tx) (err error) {
		for _, name := range names {
			err = errors.Join(err, tx.DeleteBucket(name))
		}
		return err
	})
}

func isOf(bucket []byte, list []*aggregate) bool {
	return slices.ContainsFunc(list, func(a *aggregate) bool { return a != nil && bytes.HasPrefix(bucket, []byte(a.prefix)) })
}
