package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/IBM/sarama"

	"github.com/cqrs-server/cqrs/queue"
)

// Identity implements queue.Queue. It is the id that Kafka gave the topic when it was made.
func (q *Queue) Identity(ctx context.Context, topic string) (string, error) {
	t, err := q.describe(ctx, topic)
	if err != nil {
		return "", err
	}
	if t.Uuid == (sarama.Uuid{}) {
		return "", fmt.Errorf("topic %q has no id: the cluster is older than 2.8, or was not upgraded to topic ids", q.prefix+topic)
	}
	q.firstIdentity(topic, t.Uuid)
	return identity(t.Uuid), nil
}

func identity(id sarama.Uuid) string {
	hi, lo := binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:])
	return fmt.Sprintf("%016x%016x", hi, lo)
}

// firstIdentity is the id that the topic had when it was used first. It is this one, if there was none before.
func (q *Queue) firstIdentity(topic string, id sarama.Uuid) (first sarama.Uuid) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if first, known := q.ids[topic]; known {
		return first
	}
	q.ids[topic] = id
	return id
}

func (q *Queue) forgetIdentity(topic string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.ids, topic)
}

// same gives the id of the topic, and tells when it is not the one that was used first. It asks the cluster, so it is for the moments when that may have
// changed: a new connection, or an offset that is not there.
func (q *Queue) same(ctx context.Context, topic string) (id sarama.Uuid, err error) {
	t, err := q.metadata(ctx, topic)
	if errors.Is(err, sarama.ErrUnknownTopicOrPartition) { // not every broker may have heard of it: the client asks more than one
		if _, err = ask(ctx, q, func() (int, error) { return q.count(topic) }); err == nil {
			t, err = q.metadata(ctx, topic)
		}
	}
	if err != nil {
		return id, err
	}
	if first := q.firstIdentity(topic, t.Uuid); first != t.Uuid {
		return id, fmt.Errorf("%w: topic %q had the id %s, and has %s: it was deleted and made again, and what was read or appended before is not"+
			" in it. Begin anew with the new one, or give the option Prefix and have other topics",
			queue.ErrOtherTopic, q.prefix+topic, identity(first), identity(t.Uuid))
	}
	return t.Uuid, nil
}
