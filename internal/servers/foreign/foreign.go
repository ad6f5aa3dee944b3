// Package foreign is another program on the same Kafka, for tests: a client that shares no code with package queue/kafka.
package foreign

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cqrs-server/cqrs/queue"
)

// Write appends a message to a partition, and gives its offset.
func Write(ctx context.Context, brokers []string, topic string, partition int, m queue.Message) (int64, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ClientID("foreign"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	r := &kgo.Record{Topic: topic, Partition: int32(partition), Key: m.Key, Value: m.Value, Timestamp: time.UnixMilli(m.Time)}
	for _, h := range m.Headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	if err := client.ProduceSync(ctx, r).FirstErr(); err != nil {
		return 0, fmt.Errorf("write to %q partition %d: %w", topic, partition, err)
	}
	return r.Offset, nil
}

// Read gives the first n messages of a partition from an offset on, and waits for them until ctx ends.
func Read(ctx context.Context, brokers []string, topic string, partition int, from int64, n int) ([]queue.Message, error) {
	at := map[string]map[int32]kgo.Offset{topic: {int32(partition): kgo.NewOffset().At(from)}}
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ClientID("foreign"), kgo.ConsumePartitions(at),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var msgs []queue.Message
	for len(msgs) < n {
		fetched := client.PollRecords(ctx, n-len(msgs))
		if err := errors.Join(fetched.Err(), ctx.Err()); err != nil {
			return msgs, fmt.Errorf("read %q partition %d: %w", topic, partition, err)
		}
		for _, r := range fetched.Records() {
			msgs = append(msgs, message(r))
		}
	}
	return msgs, nil
}

func message(r *kgo.Record) queue.Message {
	m := queue.Message{Offset: r.Offset, Time: r.Timestamp.UnixMilli(), Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		m.Headers = append(m.Headers, queue.Header{Key: h.Key, Value: h.Value})
	}
	return m
}
