package cqrs

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/cqrs-server/cqrs/queue"

	boltqueue "github.com/cqrs-server/cqrs/queue/bolt"
	boltstore "github.com/cqrs-server/cqrs/store/bolt"
)

const openWithin = 30 * time.Second // for the queue to answer

// openServed opens a runtime whose queue or store (or both) stand outside the data folder. It begins to follow the log at once.
func (rt *Runtime) openServed(dir string) error {
	ctx, cancel := context.WithTimeout(rt.life, openWithin)
	defer cancel()
	if err := rt.openQueue(dir); err != nil {
		return err
	}
	if err := rt.checkQueue(ctx); err != nil {
		return err
	}
	if err := rt.checkStore(ctx); err != nil {
		return err
	}
	if rt.store = rt.cfg.Store; rt.cfg.Role == Sender {
		rt.openSender()
		return rt.hold(ctx)
	}
	if err := rt.openFiles(dir); err != nil {
		return err
	}
	if err := rt.checkDrained(ctx); err != nil {
		return err
	}
	if rt.store == nil {
		rt.store = boltstore.On(rt.files...)
		rt.owns = append(rt.owns, rt.store.Close)
	}
	if err := rt.openShards(dir); err != nil {
		return err
	}
	if err := rt.hold(ctx); err != nil {
		return err
	}
	for _, s := range rt.shards {
		s.next.start()
	}
	return nil
}

// hold begins to follow the log and the feedback of each shard. Where the feedback ends is learned first: how what is sent from now on ends
// is told behind it.
func (rt *Runtime) hold(ctx context.Context) error {
	for _, s := range rt.shards {
		if _, err := s.hearing(ctx); err != nil {
			return err
		}
		s.release = s.hold(rt.life)
	}
	return nil
}

// openQueue takes the Config's queue, or opens one of files beside those of the shards.
func (rt *Runtime) openQueue(dir string) error {
	if rt.queue = rt.cfg.Queue; rt.queue != nil {
		return nil
	}
	q, err := boltqueue.Open(filepath.Join(dir, "queue"), rt.cfg.Shards)
	if err != nil {
		return err
	}
	rt.queue, rt.owns = q, append(rt.owns, q.Close)
	return nil
}

// checkQueue makes sure that all topics are there, with a partition for each shard.
func (rt *Runtime) checkQueue(ctx context.Context) (err error) {
	for _, topic := range Topics() {
		n, wrong := rt.queue.Shards(ctx, topic)
		setDefault(&rt.cfg.Shards, n)
		if wrong == nil && n != rt.cfg.Shards {
			wrong = fmt.Errorf("topic %s has %d partitions, and there are %d shards: a shard is a partition of each topic, and its number "+
				"is fixed when it is made", topic, n, rt.cfg.Shards)
		}
		if errors.Is(wrong, queue.ErrNoTopic) {
			wrong = fmt.Errorf("%w: make the topics that cqrs.Topics names first", wrong)
		}
		err = errors.Join(err, wrong)
	}
	return err
}

// checkStore asks the store, so that a wrong address, a missing table or a missing right shows at once. (In a simulation a process begins whatever
// its store does.)
func (rt *Runtime) checkStore(ctx context.Context) error {
	if rt.cfg.Store == nil || rt.stepped {
		return nil
	}
	if _, err := rt.cfg.Store.Last(ctx, 0); err != nil {
		return fmt.Errorf("ask the store: %w", err)
	}
	return nil
}

// checkDrained refuses a folder whose own queue holds commands that have not ended: nobody would work them.
func (rt *Runtime) checkDrained(ctx context.Context) error {
	own := boltqueue.On(rt.files...)
	for n := range rt.files {
		_, end, err1 := own.Bounds(ctx, topicCommands, n)
		done, err2 := own.Committed(ctx, topicCommands, n)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		if end > done {
			return fmt.Errorf("%d commands wait in %s: run it without Queue and Store until they have ended", end-done, rt.files[n].Path())
		}
	}
	return own.Close()
}

// openSender makes shards that can only be sent to.
func (rt *Runtime) openSender() {
	for n := range rt.cfg.Shards {
		s := &Shard{rt: rt, n: n, wake: make(chan struct{}, 1)}
		s.served = &served{queue: rt.queue}
		s.heardAll.Store(-1)
		s.parts = parts{}
		rt.shards = append(rt.shards, s)
	}
}
