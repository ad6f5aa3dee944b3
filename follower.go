package cqrs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"time"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/internal/fail"
	"go.etcd.io/bbolt"
)

// Aggregate is a read side of its own beside the one that commands read: it is built from the stored events as if it had always been
// there, follows from then on, and may be added and left out at any time. It lives in files of its own, named after Name
// and Version, which may be deleted when it is not in use.
//
// When what Aggregator does with an event changes, give it another Version: it is built anew. To serve the old one meanwhile, name both,
// the old one first: Shard.Aggregate gives the last one that has caught up.
type Aggregate struct {
	Name       string // letters, digits, - and _
	Version    string // the same; may be empty
	Aggregator Aggregator
	Tables     []AnyTable
}

// Progress tells how far an aggregate that is being built has come.
type Progress struct {
	Aggregate, Version string
	Shard              int
	T, Of              uint64  // commits folded, of so many
	Rate               float64 // commits a second
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9_-]{0,100}$`)

func checkAggregates(list []Aggregate) (err error) {
	seen := map[[2]string]bool{}
	for i, a := range list {
		id := [2]string{a.Name, a.Version}
		if a.Name == "" || !plainName.MatchString(a.Name) || !plainName.MatchString(a.Version) {
			err = errors.Join(err, fmt.Errorf("Aggregates[%d]: Name %q and Version %q must be letters, digits, - and _", i, a.Name, a.Version))
		}
		if a.Aggregator == nil {
			err = errors.Join(err, fmt.Errorf("Aggregates[%d] %s: Aggregator is nil", i, a.Name))
		}
		if seen[id] {
			err = errors.Join(err, fmt.Errorf("Aggregates[%d]: %s version %q is named twice", i, a.Name, a.Version))
		}
		seen[id] = true
		err = errors.Join(err, checkTables(a.Tables))
	}
	return err
}

// follower folds a shard's stored commits into an aggregate that no command reads.
type follower struct {
	ReadSide
	shard *Shard
	name  string
	work  work
}

func openFollower(dir string, s *Shard, a Aggregate) (*follower, error) {
	path := filepath.Join(dir, fmt.Sprintf("aggregate-%s@%s-%d.db", a.Name, a.Version, s.n))
	file, err := boltfile.Open(path, boltfile.Options{Kind: "cqrs-aggregate", Timeout: s.rt.cfg.LockTimeout, NoSync: s.rt.cfg.NoSync})
	if err != nil {
		return nil, err
	}
	s.rt.files = append(s.rt.files, file)
	agg, err := openAggregate(file, s.n, a.Name, a.Version, a.Aggregator, a.Tables)
	if err != nil {
		return nil, err
	}
	agg.rt = s.rt
	f := &follower{shard: s, name: a.Name, work: newWork(s.rt, agg)}
	f.ReadSide.agg = agg
	return f, nil
}

// run follows until ctx ends.
func (f *follower) run(ctx context.Context) {
	retry, meter := newBackoff(), newMeter(f.shard.rt.cfg.Progress, f.name, f.agg)
	for ctx.Err() == nil {
		moved, _ := f.shard.watch()
		folded, err := f.step(ctx, meter)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			f.shard.rt.cfg.Log.Warn("cqrs: an aggregate can't follow", "aggregate", f.name, "version", f.agg.version, "error", err)
			sleep(ctx, retry.NextBackOff())
		case !folded:
			retry.Reset()
			f.wait(ctx, moved)
		}
	}
}

// wait blocks until the shard has moved. Where the store is filled by another process it may be behind the shard, and is looked at again.
func (f *follower) wait(ctx context.Context, moved <-chan struct{}) {
	again := time.NewTimer(200 * time.Millisecond)
	defer again.Stop()
	behind := again.C
	if f.agg.position().t >= f.shard.agg.position().t {
		behind = nil
	}
	select {
	case <-moved:
	case <-behind:
	case <-ctx.Done():
	}
}

// step folds the commits that are there, and tells whether there were any.
func (f *follower) step(ctx context.Context, meter *meter) (moved bool, err error) {
	limit := f.shard.agg.position()
	err = f.work.build(ctx, building{store: f.shard.rt.store, to: limit.t, saved: func(p position) {
		moved = true
		f.publish(p)
		meter.show(p.t, f.shard.agg.position().t)
	}})
	if p := f.agg.position(); err == nil && p.t == limit.t && p.digest != limit.digest {
		err = fmt.Errorf("aggregate %s: at t %d its digest differs from that of the log: the store and the log disagree", f.name, p.t)
	}
	return moved, err
}

// meter reports progress, about once a second.
type meter struct {
	report     func(Progress)
	last       Progress
	began      time.Time
	first      uint64
	nextReport time.Time
}

func newMeter(report func(Progress), name string, a *aggregate) *meter {
	now := time.Now()
	return &meter{report: report, last: Progress{Aggregate: name, Version: a.version, Shard: a.shard}, began: now, first: a.position().t,
		nextReport: now.Add(time.Second)}
}

func (m *meter) show(t, of uint64) {
	now := time.Now()
	if m.report == nil || t < of && now.Before(m.nextReport) {
		return
	}
	m.nextReport = now.Add(time.Second)
	m.last.T, m.last.Of = t, of
	m.last.Rate = float64(t-m.first) / max(now.Sub(m.began).Seconds(), 1e-9)
	m.report(m.last)
}

// Aggregate gives the aggregate of that name from Config.Aggregates: of several versions, the last one that has caught up with the shard
// once; until one has, the first. It is nil when there is none of that name.
func (s *Shard) Aggregate(name string) *ReadSide {
	var serving *follower
	for _, f := range s.followers {
		if f.name == name && (serving == nil || f.caughtUp()) {
			serving = f
		}
	}
	if serving == nil {
		return nil
	}
	return &serving.ReadSide
}

// caughtUp tells whether the follower has come to where the shard stood when the runtime was opened.
func (f *follower) caughtUp() bool { return f.agg.position().t >= f.shard.openedAt }

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

var currentName = []byte("aggregate")

// currentVersion is the version of the shard's own aggregate that serves; made tells that there is one.
func currentVersion(file *boltfile.File) (version string, made bool, err error) {
	err = file.View(func(tx *bbolt.Tx) error {
		if b := tx.Bucket(currentName); b != nil {
			v := b.Get([]byte("main"))
			version, made = string(v), v != nil
		}
		return nil
	})
	return version, made, readError(err)
}

// takeOver makes next the version that serves, in one step, and drops what others hold: the old one, if there was one, and any whose building
// was given up. What outputs outside the file
// have not seen yet they have still not seen.
func takeOver(next, old *aggregate) error {
	p := *next.position()
	err := next.file.Update(context.Background(), func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(currentName)
		if err == nil {
			err = b.Put([]byte("main"), []byte(next.version))
		}
		if err != nil || old == nil {
			return err
		}
		p.delivered = old.position().delivered
		if p.t == old.position().t {
			p.offset, p.anchor = old.position().offset, old.position().anchor
		}
		if err := keepState(tx, next, old); err != nil {
			return err
		}
		return errors.Join(tx.Bucket(next.stateName).Put(positionKey, p.encode()), dropOthers(tx, next))
	})
	if err == nil {
		next.at.Store(&p)
	}
	return err
}

// keepState copies what is kept beside the position and does not depend on the version.
func keepState(tx *bbolt.Tx, next, old *aggregate) (err error) {
	from, to := tx.Bucket(old.stateName), tx.Bucket(next.stateName)
	for _, key := range [][]byte{offsetsKey, topicsKey, strayedKey, rebuiltName, knowsKey} {
		if v := from.Get(key); v != nil {
			err = errors.Join(err, to.Put(key, v))
		}
	}
	return err
}

// dropOthers deletes the buckets of all other versions of the shard's own aggregate.
func dropOthers(tx *bbolt.Tx, next *aggregate) (err error) {
	var names [][]byte
	_ = tx.ForEach(func(name []byte, _ *bbolt.Bucket) error {
		if bytes.HasPrefix(name, []byte("aggregate/main@")) && !bytes.HasPrefix(name, []byte(next.prefix)) {
			names = append(names, append([]byte(nil), name...))
		}
		return nil
	})
	for _, name := range names {
		err = errors.Join(err, tx.DeleteBucket(name))
	}
	return err
}

// openMain opens the shard's own aggregate, and builds it first when its version has changed.
func openMain(ctx context.Context, rt *Runtime, file *boltfile.File, shard int) (*aggregate, error) {
	version, made, err := currentVersion(file)
	if err != nil {
		return nil, err
	}
	if made && version != "" && rt.cfg.Version == "" {
		return nil, fmt.Errorf("%s was left with version %q of the aggregate, and Config.Version is empty: set it to %q, "+
			"or to a new name to have the tables built anew", file.Path(), version, version)
	}
	next, err := openAggregate(file, shard, "main", rt.cfg.Version, rt.cfg.Aggregator, rt.cfg.Tables)
	if err != nil {
		return nil, err
	}
	if next.rt, next.main = rt, true; made && version == rt.cfg.Version {
		return next, nil
	}
	var old *aggregate
	if made {
		old = newAggregate(file, shard, "main", version, ignore{})
		if err := old.load(); err != nil {
			return nil, err
		}
		if err := rebuild(ctx, rt, old, next); err != nil {
			return nil, fmt.Errorf("build version %q of the aggregate: %w", rt.cfg.Version, err)
		}
	}
	fail.Here("rebuild: built")
	return next, takeOver(next, old)
}
