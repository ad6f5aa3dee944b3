package cqrs

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/internal/steps"
	"github.com/cqrs-server/cqrs/workflow"
	"go.etcd.io/bbolt"
)

func init() { steps.Open = openStepped }

// stepped is a runtime that is run step by step (see package steps).
type stepped struct{ rt *Runtime }

// stepping is how a simulation opens a runtime; nil is how a program does.
type stepping struct {
	like   *Runtime // an earlier one of the same program, or nil
	commit func(shard int, tx *bbolt.Tx) error
}

// registry is that of the earlier one: to make it takes longer than all else that Open does.
func (s *stepping) registry(cfg Config) (*registry, error) {
	if s == nil || s.like == nil {
		return newRegistry(cfg)
	}
	return s.like.types, nil
}

// take has the simulation make the commits of a shard's file.
func (s *stepping) take(file *boltfile.File, shard int) {
	if s != nil && s.commit != nil {
		file.CommitBy(func(tx *bbolt.Tx) error { return s.commit(shard, tx) })
	}
}

// atOnce is how many aggregates are opened at a time.
func (s *stepping) atOnce() int {
	if s != nil {
		return 1
	}
	return runtime.GOMAXPROCS(0)
}

func openStepped(dir string, config any, how steps.How) (steps.Process, error) {
	cfg, ok := config.(Config)
	if !ok || cfg.Queue == nil && cfg.Store == nil {
		return nil, fmt.Errorf("cqrs: steps are for a Config with a Queue or a Store, and %T was given", config)
	}
	sim := &stepping{commit: how.Commit}
	if earlier, ok := how.Like.(*stepped); ok {
		sim.like = earlier.rt
	}
	rt, err := open(dir, cfg, sim)
	if err != nil {
		return nil, err
	}
	return &stepped{rt}, nil
}

func (p *stepped) Runtime() any { return p.rt }

func (p *stepped) Follow(ctx context.Context, shard int) (int, error) {
	s := p.rt.shards[shard]
	if err := s.checkLog(ctx); err != nil {
		return 0, err
	}
	s.next.buildNow(ctx)
	if err := s.next.changeOver(ctx); err != nil {
		return 0, err
	}
	msgs, err := s.readLog(ctx, s.agg().position().offset, s.rt.cfg.Batch)
	if err != nil || len(msgs) == 0 {
		return 0, err
	}
	return len(msgs), s.apply(ctx, msgs)
}

func (p *stepped) Listen(ctx context.Context, shard int) (n int, err error) {
	return p.rt.shards[shard].hearAll(ctx)
}

func (p *stepped) Own(ctx context.Context, shard int) (steps.Owner, error) {
	s := p.rt.shards[shard]
	back := s.handOver()
	if err := s.served.takeUp(ctx); err != nil {
		back()
		return nil, err
	}
	engine, err := s.served.open(ctx)
	if err != nil {
		back()
		return nil, err
	}
	return &steppedOwner{s, engine, back}, nil
}

func (p *stepped) Reached(shard int) int64 { return p.rt.shards[shard].agg().position().offset }

func (p *stepped) Ended(receipt any) (t uint64, err error, ended bool) {
	r := receipt.(*Receipt)
	select {
	case <-r.done: // never, when nobody follows it
	default:
		return 0, nil, false
	}
	switch {
	case r.end.commit != nil:
		return r.end.commit.T, nil, true
	case r.end.err != nil:
		return 0, r.end.err, true
	}
	return 0, nil, false
}

func (p *stepped) Version(shard int) string { return p.rt.shards[shard].agg().version }

func (p *stepped) CommitBy(fn func(shard int, tx *bbolt.Tx) error) {
	p.rt.sim.commit = fn
	for n, file := range p.rt.files[:len(p.rt.shards)] {
		p.rt.sim.take(file, n)
	}
}

func (p *stepped) Crash() {
	for _, s := range p.rt.shards {
		s.batch.rollback()
		if s.next != nil {
			s.next.work.rollback()
		}
	}
	_ = p.rt.Close()
}

func (p *stepped) Close() error { return p.rt.Close() }

type steppedOwner struct {
	shard  *Shard
	engine *workflow.Engine
	back   func()
}

func (o *steppedOwner) Step(ctx context.Context) (int, error) {
	o.shard.served.when = time.Time{} // so that offsets are told each time, whatever the clock says
	o.shard.next.buildNow(ctx)
	return o.shard.served.step(ctx, o.engine)
}

func (o *steppedOwner) Look(ctx context.Context) { o.shard.served.look(ctx) }

func (o *steppedOwner) End(ctx context.Context) error {
	o.shard.served.leave(ctx)
	err := o.engine.Close()
	o.back()
	return err
}
