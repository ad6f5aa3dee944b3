package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/IBM/sarama"

	"github.com/cqrs-server/cqrs/queue"
)

// Limit implements queue.Queue. It is the smallest limit of the topics that were made, checked or appended to, and before that the
// cluster's default. Append respects the limit of its topic, which may be larger.
func (q *Queue) Limit() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.topics) == 0 {
		return q.broker - reserve
	}
	least := largestMaxBatch
	for _, t := range q.topics {
		least = min(least, t.maxBatch)
	}
	return least - reserve
}

// traits gives what is known of a topic, and asks the cluster the first time.
func (q *Queue) traits(ctx context.Context, topic string) (traits, error) {
	q.mu.Lock()
	t, known := q.topics[topic]
	q.mu.Unlock()
	if known {
		return t, nil
	}
	resource := sarama.ConfigResource{Type: sarama.TopicResource, Name: q.prefix + topic}
	//lint:ignore SA1019 one resource is asked for, and this method does just that
	entries, err := ask(ctx, q, func() ([]sarama.ConfigEntry, error) { return q.admin.DescribeConfig(resource) })
	if err != nil {
		return traits{}, q.explain("read the configuration of", partition{topic, -1}, err)
	}
	if t, err = q.traitsOf(entries); err != nil {
		return traits{}, fmt.Errorf("topic %q: %w", q.prefix+topic, err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.topics[topic] = t
	return t, nil
}

// forget has the cluster asked again about a topic.
func (q *Queue) forget(topic string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.topics, topic)
	delete(q.partitions, topic)
}

func (q *Queue) traitsOf(entries []sarama.ConfigEntry) (traits, error) {
	t := traits{maxBatch: q.broker}
	var errs []error
	for _, e := range entries {
		switch e.Name {
		case "max.message.bytes":
			n, err := maxBatchOf(e)
			t.maxBatch = n
			errs = append(errs, err)
		case "cleanup.policy":
			if strings.Contains(e.Value, "compact") {
				errs = append(errs, errors.New("its cleanup.policy is compact, which removes messages from the middle: set it to delete"))
			}
		case "message.timestamp.type":
			if e.Value == "LogAppendTime" {
				errs = append(errs, errors.New("its message.timestamp.type is LogAppendTime, which overwrites the messages' times: set it to CreateTime"))
			}
		}
	}
	return t, errors.Join(errs...)
}

func maxBatchOf(e sarama.ConfigEntry) (int, error) {
	n, err := strconv.Atoi(e.Value)
	if err != nil {
		return 0, fmt.Errorf("its %s is no number: %w", e.Name, err)
	}
	if n < 2*reserve {
		return 0, fmt.Errorf("its %s of %d leaves no room for messages: raise it", e.Name, n)
	}
	return min(n, largestMaxBatch), nil
}

// brokerMaxBatch is the cluster's default for topics. Who may not ask gets Kafka's own default.
func brokerMaxBatch(client sarama.Client, admin sarama.ClusterAdmin) (int, error) {
	for _, b := range client.Brokers() {
		resource := sarama.ConfigResource{Type: sarama.BrokerResource, Name: fmt.Sprint(b.ID()), ConfigNames: []string{"message.max.bytes"}}
		//lint:ignore SA1019 one resource is asked for, and this method does just that
		entries, err := admin.DescribeConfig(resource)
		if errors.Is(err, sarama.ErrClusterAuthorizationFailed) {
			return defaultMaxBatch, nil
		}
		if err != nil {
			return 0, fmt.Errorf("read the configuration of broker %d: %w", b.ID(), err)
		}
		for _, e := range entries {
			if e.Name == "message.max.bytes" {
				return maxBatchOf(e)
			}
		}
	}
	return defaultMaxBatch, nil
}

// fits tells which message is too large for a batch of its own, if any, or has a time that Kafka can't keep.
func (t traits) fits(topic string, msgs []queue.Message) error {
	limit := t.maxBatch - reserve
	for i := range msgs {
		m := &msgs[i]
		size := m.Size()
		if more := encodedSize(m) + batchOverhead - t.maxBatch; more > 0 && size <= limit { // it has very many headers
			size = limit + more
		}
		if size > limit {
			return &queue.TooLargeError{Topic: topic, Size: size, Limit: limit}
		}
		if m.Time < 0 || m.Time > latestTime {
			return fmt.Errorf("queue: a message for %q has the time %d: Kafka takes milliseconds from 0 (1970) to %d (2262)", topic, m.Time, int64(latestTime))
		}
	}
	return nil
}

// encodedSize is the size of a message in a batch, at most.
func encodedSize(m *queue.Message) int {
	return recordOverhead + m.Size() + len(m.Headers)*headerOverhead
}
