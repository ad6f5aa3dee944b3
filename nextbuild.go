package cqrs

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/cqrs-server/cqrs/internal/fail"
)

// The next version is built in the shard's file, which has one writer. So transactions are short (nextpace.go), and what waits to be written when
// one is committed is taken along.

// run builds until it serves, or ctx ends.
func (n *nextVersion) run(ctx context.Context) {
	if !n.waits() {
		return
	}
	n.meter.Store(newMeter(n.shard.rt.cfg.Progress, "main", n.agg))
	retry := newBackoff()
	for ctx.Err() == nil && n.waits() {
		moved, _ := n.shard.watch()
		from := n.agg.position().t
		near, err := n.round(ctx)
		if n.note(ctx, err); err == nil && near {
			n.offer(ctx)
		}
		switch {
		case err != nil || near && n.waits():
			sleep(ctx, retry.NextBackOff())
		case n.agg.position().t > from:
			retry.Reset()
		case n.waits():
			n.idle(ctx, moved)
		}
	}
	if !n.waits() {
		t := n.agg.position().t
		n.meter.Load().show(t, t)
	}
}

// buildNow is a round of run, where nothing runs in the background.
func (n *nextVersion) buildNow(ctx context.Context) {
	if !n.waits() || n.doubt {
		return
	}
	near, err := n.round(ctx)
	n.note(ctx, err)
	n.due.Store(err == nil && near)
}

// idle waits for the shard to move, or for the store, which another process may fill.
func (n *nextVersion) idle(ctx context.Context, moved <-chan struct{}) {
	again := time.NewTimer(storePoll)
	defer again.Stop()
	select {
	case <-moved:
	case <-again.C:
	case <-ctx.Done():
	}
}

// round folds up to where the version that serves has come to now, or as far as the store goes. It tells whether little is left.
func (n *nextVersion) round(ctx context.Context) (near bool, err error) {
	n.due.Store(false)
	limit := n.shard.agg().position()
	if err := n.build(ctx, limit.t); err != nil || !n.waits() {
		return false, err
	}
	p := n.agg.position()
	if p.t == limit.t {
		err = n.seam(p, limit)
	} else if n.shard.rt.embedded != nil {
		err = fmt.Errorf("the store ends at t %d, and the log went to t %d", p.t, limit.t)
	}
	return err == nil && n.pace.near(n.shard.agg().position().t-p.t), err
}

// reader reads on from where the version is.
func (n *nextVersion) reader(to uint64) *reader {
	p := n.agg.position()
	return &reader{types: n.work.types, shard: n.shard.n, t: p.t, digest: p.digest, to: to, parts: make(chan part, partsAhead),
		alone: n.shard.rt.stepped}
}

// build folds what the store has, up to a t, in small steps.
func (n *nextVersion) build(ctx context.Context, to uint64) error {
	if n.agg.position().t >= to {
		return nil
	}
	parts, stop := n.reader(to).begin(ctx, n.shard.rt.store)
	defer stop()
	for p := range parts {
		for len(p.commits) > 0 {
			rest, err := n.step(ctx, &p, parts)
			if err != nil || !n.waits() || n.pace.fixed {
				return err
			}
			sleep(ctx, rest)
		}
		if p.err != nil {
			return p.err
		}
	}
	return ctx.Err()
}

// step folds some of what was read in one transaction, and says how long to rest behind it.
func (n *nextVersion) step(ctx context.Context, p *part, more <-chan part) (rest time.Duration, err error) {
	n.turn.Lock()
	defer n.turn.Unlock()
	if !n.waits() {
		return 0, nil
	}
	w := &n.work
	defer w.rollback()
	defer n.agg.file.Guard(&err, debug.SetPanicOnFault(true))
	if err := w.begin(); err != nil {
		return 0, err
	}
	began, number := time.Now(), w.tx.ID()
	target := n.pace.target(number, began)
	if err := n.foldFor(ctx, target, p, more); err != nil {
		return 0, err
	}
	folded := int(w.pos.t - w.found.t)
	w.pos.delivered = w.pos.t
	w.tx.TakeWaiting()
	fail.Here("next: folded")
	if err := errors.Join(ctx.Err(), w.save()); err != nil {
		return 0, err
	}
	if err := n.commit(); err != nil {
		return 0, err
	}
	if m := n.meter.Load(); m != nil {
		m.show(n.agg.position().t, n.shard.agg().position().t)
	}
	return n.pace.wentBy(number, folded, target, time.Since(began)), nil
}

// foldFor folds for a while.
func (n *nextVersion) foldFor(ctx context.Context, while time.Duration, p *part, more <-chan part) error {
	w, until := &n.work, time.Now().Add(while)
	for i := 0; i < n.pace.most && ctx.Err() == nil && (len(p.commits) > 0 || p.err == nil && p.next(more)); i++ {
		if err := w.foldNext(ctx, &p.commits[0], p.digests[0]); err != nil {
			return err
		}
		p.commits, p.digests = p.commits[1:], p.digests[1:]
		if !n.pace.fixed && time.Now().After(until) {
			break
		}
	}
	return nil
}

// next puts what was read next in p's place, if it is there.
func (p *part) next(more <-chan part) bool {
	select {
	case *p = <-more:
	default:
	}
	return len(p.commits) > 0
}

// errNotYet says that there is still too much to fold, or that the store lacks some of it.
var errNotYet = errors.New("the next version is not close enough yet")

// rest reads what is left up to t. Where another process fills the store, it may be a moment behind the log.
func (n *nextVersion) rest(ctx context.Context, t uint64) (parts []part, err error) {
	from := n.agg.position().t
	if t-from > n.pace.reach()+2*uint64(n.shard.rt.cfg.Batch) {
		return nil, errNotYet
	}
	for until := time.Now().Add(storeWithin); ; sleep(ctx, 5*time.Millisecond) {
		parts, last, err := n.readRest(ctx, t)
		if err != nil || last == t {
			return parts, err
		}
		if ctx.Err() != nil || n.shard.rt.embedded != nil || n.shard.rt.stepped || time.Now().After(until) {
			return nil, errors.Join(errNotYet, ctx.Err())
		}
	}
}

const storeWithin = time.Second // for the store to come to where the log is

func (n *nextVersion) readRest(ctx context.Context, t uint64) (parts []part, last uint64, err error) {
	if last = n.agg.position().t; last == t {
		return nil, last, nil
	}
	more, stop := n.reader(t).begin(ctx, n.shard.rt.store)
	defer stop()
	for p := range more {
		if p.err != nil {
			return nil, last, p.err
		}
		parts, last = append(parts, p), p.commits[len(p.commits)-1].T
	}
	return parts, last, nil
}
