package cqrs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/store"
	"github.com/cqrs-server/cqrs/workflow"
	"go.etcd.io/bbolt"
)

// The topics of the queue.
const (
	topicCommands = "commands"
	topicFeedback = "feedback"
	topicDead     = "dead"
)

// Shard is one world: its log, its aggregate, its t.
type Shard struct {
	ReadSide // the aggregate that commands read

	rt    *Runtime
	n     int
	file  *boltfile.File
	plan  workflow.Plan
	wake  chan struct{}
	batch batch
	tries tries

	served   *served      // the work on a queue of its own; nil when the shard's file holds the queue
	release  func()       // ends following the log and the feedback
	turn     sync.Mutex   // held by the owner's work
	owned    atomic.Bool  // this process works the shard
	knows    int64        // the offset from which on this process knows the log, while it works the shard
	heardAll atomic.Int64 // the offset up to which the feedback queue was heard; -1 at first
	parts    parts        // of feedback, that were heard

	foreign   bool   // the plan has outputs outside the file
	delivered uint64 // the t up to which they were flushed; only run touches it

	next      *nextVersion // that is built beside the one that serves, or was and serves by now; nil when there is none
	followers []*follower
	openedAt  uint64 // the t when the runtime was opened

	failing sync.Mutex
	failure error // what Run is trying again because of
	deaf    error // why the feedback can't be heard
}

func newShard(rt *Runtime, n int, file *boltfile.File, agg *aggregate) (*Shard, error) {
	s := &Shard{rt: rt, n: n, file: file, wake: make(chan struct{}, 1), openedAt: agg.position().t}
	s.serving.Store(agg)
	s.batch.shard, s.batch.work = s, newWork(rt, agg)
	if err := s.bindPlan(); err != nil {
		return nil, err
	}
	if err := s.plan.Validate(); err != nil {
		return nil, fmt.Errorf("Plan: %w", err)
	}
	return s, nil
}

func (s *Shard) bindPlan() (err error) {
	if s.rt.embedded != nil {
		s.plan = bind(s, *s.rt.cfg.Plan)
		return nil
	}
	s.heardAll.Store(-1)
	s.parts = parts{}
	s.served = newServed(s, s.rt.queue, s.rt.cfg.Store)
	s.plan, err = s.served.bind(*s.rt.cfg.Plan)
	return err
}

// Number is the shard's number, from 0 on.
func (s *Shard) Number() int { return s.n }

// nudge wakes run; it never waits.
func (s *Shard) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run does the shard's work until ctx ends.
func (s *Shard) run(ctx context.Context) (err error) {
	engine, err := s.openEngine(ctx)
	if err != nil {
		return fmt.Errorf("cqrs: shard %d: %w", s.n, err)
	}
	defer func() { err = errors.Join(err, engine.Close(), s.saveDelivered()) }()
	s.delivered = s.agg().position().delivered
	release := s.file.Host(s.nudge)
	defer func() { release() }()
	s.nudge()
	retry := newBackoff()
	for ctx.Err() == nil {
		n, err := s.step(ctx, engine)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			release() // so that those who send do not wait for the next try
			s.pause(ctx, retry, err)
			release = s.file.Host(s.nudge)
		case n == 0:
			s.recovered(retry)
			s.wait(ctx)
		default:
			s.recovered(retry)
		}
	}
	return nil
}

// step works a batch. When it meets damage in the file, nothing of the batch is kept.
func (s *Shard) step(ctx context.Context, engine *workflow.Engine) (n int, err error) {
	defer func() {
		if errors.Is(err, boltfile.ErrDamaged) {
			s.batch.rollback()
		}
	}()
	defer s.file.Guard(&err, debug.SetPanicOnFault(true))
	if err := s.next.changeOver(ctx); err != nil {
		return 0, err
	}
	return engine.Step(ctx)
}

func (s *Shard) openEngine(ctx context.Context) (*workflow.Engine, error) {
	engine, err := workflow.New(s.plan, workflow.Hooks{
		Begin: s.batch.begin, Mark: s.batch.mark, Undo: s.batch.undo,
		Commit: s.batch.finish, Rollback: s.batch.rollback, Retry: isSystem,
	})
	if err != nil {
		return nil, err
	}
	return engine, engine.Open(ctx)
}

// saveDelivered keeps what outputs outside the file have seen: otherwise the last batch would come to them again.
func (s *Shard) saveDelivered() error {
	p := *s.agg().position()
	if !s.foreign || p.delivered == s.delivered {
		return nil
	}
	p.delivered = s.delivered
	return s.file.Update(context.Background(), func(tx *bbolt.Tx) error {
		return tx.Bucket(s.agg().stateName).Put(positionKey, p.encode())
	})
}

// pacer says how long to wait before the next try.
type pacer interface {
	NextBackOff() time.Duration
	Reset()
}

func newBackoff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 10*time.Millisecond, 5*time.Second
	return b
}

// wait blocks until something may have arrived.
func (s *Shard) wait(ctx context.Context) {
	select {
	case <-s.wake:
	case <-ctx.Done():
	}
}

// pause waits before the batch is tried again. The error is seen in Health; the log hears of it once, and when it changes.
func (s *Shard) pause(ctx context.Context, retry pacer, err error) {
	s.failing.Lock()
	news := s.failure == nil || s.failure.Error() != err.Error()
	s.failure = err
	s.failing.Unlock()
	if news {
		s.rt.cfg.Log.Warn("cqrs: trying again", "shard", s.n, "error", err)
	}
	sleep(ctx, retry.NextBackOff())
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (s *Shard) recovered(retry pacer) {
	s.failing.Lock()
	defer s.failing.Unlock()
	if s.failure != nil {
		s.rt.cfg.Log.Info("cqrs: going on", "shard", s.n)
		s.failure = nil
		retry.Reset()
	}
}

// Health is the state of a shard.
type Health struct {
	Shard     int
	Owner     bool   // this process does the shard's work at the moment
	T         uint64 // commits accepted
	Backlog   int64  // commands that wait; 0 when that can't be learned
	Failed    uint64 // events whose fold failed: above 0 the aggregate is incomplete
	Retrying  error  // what is being tried again; nil when all is well
	FileBytes int64  // size of the shard's file

	Version  string    // of the aggregate that serves
	Building *Progress // of Config.Next, until it serves; else nil
}

// Health tells how each shard is, within 2 seconds or so. What it can't learn of the queue meanwhile is the error.
func (rt *Runtime) Health() []Health {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	list := make([]Health, len(rt.shards))
	var all sync.WaitGroup
	for i, s := range rt.shards {
		all.Go(func() { list[i] = s.health(ctx) })
	}
	all.Wait()
	return list
}

func (s *Shard) health(ctx context.Context) Health {
	if s.agg() == nil {
		return Health{Shard: s.n, Retrying: s.retrying()}
	}
	p := s.agg().position()
	backlog, unknown := s.backlog(ctx)
	building, failure := s.next.health()
	return Health{
		Shard: s.n, Owner: s.served == nil && !s.rt.idle() || s.owned.Load(), T: p.t, Backlog: backlog, Failed: p.failed,
		Retrying: cmp.Or(s.retrying(), failure, unknown), FileBytes: s.file.Size(), Version: s.Version(), Building: building,
	}
}

// backlog is how many commands wait.
func (s *Shard) backlog(ctx context.Context) (int64, error) {
	_, end, err1 := s.rt.queue.Bounds(ctx, topicCommands, s.n)
	done, err2 := s.rt.queue.Committed(ctx, topicCommands, s.n)
	if err := errors.Join(err1, err2); err != nil {
		return 0, fmt.Errorf("how many commands wait is not known: %w", readError(err))
	}
	return end - done, nil
}

// retrying is what is tried again: by the shard, by the store or the queue itself, or by who listens to the feedback.
func (s *Shard) retrying() error {
	s.failing.Lock()
	defer s.failing.Unlock()
	if s.failure != nil {
		return s.failure
	}
	if t, ok := s.rt.store.(store.Troubled); ok && t.Trouble() != nil {
		return t.Trouble()
	}
	if t, ok := s.rt.queue.(queue.Troubled); ok && t.Trouble() != nil {
		return t.Trouble()
	}
	return s.deaf
}
