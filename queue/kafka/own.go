package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/cqrs-server/cqrs/queue"
)

// leaveWithin is how long a process takes to leave the group, at most.
const leaveWithin = 3 * time.Second

// Own implements queue.Queue. The processes of a consumer group share out the partitions. When one comes or goes, all
// work ends (its context does), and when it has returned everywhere, the partitions are shared out again and work is called
// for what is this process's then. Work that is slow to return holds up the others, for Rebalance.Timeout of the configuration at
// most. Work that returns nil while its context lasts is done with the shard: it is not called for it again by this Own.
//
// Own returns the first error of work, ctx's error when ctx has ended, or ErrClosed after Close. A connection that is lost, or not there yet,
// is made again; OnError hears of it, and Trouble tells it.
func (q *Queue) Own(ctx context.Context, topic string, work func(ctx context.Context, shard int) error) error {
	within, cancel := q.whileOpen(ctx)
	defer cancel()
	o := &ownership{queue: q, name: topic, topic: q.prefix + topic, work: work, finished: map[int]bool{}}
	within, o.stop = context.WithCancelCause(within)
	defer o.stop(nil)
	o.ended = func() bool { return within.Err() != nil }
	err := o.run(within)
	switch cause := context.Cause(within); {
	case errors.As(cause, new(*workError)):
		return cause.(*workError).error
	case within.Err() != nil:
		return cause
	}
	return q.explain("own", partition{topic, -1}, err)
}

// workError is the error that work returned.
type workError struct{ error }

// ownership is one call of Own. It is the consumer group's handler.
type ownership struct {
	queue *Queue
	name  string // of the topic
	topic string // the same, in Kafka
	work  func(ctx context.Context, shard int) error
	stop  context.CancelCauseFunc // ends Own
	ended func() bool             // whether Own is to end
	group sarama.ConsumerGroup
	leave func() // gives the group a moment to say good-bye to the broker, and then cuts the connection

	mu       sync.Mutex
	working  bool         // between Setup and Cleanup
	finished map[int]bool // shards that work is done with
}

// run takes part in the group until ctx ends, or it fails for good.
func (o *ownership) run(ctx context.Context) error {
	defer o.trouble(nil)
	err := o.persist(ctx, func() error { return o.queue.find(ctx, partition{o.name, 0}) })
	if err != nil || ctx.Err() != nil {
		return err
	}
	life, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	o.leave = sync.OnceFunc(func() { time.AfterFunc(leaveWithin, cut) })
	defer context.AfterFunc(ctx, o.leaveUnlessWorking)()
	err = o.persist(ctx, func() (err error) {
		o.group, err = sarama.NewConsumerGroup(o.queue.brokers, o.queue.group, groupConfig(newNetwork(life, o.queue.config)))
		return err
	})
	if err != nil || o.group == nil {
		return err
	}
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		for err := range o.group.Errors() {
			o.queue.onError(err)
		}
	}()
	for ctx.Err() == nil && err == nil {
		err = o.persist(ctx, func() error { return o.group.Consume(ctx, []string{o.topic}, o) })
	}
	o.leave()
	if closing := o.group.Close(); closing != nil {
		o.queue.onError(closing) // the group finds out by itself
	}
	<-heard
	return err
}

// persist calls f again until it succeeds or ctx ends, unless it fails for good. The group's member stays the same over
// a lost connection, so that the others need not wait until it is given up.
func (o *ownership) persist(ctx context.Context, f func() error) error {
	for wait := newBackoff(); ; {
		err := f()
		if err == nil || ctx.Err() != nil {
			return nil
		}
		if isFinal(err) || errors.Is(err, queue.ErrNoTopic) {
			return err
		}
		err = fmt.Errorf("queue: group %q, topic %q: %w", o.queue.group, o.topic, err)
		if !errors.Is(err, sarama.ErrRebalanceInProgress) { // it passes with the next try
			o.trouble(err)
		}
		o.queue.onError(err)
		if wait.next(ctx) != nil {
			return nil
		}
	}
}

// trouble notes why there is no work to be had; nil when there may be.
func (o *ownership) trouble(err error) {
	q := o.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if delete(q.troubles, o); err != nil {
		q.troubles[o] = err
	}
}

// Trouble implements queue.Troubled: it is why an Own that goes on can't take part in the group.
func (q *Queue) Trouble() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, err := range q.troubles {
		return err
	}
	return nil
}

// leaveUnlessWorking begins to leave the group. While there is work, that has to wait until the work has returned.
func (o *ownership) leaveUnlessWorking() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.working {
		o.leave()
	}
}

// groupConfig is the configuration of a member of a group that has no use for the group's messages. Where its reading begins
// is of no importance, so a position that is gone must not keep it from joining.
func groupConfig(n *network) *sarama.Config {
	c := n.config()
	c.Net.ReadTimeout = max(c.Net.ReadTimeout, c.Consumer.Group.Rebalance.Timeout+5*time.Second) // joining waits for all others
	c.Consumer.Group.ResetInvalidOffsets = true
	c.Consumer.Group.Rebalance.Retry.Max = 0 // persist tries again, and tells; the client would keep quiet for a minute
	c.Consumer.Return.Errors = true
	c.Consumer.Fetch.Default = 1
	return c
}

// Setup is called when the partitions have been shared out.
func (o *ownership) Setup(s sarama.ConsumerGroupSession) error {
	o.setWorking(true)
	o.trouble(nil)
	q := o.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sessions = append(q.sessions, s)
	return nil
}

// Cleanup is called when all work of a session has returned.
func (o *ownership) Cleanup(s sarama.ConsumerGroupSession) error {
	o.setWorking(false)
	if o.ended() {
		o.leave()
	}
	q := o.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sessions = slices.DeleteFunc(q.sessions, func(other sarama.ConsumerGroupSession) bool { return other == s })
	return nil
}

func (o *ownership) setWorking(is bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.working = is
}

// session is one that the process takes part in, or nil.
func (q *Queue) session() sarama.ConsumerGroupSession {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.sessions) == 0 {
		return nil
	}
	return q.sessions[len(q.sessions)-1]
}

// ConsumeClaim has a partition worked. To return ends the session for all, so it returns when the session ends, and not
// before.
func (o *ownership) ConsumeClaim(s sarama.ConsumerGroupSession, c sarama.ConsumerGroupClaim) error {
	o.group.Pause(map[string][]int32{c.Topic(): {c.Partition()}})
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for range c.Messages() { // what came before the pause
		}
	}()
	o.call(s.Context(), int(c.Partition()))
	<-s.Context().Done()
	<-drained
	return nil
}

// call calls work, unless it is done with the shard.
func (o *ownership) call(ctx context.Context, shard int) {
	o.mu.Lock()
	finished := o.finished[shard]
	o.mu.Unlock()
	if finished {
		return
	}
	err := o.work(ctx, shard)
	switch {
	case err == nil && ctx.Err() == nil:
		o.mu.Lock()
		o.finished[shard] = true
		o.mu.Unlock()
	case err != nil && (ctx.Err() == nil || !isEnding(err)):
		o.stop(&workError{err})
	}
}

// isEnding says that work was stopped.
func isEnding(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, queue.ErrClosed)
}
