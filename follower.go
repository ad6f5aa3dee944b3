package cqrs

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"time"

	"github.com/cqrs-server/cqrs/internal/boltfile"
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
			err = errors.Join(err, fmt.Errorf("Aggregates[%d] (%q): Aggregator is nil", i, a.Name))
		}
		if seen[id] {
			err = errors.Join(err, fmt.Errorf("Aggregates[%d]: %s version %q is named twice", i, a.Name, a.Version))
		}
		seen[id] = true
		if wrong := checkTables(a.Tables); wrong != nil {
			err = errors.Join(err, fmt.Errorf("Aggregates[%d]: %w", i, wrong))
		}
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
	f.serving.Store(agg)
	return f, nil
}

// run follows until ctx ends.
func (f *follower) run(ctx context.Context) {
	retry, meter := newBackoff(), newMeter(f.shard.rt.cfg.Progress, f.name, f.agg())
	for ctx.Err() == nil {
		moved, _ := f.shard.watch()
		folded, err := f.step(ctx, meter)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			f.shard.rt.cfg.Log.Warn("cqrs: an aggregate can't follow", "aggregate", f.name, "version", f.agg().version, "error", err)
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
	if f.agg().position().t >= f.shard.agg().position().t {
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
	limit := f.shard.agg().position()
	err = f.work.build(ctx, building{store: f.shard.rt.store, to: limit.t, saved: func(p position) {
		moved = true
		f.publish(p)
		meter.show(p.t, f.shard.agg().position().t)
	}})
	if p := f.agg().position(); err == nil && p.t == limit.t && p.digest != limit.digest {
		err = fmt.Errorf("aggregate %s: at t %d its digest differs from that of the log: the store and the log disagree", f.name, p.t)
	}
	return moved, err
}

// meter reports progress, about once a second.
type meter struct {
	report     func(Progress)
	of         Progress // T, Of and Rate are empty
	began      time.Time
	first      uint64
	nextReport time.Time
}

func newMeter(report func(Progress), name string, a *aggregate) *meter {
	now := time.Now()
	return &meter{report: report, of: Progress{Aggregate: name, Version: a.version, Shard: a.shard}, began: now, first: a.position().t,
		nextReport: now.Add(time.Second)}
}

func (m *meter) show(t, of uint64) {
	now := time.Now()
	if m.report == nil || t < of && now.Before(m.nextReport) {
		return
	}
	m.nextReport = now.Add(time.Second)
	m.report(m.at(t, of))
}

// at is how far it has come.
func (m *meter) at(t, of uint64) Progress {
	p := m.of
	p.T, p.Of, p.Rate = t, of, float64(t-m.first)/max(time.Since(m.began).Seconds(), 1e-9)
	return p
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
func (f *follower) caughtUp() bool { return f.agg().position().t >= f.shard.openedAt }
