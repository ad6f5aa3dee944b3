package bolt

import (
	"context"
	"errors"
	"sync"

	"github.com/cqrs-server/cqrs/queue"
)

// Own implements queue.Queue. The process that has the files open owns all shards. Own returns the first error of work,
// ctx's error when ctx has ended, or ErrClosed after Close, and in each case when all work has returned. Work that returns nil
// is not called again.
func (q *Queue) Own(ctx context.Context, topic string, work func(ctx context.Context, shard int) error) error {
	if err := q.ready(ctx, partition{topic, 0}); err != nil {
		return err
	}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, len(q.files))
	var all sync.WaitGroup
	for shard := range q.files {
		all.Go(func() {
			if err := work(inner, shard); err != nil {
				failed <- err
				cancel()
			}
		})
	}
	stopped := q.waitFor(ctx, inner)
	cancel()
	all.Wait()
	close(failed)
	return firstError(failed, stopped)
}

// waitFor waits until the work is to end. It tells why, or nil when work failed.
func (q *Queue) waitFor(ctx, inner context.Context) error {
	select {
	case <-inner.Done():
		return ctx.Err()
	case <-q.done:
		return queue.ErrClosed
	}
}

// firstError leaves out what work says because it was stopped.
func firstError(failed <-chan error, stopped error) error {
	for err := range failed {
		told := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, queue.ErrClosed)
		if stopped == nil || !told {
			return err
		}
	}
	return stopped
}
