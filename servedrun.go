package cqrs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/internal/mutant"
	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/workflow"

	boltstore "github.com/cqrs-server/cqrs/store/bolt"
)

// serve works the shard, as its owner, until ctx ends.
func (s *Shard) serve(ctx context.Context) (err error) {
	defer s.handOver()()
	v, retry := s.served, newBackoff()
	for err = v.takeUp(ctx); err != nil && ctx.Err() == nil; err = v.takeUp(ctx) {
		s.pause(ctx, retry, err)
	}
	if ctx.Err() != nil {
		return nil
	}
	engine, err := v.open(ctx)
	if err != nil {
		return fmt.Errorf("cqrs: shard %d: %w", s.n, err)
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	defer v.poll.Notify(topicCommands, s.n, s.nudge)()
	telling, end := longer(ctx, leaveWithin)
	defer end()
	v.telling.ctx = telling
	defer v.leave(telling)
	s.work(ctx, engine, retry)
	return nil
}

// handOver takes the shard from its follower, and gives it back when the owner's work is done.
func (s *Shard) handOver() (back func()) {
	s.turn.Lock()
	s.release()
	s.owned.Store(true)
	return func() {
		s.owned.Store(false)
		s.heardAll.Store(s.served.heard.before)
		s.release = s.hold(s.rt.life)
		s.turn.Unlock()
	}
}

// heardBefore is how far the feedback was heard a while ago. An owner does not hear the feedback that it writes; when it gives the
// shard up it hears on from there, because another owner may have written between.
type heardBefore struct {
	before, since int64
	at            time.Time
}

const heardEvery = 30 * time.Second

func (h *heardBefore) note(now int64) {
	if time.Since(h.at) > heardEvery {
		h.before, h.since, h.at = h.since, now, time.Now()
	}
}

// work runs batch after batch.
func (s *Shard) work(ctx context.Context, engine *workflow.Engine, retry pacer) {
	for ctx.Err() == nil {
		n, err := s.served.step(ctx, engine)
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, errInterleaved):
			s.rt.cfg.Log.Info("cqrs: reading the log again", "shard", s.n, "reason", err)
		case err != nil:
			s.pause(ctx, retry, err)
		case n == 0:
			s.recovered(retry)
			s.served.idle(ctx)
		default:
			s.recovered(retry)
		}
	}
}

// step runs one batch. It gives 0 when there was nothing to do.
func (v *served) step(ctx context.Context, engine *workflow.Engine) (n int, err error) {
	was := v.behind
	defer func() {
		if errors.Is(err, boltfile.ErrDamaged) {
			v.rollback()
		}
	}()
	defer v.shard.file.Guard(&err, debug.SetPanicOnFault(true))
	if err := v.shard.next.changeOver(ctx); err != nil {
		return 0, err
	}
	if err := v.review(ctx); err != nil {
		return 0, err
	}
	n, err = engine.Step(ctx)
	if was && !v.behind {
		n++ // the commands were not asked
	}
	if err == nil { // else it may be because the topics are others now
		v.tellOffsets(ctx, false)
	}
	v.trim(ctx)
	return n, err
}

// open makes the engine of the shard's plan.
func (v *served) open(ctx context.Context) (*workflow.Engine, error) {
	b := v.batch
	engine, err := workflow.New(v.shard.plan, workflow.Hooks{
		Begin: v.begin, Mark: b.mark, Undo: b.undo, Commit: v.finish, Rollback: v.rollback, Retry: isSystem,
	})
	if err != nil {
		return nil, err
	}
	return engine, engine.Open(ctx)
}

// takeUp finds out where the work of the shard stands: what another process, or this one before, may have left undone is in the log behind
// the offset up to which everything was settled.
func (v *served) takeUp(ctx context.Context) error {
	s := v.shard
	if err := s.next.changeOver(ctx); err != nil {
		return err
	}
	if err := s.checkLog(ctx); err != nil {
		return err
	}
	if err := s.loadKnows(); err != nil {
		return err
	}
	own, err := v.loadOffsets()
	if err == nil {
		err = v.reviewCommands(ctx, v.command)
	}
	if err != nil {
		return err
	}
	settled, err := v.noted(ctx, topicEvents)
	if err != nil {
		return err
	}
	handled, err := v.noted(ctx, topicCommands)
	if err != nil {
		return err
	}
	start, _, err := s.rt.queue.Bounds(ctx, topicEvents, s.n)
	if err != nil {
		return err
	}
	// What was told before handled was noted is in the feedback queue by now; what comes later is handled here again.
	if _, err := s.hearAll(ctx); err != nil {
		return err
	}
	v.heard = heardBefore{before: s.heardAll.Load(), since: s.heardAll.Load(), at: time.Now()}
	v.settled, v.handled = max(own.settled, settled, start), max(own.handled, handled)
	v.reached = offsets{v.settled, v.handled}
	v.saved = offsets{settled, handled}
	if handled == 0 && mutant.Is("newest offset at first start") {
		_, v.handled, _ = s.rt.queue.Bounds(ctx, topicCommands, s.n)
	}
	if v.store != nil {
		if err := v.fillStore(ctx); err != nil {
			return err
		}
	}
	v.fallBehind()
	return nil
}

// noted is the offset that the queue was told last. One that lies beyond the topic's end is about a topic of that name that is no more: offsets
// may outlive their topic, or were told by somebody who did not know yet that it had been made again.
func (v *served) noted(ctx context.Context, topic string) (int64, error) {
	at, err := v.shard.rt.queue.Committed(ctx, topic, v.shard.n)
	if err != nil {
		return 0, err
	}
	start, end, err := v.shard.rt.queue.Bounds(ctx, topic, v.shard.n)
	if at > end && !mutant.Is("offset beyond the end believed") {
		at = start
	}
	return at, err
}

// fillStore puts what is archived in the shard's file, from a time when there was no other store, into the store.
func (v *served) fillStore(ctx context.Context) (err error) {
	s := v.shard
	if v.stored, err = v.store.Last(ctx, s.n); err != nil {
		return err
	}
	meter := newMeter(s.rt.cfg.Progress, "store", s.agg())
	for {
		records, err := readRecords(ctx, boltstore.On(s.rt.files[:s.rt.cfg.Shards]...), s.n, v.stored+1, s.agg().position().t)
		if err != nil || len(records) == 0 {
			return err
		}
		if err := v.store.Put(ctx, records); err != nil {
			return fmt.Errorf("move the archive of shard %d into the store: %w", s.n, err)
		}
		v.stored = records[len(records)-1].T
		meter.show(v.stored, s.agg().position().t)
	}
}

// save writes what is kept beside the position.
func (v *served) save() error {
	b := v.batch
	raw := binary.BigEndian.AppendUint64(nil, uint64(v.settled))
	raw = append(binary.BigEndian.AppendUint64(raw, uint64(v.handled)), v.lastCommand.encode()...)
	return b.tx.Bucket(b.agg.stateName).Put(offsetsKey, raw)
}

// loadOffsets reads what save has written, the command that it looks at next, too.
func (v *served) loadOffsets() (o offsets, err error) {
	raw, err := v.shard.state(offsetsKey)
	if err == nil && len(raw) >= 16 {
		o.settled = int64(binary.BigEndian.Uint64(raw))
		o.handled = int64(binary.BigEndian.Uint64(raw[8:]))
		v.command = decodePlace(raw[16:])
		v.lastCommand = v.command
	}
	return o, err
}

const (
	offsetsEvery = 500 * time.Millisecond
	lookEvery    = 500 * time.Millisecond
)

// leaveWithin is how long what is on its way, when the work is to end, may take to arrive. What has not is told again by the next owner.
const leaveWithin = 3 * time.Second

// longer gives a context that lasts a while longer than ctx.
func longer(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	last, end := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(d, end) })
	return last, func() { stop(); end() }
}

// leave ends the work in order.
func (v *served) leave(ctx context.Context) {
	if err := v.arrive(0); err != nil {
		v.shard.rt.cfg.Log.Info("cqrs: the next owner tells again", "shard", v.shard.n, "error", err)
	}
	if v.shard.checkTopics(ctx) == nil {
		v.tellOffsets(ctx, true)
	}
}

// tellOffsets notes in the queue how far the work has come, for the process that owns the shard next. It is a hint, told now
// and then: what is worked again has no second effect.
func (v *served) tellOffsets(ctx context.Context, now bool) {
	o := offsets{v.settled, v.handled}
	if mutant.Is("offset one too far") {
		o.handled++
	}
	if o == v.saved || !now && time.Since(v.when) < offsetsEvery {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	err := errors.Join(v.queue.Commit(ctx, topicEvents, v.shard.n, o.settled), v.queue.Commit(ctx, topicCommands, v.shard.n, o.handled))
	v.when = time.Now()
	if err != nil {
		v.shard.rt.cfg.Log.Debug("cqrs: offsets are not noted", "shard", v.shard.n, "error", err)
		return
	}
	v.saved = o
}

// idle waits until something may have arrived. Now and then it looks whether somebody else has written to the log.
func (v *served) idle(ctx context.Context) {
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	select {
	case <-v.shard.wake:
	case <-v.arriving():
	case <-ctx.Done():
	case <-timer.C:
		v.look(ctx)
	}
}

// look falls behind when the log has grown.
func (v *served) look(ctx context.Context) {
	_, end, err := v.queue.Bounds(ctx, topicEvents, v.shard.n)
	if err == nil && end != v.shard.agg().position().offset {
		v.fallBehind()
	}
}

// pollerOf makes a Poller of any queue.
func pollerOf(q queue.Queue) queue.Poller {
	if p, ok := q.(queue.Poller); ok {
		return p
	}
	return polled{q}
}

// polled polls a queue that only reads.
type polled struct{ queue.Queue }

func (p polled) Poll(topic string, shard int, from int64, most int) ([]queue.Message, error) {
	ctx, cancel := context.WithTimeout(context.Background(), readWithin)
	defer cancel()
	_, end, err := p.Bounds(ctx, topic, shard)
	if err != nil || from == end {
		return nil, err
	}
	return p.Read(ctx, topic, shard, from, most)
}

func (p polled) Notify(topic string, shard int, f func()) (stop func()) {
	if n, ok := p.Queue.(interface {
		Notify(topic string, shard int, f func()) (stop func())
	}); ok {
		return n.Notify(topic, shard, f)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			sleep(ctx, 5*time.Millisecond)
			f()
		}
	}()
	return func() { cancel(); <-done }
}
