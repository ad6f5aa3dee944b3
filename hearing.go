package cqrs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/store"
)

// Every process hears the feedback queue, because commands that it sent may be worked by another.

// listen hears how commands end that this process sent and another worked, until ctx ends.
func (s *Shard) listen(ctx context.Context) {
	retry := newBackoff()
	for ctx.Err() == nil {
		err := s.listenOn(ctx, retry)
		s.isDeaf(ctx, err)
		sleep(ctx, retry.NextBackOff())
	}
	s.isDeaf(context.Background(), nil)
}

// listenOn hears the feedback that comes, until that fails.
func (s *Shard) listenOn(ctx context.Context, retry pacer) error {
	from, err := s.listenFrom(ctx)
	if err != nil {
		return err
	}
	for f, err := range s.rt.feedback(ctx, s.n, from, math.MaxInt64, s.parts) {
		if f.Offset < 0 {
			return err
		}
		s.heardUpTo(f.Offset + 1)
		if s.isDeaf(ctx, nil); err == nil {
			s.hear(&f)
			retry.Reset()
		}
	}
	return nil
}

// listenFrom is where to listen on, if that is there: the topic may have lost its end. Another topic under its name shows when it is read.
func (s *Shard) listenFrom(ctx context.Context) (from int64, err error) {
	if from, err = s.hearing(ctx); err != nil {
		return 0, err
	}
	start, end, err := s.rt.queue.Bounds(ctx, topicFeedback, s.n)
	if err == nil && from > end {
		err = fmt.Errorf("the feedback queue of shard %d was truncated or made anew: start this process anew: %w", s.n,
			&queue.RangeError{Topic: topicFeedback, Shard: s.n, Want: from, Start: start, End: end})
	}
	if err == nil && !errors.Is(s.deafness(), queue.ErrOtherTopic) {
		s.isDeaf(ctx, nil)
	}
	return from, err
}

// isDeaf notes why the feedback can't be heard, for Health.
func (s *Shard) isDeaf(ctx context.Context, why error) {
	s.failing.Lock()
	defer s.failing.Unlock()
	if ctx.Err() == nil {
		s.deaf = why
	}
}

func (s *Shard) deafness() error {
	s.failing.Lock()
	defer s.failing.Unlock()
	return s.deaf
}

// hearAll hears what the feedback queue holds by now, and tells how many messages that were.
func (s *Shard) hearAll(ctx context.Context) (n int, err error) {
	from, err := s.hearing(ctx)
	if err != nil {
		return 0, err
	}
	_, end, err := s.rt.queue.Bounds(ctx, topicFeedback, s.n)
	for first := from; err == nil && from < end; n = int(from - first) {
		from, err = s.hearSome(ctx, from)
	}
	return n, err
}

// hearSome hears some of the messages that are there. It waits for no others: what the last of them begins may never come to its end.
func (s *Shard) hearSome(ctx context.Context, from int64) (next int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	msgs, err := s.rt.queue.Read(ctx, topicFeedback, s.n, from, 1000)
	for i := range msgs {
		f, whole, wrong := s.parts.hear(s.n, &msgs[i])
		if whole && wrong == nil {
			s.hear(&f)
		}
		from = f.Offset + 1
	}
	s.heardUpTo(from)
	return from, err
}

// hearing is where to listen on: at first at the end.
func (s *Shard) hearing(ctx context.Context) (int64, error) {
	start, end, err := s.rt.queue.Bounds(ctx, topicFeedback, s.n)
	if err != nil {
		return 0, err
	}
	s.heardAll.CompareAndSwap(-1, end)
	heard := s.heardAll.Load()
	if heard < start { // it was dropped before it was heard
		s.rt.receipts.loseAll(s.n, start)
	}
	return max(heard, start), nil
}

func (s *Shard) heardUpTo(offset int64) {
	for {
		was := s.heardAll.Load()
		if was >= offset || s.heardAll.CompareAndSwap(was, offset) {
			return
		}
	}
}

// hear tells those who wait for a command of this process that it has ended. Of an accepted command whose commit is still to come in the
// log, the log tells.
func (s *Shard) hear(f *Feedback) {
	if !s.rt.receipts.waitsFor(f.Command) {
		return
	}
	if f.Err != nil {
		f.Err.origin = &command{Envelope: Envelope{ID: f.Command}, payload: f.payload}
		s.rt.receipts.settle([]ended{{err: f.Err}})
		return
	}
	if s.agg() == nil || f.T <= s.agg().position().t {
		s.rt.receipts.settle([]ended{{commit: s.rt.commitOf(f)}})
	}
}

// commitOf makes a commit of what the feedback queue says of it.
func (rt *Runtime) commitOf(f *Feedback) *Commit {
	c := &Commit{Repeat: f.Repeat}
	c.Envelope = store.Envelope{Shard: f.Shard, T: f.T, Command: f.Command}
	c.Payload = f.payload
	for i := range f.Events {
		c.Envelope, c.Events = f.Events[i].Envelope, append(c.Events, f.Events[i].Event)
	}
	rt.types.decodeStored(c)
	if len(f.remarks) > 0 {
		_ = json.Unmarshal(f.remarks, &c.remarks)
	}
	return c
}
