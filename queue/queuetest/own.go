package queuetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cqrs-server/cqrs/queue"
)

var positions = []check{
	{"CommittedIsWhatCommitNoted", nil, committedIsWhatCommitNoted},
	{"CommittedStaysOverReopen", needsReopen, committedStays},
}

func (s *suite) checkCommitted(shard int, want int64) {
	s.Helper()
	got, err := s.q.Committed(s.ctx, s.topic, shard)
	s.must(err)
	if got != want {
		s.Fatalf("shard %d: committed is %d, and should be %d", shard, got, want)
	}
}

func committedIsWhatCommitNoted(s *suite) {
	for shard := range s.Shards {
		s.checkCommitted(shard, 0)
	}
	for shard := range s.Shards {
		msgs := s.appendN(shard, 5)
		for _, m := range msgs[1:] {
			s.must(s.q.Commit(s.ctx, s.topic, shard, m.Offset))
			s.checkCommitted(shard, m.Offset)
		}
		for later := shard + 1; later < s.Shards; later++ {
			s.checkCommitted(later, 0)
		}
	}
	s.topic = s.Topic(s.T)
	s.checkCommitted(0, 0)
}

func committedStays(s *suite) {
	msgs := s.appendN(0, 5)
	s.must(s.q.Commit(s.ctx, s.topic, 0, msgs[3].Offset))
	s.reopen()
	s.checkCommitted(0, msgs[3].Offset)
}

var ownership = []check{
	{"OwnCallsWorkForEachShard", nil, ownCallsWorkForEachShard},
	{"OwnEndsWithItsContext", nil, ownEndsWithItsContext},
	{"OwnReturnsTheFirstError", nil, ownReturnsTheFirstError},
	{"OwnGoesOnFromCommitted", nil, ownGoesOnFromCommitted},
}

// owning calls Own on a goroutine of its own.
func (s *suite) owning(ctx context.Context, work func(ctx context.Context, shard int) error) <-chan error {
	c, q, topic := make(chan error, 1), s.q, s.topic
	go func() { c <- q.Own(ctx, topic, work) }()
	return c
}

func ownCallsWorkForEachShard(s *suite) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	started := make(chan int, 100)
	var running atomic.Int64
	owned := s.owning(ctx, func(ctx context.Context, shard int) error {
		running.Add(1)
		defer running.Add(-1)
		started <- shard
		<-ctx.Done()
		return ctx.Err()
	})
	seen := map[int]bool{}
	for range s.Shards { // all at once: none waits for another to return
		seen[soon(s, "work for each shard", started)] = true
	}
	for shard := range s.Shards {
		if !seen[shard] {
			s.Errorf("shard %d has no work: %v", shard, seen)
		}
	}
	never(s, "work was called again for shard", started)
	never(s, "Own returned", owned)
	cancel()
	soon(s, "Own to return", owned)
	if running.Load() != 0 {
		s.Error("Own returned before its work")
	}
}

func ownEndsWithItsContext(s *suite) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	started, finish := make(chan int, 100), make(chan struct{})
	owned := s.owning(ctx, func(ctx context.Context, shard int) error {
		started <- shard
		<-ctx.Done()
		<-finish
		return nil
	})
	for range s.Shards {
		soon(s, "work", started)
	}
	cancel()
	never(s, "Own returned while work was going on", owned)
	close(finish)
	if err := soon(s, "Own to return", owned); !errors.Is(err, context.Canceled) {
		s.Errorf("want ctx's error: %v", err)
	}
}

func ownReturnsTheFirstError(s *suite) {
	broken := errors.New("broken")
	started, all := make(chan int, 100), make(chan struct{})
	var ended atomic.Int64
	owned := s.owning(s.ctx, func(ctx context.Context, shard int) error {
		defer ended.Add(1)
		started <- shard
		<-all
		if shard == 0 {
			return fmt.Errorf("shard 0: %w", broken)
		}
		<-ctx.Done()
		return ctx.Err()
	})
	for range s.Shards {
		soon(s, "work", started)
	}
	close(all)
	if err := soon(s, "Own to return", owned); !errors.Is(err, broken) {
		s.Errorf("want the error of work: %v", err)
	}
	if n := ended.Load(); n != int64(s.Shards) {
		s.Errorf("%d of %d shards have ended", n, s.Shards)
	}
}

// Owners that follow each other work everything off, each from where the last one committed.
func ownGoesOnFromCommitted(s *suite) {
	want := make([][]queue.Message, s.Shards)
	got := make([][]queue.Message, s.Shards)
	for shard := range s.Shards {
		want[shard] = s.appendN(shard, 6)
	}
	for range 3 {
		s.ownUntil(func(ctx context.Context, shard int) error {
			m, err := s.workOff(ctx, shard, 2)
			got[shard] = append(got[shard], m...)
			return err
		})
	}
	for shard := range s.Shards {
		s.same(got[shard], want[shard])
	}
}

// ownUntil owns until work has returned for each shard.
func (s *suite) ownUntil(work func(ctx context.Context, shard int) error) {
	s.Helper()
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	var left sync.WaitGroup
	left.Add(s.Shards)
	owned := s.owning(ctx, func(ctx context.Context, shard int) error {
		if err := work(ctx, shard); err != nil {
			return err
		}
		left.Done()
		<-ctx.Done()
		return ctx.Err()
	})
	done := make(chan struct{})
	go func() { left.Wait(); close(done) }()
	soon(s, "all work", done)
	cancel()
	soon(s, "Own to return", owned)
}

// workOff reads that many messages from the committed position on, and commits them.
func (s *suite) workOff(ctx context.Context, shard, n int) (done []queue.Message, err error) {
	from, err := s.q.Committed(ctx, s.topic, shard)
	if err != nil {
		return nil, err
	}
	start, _, err := s.q.Bounds(ctx, s.topic, shard)
	if err != nil {
		return nil, err
	}
	from = max(from, start)
	for len(done) < n {
		part, err := s.q.Read(ctx, s.topic, shard, from, n-len(done))
		if err != nil {
			return done, err
		}
		done = append(done, part...)
		from = part[len(part)-1].Offset + 1
	}
	return done, s.q.Commit(ctx, s.topic, shard, from)
}
