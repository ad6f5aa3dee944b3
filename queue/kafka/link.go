package kafka

import (
	"context"
	"fmt"

	"github.com/IBM/sarama"
)

// link is a connection to the leader of a partition that one goroutine at a time uses.
type link struct {
	broker *sarama.Broker
	cut    context.CancelFunc
	topic  sarama.Uuid // id of the topic when the connection was made
}

// connectTo makes a link to the leader of a partition, as far as the client knows it. It makes sure that the topic is still the same.
func (q *Queue) connectTo(ctx context.Context, p partition) (*link, error) {
	topic, err := q.same(ctx, p.topic)
	if err != nil {
		return nil, err
	}
	leader, err := ask(ctx, q, func() (*sarama.Broker, error) { return q.client.Leader(q.prefix+p.topic, int32(p.shard)) })
	if err != nil {
		return nil, err
	}
	life, cut := context.WithCancel(q.life)
	l := &link{broker: sarama.NewBroker(leader.Addr()), cut: cut, topic: topic}
	if err := l.broker.Open(newNetwork(life, q.config).config()); err != nil {
		cut()
		return nil, err
	}
	err = l.use(ctx, func(b *sarama.Broker) error {
		_, err := b.Connected()
		return err
	})
	if err != nil {
		l.close()
		return nil, fmt.Errorf("connect to broker %s: %w", leader.Addr(), err)
	}
	return l, nil
}

// use calls f. The end of ctx cuts the connection, and with it f short.
func (l *link) use(ctx context.Context, f func(*sarama.Broker) error) error {
	stop := context.AfterFunc(ctx, l.cut)
	err := f(l.broker)
	if !stop() && err != nil {
		return fmt.Errorf("%w (%w)", context.Cause(ctx), err)
	}
	return err
}

// close does not wait for answers.
func (l *link) close() {
	if l != nil {
		l.cut()
		l.broker.Close() // its error is that it is cut
	}
}

// refresh has the client ask again who leads the partition. What goes wrong shows at the next attempt.
func (q *Queue) refresh(ctx context.Context, p partition) {
	_, _ = ask(ctx, q, func() (struct{}, error) { return struct{}{}, q.client.RefreshMetadata(q.prefix + p.topic) })
}
