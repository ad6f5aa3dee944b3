package cqrs

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/internal/fail"
	"github.com/cqrs-server/cqrs/internal/mutant"
)

// nextVersion is the version of a shard's own aggregate that is built beside the one that serves (nextbuild.go). When little is left
// to fold it is due: then who works the shard, or follows its log, folds the rest between two batches and has it serve, in one
// transaction. A nil one is none.
type nextVersion struct {
	shard *Shard
	agg   *aggregate
	due   atomic.Bool   // it is to take over
	taken atomic.Bool   // it has taken over
	call  chan struct{} // wakes who follows the log when it is due
	tried chan struct{} // a take-over was tried
	doubt bool          // it is not known whether it has taken over; only the shard's work touches this
	ended chan struct{} // closed when what start began has ended; nil when nothing was

	turn sync.Mutex // held by who uses work
	work work
	pace pace

	meter   atomic.Pointer[meter]
	failing sync.Mutex
	failure error // what is being tried again
}

func newNextVersion(s *Shard, a *aggregate) *nextVersion {
	return &nextVersion{
		shard: s, agg: a, work: newWork(s.rt, a), pace: newPace(s.rt.stepped), call: make(chan struct{}, 1), tried: make(chan struct{}, 1),
	}
}

// waits tells whether there is something to build, or to take over.
func (n *nextVersion) waits() bool { return n != nil && !n.taken.Load() }

// start builds until the runtime is closed.
func (n *nextVersion) start() {
	if !n.waits() || n.shard.rt.stepped {
		return
	}
	n.ended = make(chan struct{})
	go func() { defer close(n.ended); n.run(n.shard.rt.life) }()
}

func (n *nextVersion) wait() {
	if n != nil && n.ended != nil {
		<-n.ended
	}
}

// offer has who does the shard's work take over, and waits until that was tried.
func (n *nextVersion) offer(ctx context.Context) {
	n.due.Store(true)
	n.shard.nudge()
	signal(n.call)
	select {
	case <-n.tried:
	case <-ctx.Done():
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

var errDue = errors.New("the next version is due")

// whileNotDue gives a context that ends, with the cause errDue, when who waits for the log is to take over instead.
func (n *nextVersion) whileNotDue(ctx context.Context) (waiting context.Context, stop func()) {
	if !n.waits() {
		return ctx, func() {}
	}
	waiting, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-n.call:
			cancel(errDue)
		case <-waiting.Done():
		}
	}()
	return waiting, func() { cancel(nil); <-ended }
}

// changeOver takes over when it is due. It is called between two batches, by who does the shard's work or follows its log. It fails only while it
// is not known which version serves: then no batch may begin. What else goes wrong is tried again by who builds.
func (n *nextVersion) changeOver(ctx context.Context) (err error) {
	switch {
	case !n.waits():
		return nil
	case n.doubt:
		return n.learn()
	case !n.due.Load():
		return nil
	}
	err = n.takeOver(ctx)
	n.doubt = errors.Is(err, boltfile.ErrUnknown) && !mutant.Is("take-over of unknown outcome forgotten")
	n.note(ctx, err)
	n.due.Store(false)
	signal(n.tried)
	if n.doubt {
		return err
	}
	return nil
}

// learn finds out, after a take-over of unknown outcome, which version serves.
func (n *nextVersion) learn() error {
	version, _, err := currentVersion(n.shard.file)
	if err == nil && version == n.agg.version {
		if err = n.agg.load(); err == nil {
			n.shard.serveVersion(n)
		}
	}
	n.doubt = err != nil
	return err
}

// takeOver folds the rest, compares, and serves.
func (n *nextVersion) takeOver(ctx context.Context) (err error) {
	n.turn.Lock()
	defer n.turn.Unlock()
	old := n.shard.agg()
	rest, err := n.rest(ctx, old.position().t)
	if err != nil {
		return err
	}
	hasty := mutant.Is("next version takes over before it has caught up")
	if hasty {
		rest = nil
	}
	w := &n.work
	defer w.rollback()
	defer n.agg.file.Guard(&err, debug.SetPanicOnFault(true))
	if err := w.begin(); err != nil {
		return err
	}
	for _, p := range rest {
		for i := range p.commits {
			if err := w.foldNext(ctx, &p.commits[i], p.digests[i]); err != nil {
				return err
			}
		}
	}
	if err := n.seam(&w.pos, old.position()); err != nil && !hasty {
		return err
	}
	if !mutant.Is("next version begins without the position") {
		w.pos.inherit(old.position())
	}
	fail.Here("next: caught up")
	if err := errors.Join(ctx.Err(), w.save(), serveFrom(w.tx.Tx, n.agg, old, w.pos.offset)); err != nil {
		return err
	}
	if err := n.commit(); err != nil {
		return err
	}
	fail.Here("next: taken over")
	n.shard.serveVersion(n)
	return nil
}

// seam compares the next version's position with that of the one that serves.
func (n *nextVersion) seam(p, serving *position) error {
	switch {
	case p.t != serving.t:
		return fmt.Errorf("version %q has come to t %d, and the log to t %d", n.agg.version, p.t, serving.t)
	case p.digest != serving.digest:
		return fmt.Errorf("built from the store, version %q has another digest than the log: the store and the log disagree", n.agg.version)
	}
	return nil
}

// commit makes the transaction durable, and its position that of the version.
func (n *nextVersion) commit() error {
	tx := n.work.tx
	n.work.tx = nil
	err := tx.Commit()
	if err == nil {
		n.agg.at.Store(new(n.work.pos))
	}
	return err
}

// serveVersion has the shard read and write the next version from now on. Its file says so already.
func (s *Shard) serveVersion(n *nextVersion) {
	s.batch.work = newWork(s.rt, n.agg)
	s.serving.Store(n.agg)
	n.taken.Store(true)
	s.publish(*n.agg.position())
	s.rt.cfg.Log.Info("cqrs: a new version of the aggregate serves", "shard", s.n, "version", n.agg.version, "t", n.agg.position().t)
}

// note keeps what goes wrong, for Health. The log hears of it once, and when it changes.
func (n *nextVersion) note(ctx context.Context, err error) {
	if ctx.Err() != nil || errors.Is(err, errNotYet) {
		return
	}
	n.failing.Lock()
	defer n.failing.Unlock()
	if err != nil && (n.failure == nil || n.failure.Error() != err.Error()) {
		n.shard.rt.cfg.Log.Warn("cqrs: the next version of the aggregate is tried again", "shard", n.shard.n, "version", n.agg.version, "error", err)
	}
	n.failure = err
}

// health tells how far the building has come; nil when nothing is being built.
func (n *nextVersion) health() (*Progress, error) {
	if !n.waits() {
		return nil, nil
	}
	n.failing.Lock()
	defer n.failing.Unlock()
	p := Progress{Aggregate: "main", Version: n.agg.version, Shard: n.shard.n}
	if m := n.meter.Load(); m != nil {
		p = m.at(n.agg.position().t, n.shard.agg().position().t)
	}
	p.T, p.Of = n.agg.position().t, n.shard.agg().position().t
	return &p, n.failure
}
