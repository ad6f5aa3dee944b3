// Package kafka is a queue on Apache Kafka, from version 2.8 on.
//
// A topic of the queue is a topic of Kafka, and a shard is a partition of it. Topics are made by CreateTopics or by the
// cluster's operator, never silently.
//
// What is appended is acknowledged by all in-sync replicas before Append returns nil, in the order given. Appends that wait
// at the same time share a request; the messages of one call stay in one record batch, which Kafka adds as a whole or not at
// all. Only a call that is larger than the topic's max.message.bytes takes several batches: when it fails in
// between, its error wraps queue.ErrUnknown. Every batch is numbered, so that the repetitions of a request whose answer was
// lost do not add it again. That covers one process's attempts within one Append; it is no guarantee over restarts.
//
// A message's Time is its timestamp in Kafka, and Kafka goes by it. Messages that look older than the topic's retention.ms are
// deleted, however new they are. Batches that look older than a day (producer.id.expiration.ms) lose their numbering when a broker
// starts: what was on its way then may be added twice. So append with the time of now, and keep another time in the value.
//
// Reading takes no part in a consumer group: it goes from the offset that is asked for, and never skips what is gone. A
// consumer group, with eager rebalancing, only says who works a shard (Own), and keeps the positions that Commit notes.
//
// A topic that is deleted and made again is another topic. Who has used the old one through a Queue gets queue.ErrOtherTopic from Read
// and Append. They find out by a new connection (a Read that waits loses its own when the topic goes), by an offset that is not there,
// or by one that was given before. A Queue that is opened afterwards takes the new topic for what it is, so compare Identity with
// the one that was noted beside the position.
//
// Other programs may write with transactions. What they abort is not given. The marks of transactions take offsets, so these
// have gaps then, and the last offset below the end may be a mark: a Read from there waits for the message behind it.
package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/IBM/sarama"

	"github.com/cqrs-server/cqrs/queue"
)

// Queue is a queue.Queue on Kafka. Its methods may be called from many goroutines.
type Queue struct {
	settings
	brokers []string
	client  sarama.Client
	admin   sarama.ClusterAdmin
	life    context.Context // ends with Close
	end     context.CancelFunc
	tasks   sync.WaitGroup // everything that runs on behalf of the queue

	mu         sync.Mutex
	closed     bool
	broker     int // bytes of the largest batch, of a topic that does not say
	topics     map[string]traits
	partitions map[string]int         // of topics that were seen
	ids        map[string]sarama.Uuid // of topics, when they were used first
	writers    map[partition]*writer
	idle       map[partition][]*cursor
	followers  map[partition]*follower
	sessions   []sarama.ConsumerGroupSession
	troubles   map[*ownership]error // of those that can't take part in the group
}

var (
	_ queue.Queue    = (*Queue)(nil)
	_ queue.Troubled = (*Queue)(nil)
)

// partition names one sequence of messages.
type partition struct {
	topic string // without the prefix
	shard int
}

// Open connects to a cluster. It fails within the time of the option Timeout, and before that with ctx, when no broker answers.
func Open(ctx context.Context, brokers []string, options ...Option) (*Queue, error) {
	s, err := settingsOf(options)
	if err == nil && len(brokers) == 0 {
		err = errors.New("no address of a broker was given")
	}
	if err != nil {
		return nil, fmt.Errorf("open queue on Kafka: %w", err)
	}
	q := newQueue(brokers, s)
	if _, err := ask(ctx, q, func() (struct{}, error) { return struct{}{}, q.connect() }); err != nil {
		return nil, errors.Join(fmt.Errorf("open queue on Kafka: %w", q.translate(err)), q.Close())
	}
	return q, nil
}

func newQueue(brokers []string, s settings) *Queue {
	q := &Queue{
		settings: s, brokers: brokers, broker: defaultMaxBatch,
		topics: map[string]traits{}, partitions: map[string]int{}, ids: map[string]sarama.Uuid{}, writers: map[partition]*writer{},
		idle: map[partition][]*cursor{}, followers: map[partition]*follower{}, troubles: map[*ownership]error{},
	}
	q.life, q.end = context.WithCancel(context.Background())
	return q
}

func (q *Queue) connect() error {
	client, err := sarama.NewClient(q.brokers, newNetwork(q.life, q.config).config())
	if err != nil {
		return err
	}
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		return errors.Join(err, client.Close())
	}
	most, err := brokerMaxBatch(client, admin)
	if err != nil {
		return errors.Join(err, admin.Close())
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed { // Open has given up meanwhile
		return errors.Join(queue.ErrClosed, admin.Close())
	}
	q.client, q.admin, q.broker = client, admin, most
	return nil
}

// Close ends the calls that wait, and gives back connections. It does not wait for the work of Own.
func (q *Queue) Close() error {
	if !q.markClosed() {
		return nil
	}
	var err error
	if q.admin != nil {
		err = q.admin.Close()
	}
	q.tasks.Wait()
	q.closeLinks()
	if err != nil && !errors.Is(err, sarama.ErrClosedClient) {
		return fmt.Errorf("close queue on Kafka: %w", err)
	}
	return nil
}

func (q *Queue) markClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.closed = true
	q.end()
	return true
}

// closeLinks closes the connections that nobody uses any more. Nothing is added to them after Close.
func (q *Queue) closeLinks() {
	for _, w := range q.writers {
		w.producer.link.close()
	}
	for _, idle := range q.idle {
		for _, c := range idle {
			c.close()
		}
	}
}

// spawn runs f on a goroutine that Close waits for. After Close it does not.
func (q *Queue) spawn(f func()) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return queue.ErrClosed
	}
	q.tasks.Go(f)
	return nil
}

// errNoAnswer is the cause of giving up.
var errNoAnswer = errors.New("no answer from Kafka in time")

// within gives a context that ends with ctx, with Close, and when the time for an answer is over. Its cause says which.
func (q *Queue) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, done := context.WithTimeoutCause(ctx, q.timeout, fmt.Errorf("%w (%v)", errNoAnswer, q.timeout))
	ctx, cancel := q.whileOpen(ctx)
	return ctx, func() { cancel(); done() }
}

// whileOpen gives a context that ends with ctx and with Close.
func (q *Queue) whileOpen(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(q.life, func() { cancel(queue.ErrClosed) })
	return ctx, func() { stop(); cancel(nil) }
}

// ask calls f, which can't be interrupted, and gives up waiting for it with ctx, with Close and after a while.
func ask[T any](ctx context.Context, q *Queue, f func() (T, error)) (v T, err error) {
	ctx, cancel := q.within(ctx)
	defer cancel()
	if ctx.Err() != nil {
		return v, context.Cause(ctx)
	}
	type answer struct {
		v   T
		err error
	}
	c := make(chan answer, 1)
	ran := q.spawn(func() {
		v, err := f()
		c <- answer{v, err}
	})
	if ran != nil {
		return v, ran
	}
	select {
	case a := <-c:
		return a.v, a.err
	case <-ctx.Done():
		return v, context.Cause(ctx)
	}
}
