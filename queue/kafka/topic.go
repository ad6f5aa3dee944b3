package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"

	"github.com/IBM/sarama"

	"github.com/cqrs-server/cqrs/queue"
)

const (
	defaultMaxBatch = 1_048_588                 // Kafka's own default of message.max.bytes
	largestMaxBatch = 64 << 20                  // so that a request stays below what brokers and client take (100 MiB)
	batchOverhead   = 61                        // of a record batch without records
	recordOverhead  = 36                        // of a record, at most: its lengths, offset and time
	headerOverhead  = 10                        // of a header of a record, at most: its lengths
	reserve         = 512                       // of a batch, for the overheads of one message with 40 headers
	latestTime      = math.MaxInt64 / 1_000_000 // in milliseconds: what fits into nanoseconds
)

// traits are what is known of a topic in Kafka.
type traits struct {
	maxBatch int // bytes
}

// CreateTopics makes topics that do not exist, with the number of partitions that Shards says. A topic that exists is
// checked as Check does.
func (q *Queue) CreateTopics(ctx context.Context, topics ...string) error {
	for _, topic := range topics {
		if err := checkName(q.prefix + topic); err != nil {
			return err
		}
		_, err := ask(ctx, q, func() (struct{}, error) { return struct{}{}, q.createTopic(topic) })
		switch {
		case err == nil:
			q.forgetIdentity(topic) // whoever makes it knows that it is a new one
		case !errors.Is(err, sarama.ErrTopicAlreadyExists):
			return q.explain("create", partition{topic, -1}, err)
		}
		if err := q.awaitTopic(ctx, topic); err != nil {
			return err
		}
	}
	return q.Check(ctx, topics...)
}

func (q *Queue) createTopic(topic string) error {
	config := map[string]*string{}
	set := func(key, value string) { config[key] = &value }
	set("cleanup.policy", "delete")
	set("message.timestamp.type", "CreateTime")
	set("message.timestamp.after.max.ms", strconv.FormatInt(math.MaxInt64, 10)) // clocks may differ
	set("unclean.leader.election.enable", "false")
	if q.replication >= 3 {
		set("min.insync.replicas", strconv.Itoa(int(q.replication)-1))
	}
	for key, value := range maps.All(q.topicConfig) {
		set(key, value)
	}
	detail := sarama.TopicDetail{NumPartitions: int32(max(q.shards, 1)), ReplicationFactor: q.replication, ConfigEntries: config}
	return q.admin.CreateTopic(q.prefix+topic, &detail, false)
}

// awaitTopic waits until a topic that was made is known to the brokers.
func (q *Queue) awaitTopic(ctx context.Context, topic string) error {
	ctx, cancel := q.within(ctx)
	defer cancel()
	for wait := newBackoff(); ; {
		_, err := q.describe(ctx, topic)
		if !errors.Is(err, queue.ErrNoTopic) {
			return err
		}
		if stopped := wait.next(ctx); stopped != nil {
			return fmt.Errorf("%w (%w)", err, stopped)
		}
	}
}

// Check tells what is wrong with topics: one that does not exist, has another number of partitions than Shards says, or is
// configured so that it does not keep what was appended.
func (q *Queue) Check(ctx context.Context, topics ...string) error {
	var errs []error
	for _, topic := range topics {
		if _, err := q.Shards(ctx, topic); err != nil {
			errs = append(errs, err)
		} else if _, err := q.traits(ctx, topic); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Shards implements queue.Queue. It asks the cluster.
func (q *Queue) Shards(ctx context.Context, topic string) (int, error) {
	t, err := q.describe(ctx, topic)
	if err != nil {
		return 0, err
	}
	n := len(t.Partitions)
	if q.shards > 0 && n != q.shards {
		return 0, fmt.Errorf("topic %q has %d partitions, and %d shards are expected: a shard's messages stay in its partition,"+
			" so give the option Shards(%d), or use another topic", q.prefix+topic, n, q.shards, n)
	}
	return n, nil
}

// describe asks the cluster what it knows of a topic.
func (q *Queue) describe(ctx context.Context, topic string) (*sarama.TopicMetadata, error) {
	if err := checkName(q.prefix + topic); err != nil {
		return nil, err
	}
	t, err := q.metadata(ctx, topic)
	return t, q.explain("describe", partition{topic, -1}, err)
}

// metadata is describe, with Kafka's own errors.
func (q *Queue) metadata(ctx context.Context, topic string) (*sarama.TopicMetadata, error) {
	found, err := ask(ctx, q, func() ([]*sarama.TopicMetadata, error) {
		return q.admin.DescribeTopics([]string{q.prefix + topic})
	})
	switch {
	case err != nil:
		return nil, err
	case len(found) != 1:
		return nil, sarama.ErrIncompleteResponse
	case found[0].Err != sarama.ErrNoError:
		return nil, found[0].Err
	}
	return found[0], nil
}

// find tells when a partition does not exist. It asks the cluster when the partition was not seen before.
func (q *Queue) find(ctx context.Context, p partition) error {
	if q.life.Err() != nil {
		return queue.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if p.shard >= 0 && p.shard < q.known(p.topic) {
		return nil
	}
	if err := checkName(q.prefix + p.topic); err != nil {
		return err
	}
	n, err := ask(ctx, q, func() (int, error) { return q.count(p.topic) })
	if err != nil {
		return q.explain("find", p, err)
	}
	if p.shard < 0 || p.shard >= n {
		return fmt.Errorf("%w: topic %q has partitions 0 to %d, and shard %d was asked for", queue.ErrNoTopic, q.prefix+p.topic, n-1, p.shard)
	}
	return nil
}

// known is the number of partitions that a topic had when it was last asked for, or 0.
func (q *Queue) known(topic string) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.partitions[topic]
}

// count asks the cluster for the number of partitions.
func (q *Queue) count(topic string) (int, error) {
	if err := q.client.RefreshMetadata(q.prefix + topic); err != nil {
		return 0, err
	}
	all, err := q.client.Partitions(q.prefix + topic)
	if err != nil {
		return 0, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.partitions[topic] = len(all)
	return len(all), nil
}

// checkName refuses what Kafka takes for no name of a topic, before it is asked.
func checkName(name string) error {
	const longest = 249
	if name == "" || name == "." || name == ".." || len(name) > longest {
		return fmt.Errorf("%w: Kafka takes names of 1 to %d characters for a topic, and %q is none", queue.ErrNoTopic, longest, name)
	}
	for _, c := range []byte(name) {
		if !strings.ContainsRune("._-", rune(c)) && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return fmt.Errorf("%w: Kafka takes a-z, A-Z, 0-9 and . _ - in the name of a topic, and %q has others", queue.ErrNoTopic, name)
		}
	}
	return nil
}
