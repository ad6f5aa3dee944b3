package cqrs

import (
	"context"
	"errors"
	"fmt"
)

// Sync waits until the shard shows everything that its log holds when Sync is called, what other processes have written included, and gives the
// newest value. A Sender has none. Without a Queue of its own the newest value is always complete.
func (s *Shard) Sync(ctx context.Context) (View, error) {
	if s.served == nil {
		return s.View(), nil
	}
	if s.agg() == nil {
		return View{}, errNoView
	}
	_, end, err := s.rt.queue.Bounds(ctx, topicEvents, s.n)
	if err != nil {
		return View{}, fmt.Errorf("cqrs: where the log of shard %d ends: %w", s.n, readError(err))
	}
	for {
		moved, shut := s.watch()
		if s.agg().position().offset >= end {
			return s.View(), nil
		}
		if shut {
			return View{}, ErrClosed
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return View{}, errors.Join(fmt.Errorf("cqrs: shard %d does not show its log up to offset %d yet: %w", s.n, end, ctx.Err()), s.whyNot())
		}
	}
}

// whyNot is what the shard is trying again.
func (s *Shard) whyNot() error {
	s.failing.Lock()
	defer s.failing.Unlock()
	return s.failure
}

// Shards is the number of shards.
func (rt *Runtime) Shards() int { return len(rt.shards) }
