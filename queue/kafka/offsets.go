package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/IBM/sarama"

	"github.com/cqrs-server/cqrs/queue"
)

// Bounds implements queue.Queue.
func (q *Queue) Bounds(ctx context.Context, topic string, shard int) (start, end int64, err error) {
	p := partition{topic, shard}
	if err := q.find(ctx, p); err != nil {
		return 0, 0, err
	}
	found, err := retry(ctx, q, func() ([2]int64, error) {
		start, err := q.client.GetOffset(q.prefix+topic, int32(shard), sarama.OffsetOldest)
		if err != nil {
			return [2]int64{}, err
		}
		end, err := q.client.GetOffset(q.prefix+topic, int32(shard), sarama.OffsetNewest)
		return [2]int64{start, end}, err
	})
	return found[0], found[1], q.explain("read the bounds of", p, err)
}

// Commit implements queue.Queue. The position is kept by the consumer group. While processes own shards, only they can note
// positions (of any topic): another gets an error.
func (q *Queue) Commit(ctx context.Context, topic string, shard int, next int64) error {
	p := partition{topic, shard}
	if err := q.find(ctx, p); err != nil {
		return err
	}
	if next < 0 {
		return fmt.Errorf("queue: commit %q shard %d: an offset is not negative, and %d is", topic, shard, next)
	}
	_, err := retry(ctx, q, func() (struct{}, error) { return struct{}{}, q.commit(p, next) })
	switch {
	case errors.Is(err, sarama.ErrUnknownMemberId), errors.Is(err, sarama.ErrIllegalGeneration), errors.Is(err, sarama.ErrRebalanceInProgress):
		err = fmt.Errorf("the shards of group %q are being shared out, or others own them: commit while Own works: %w", q.group, err)
	}
	return q.explain("commit the position in", p, err)
}

func (q *Queue) commit(p partition, next int64) error {
	coordinator, err := q.client.Coordinator(q.group)
	if err != nil {
		return err
	}
	r := sarama.NewOffsetCommitRequest(q.config, q.group)
	if s := q.session(); s != nil {
		r.ConsumerID, r.ConsumerGroupGeneration = s.MemberID(), s.GenerationID()
		if id := q.config.Consumer.Group.InstanceId; id != "" {
			r.GroupInstanceId = &id
		}
	}
	r.AddBlockWithLeaderEpoch(q.prefix+p.topic, int32(p.shard), next, -1, 0, "")
	answer, err := coordinator.CommitOffset(r)
	if err != nil {
		coordinator.Close() // the client opens it again
		return err
	}
	if code, there := answer.Errors[q.prefix+p.topic][int32(p.shard)]; !there {
		return sarama.ErrIncompleteResponse
	} else if code != sarama.ErrNoError {
		return q.moved(code)
	}
	return nil
}

// moved has the client look for the group's coordinator again, if an answer says that it is another.
func (q *Queue) moved(code sarama.KError) error {
	if code == sarama.ErrNotCoordinatorForConsumer || code == sarama.ErrConsumerCoordinatorNotAvailable {
		_ = q.client.RefreshCoordinator(q.group) // what goes wrong shows at the next attempt
	}
	return code
}

// Committed implements queue.Queue.
func (q *Queue) Committed(ctx context.Context, topic string, shard int) (int64, error) {
	p := partition{topic, shard}
	if err := q.find(ctx, p); err != nil {
		return 0, err
	}
	next, err := retry(ctx, q, func() (int64, error) { return q.committed(p) })
	return max(next, 0), q.explain("read the committed position in", p, err)
}

// none is the position of a group that has none.
const none = -1

func (q *Queue) committed(p partition) (int64, error) {
	name := q.prefix + p.topic
	answer, err := q.admin.ListConsumerGroupOffsets(q.group, map[string][]int32{name: {int32(p.shard)}})
	if errors.Is(err, sarama.ErrGroupIDNotFound) {
		return none, nil
	}
	if err != nil {
		return 0, err
	}
	block := answer.GetGroupBlock(q.group, name, int32(p.shard))
	if block == nil {
		block = answer.GetBlock(name, int32(p.shard))
	}
	if block == nil {
		return 0, sarama.ErrIncompleteResponse
	}
	switch block.Err {
	case sarama.ErrNoError:
		return block.Offset, nil
	case sarama.ErrGroupIDNotFound:
		return none, nil
	}
	return 0, q.moved(block.Err)
}

// retry asks until there is an answer or trying again does not help, and gives up with ctx, with Close and after a while.
func retry[T any](ctx context.Context, q *Queue, f func() (T, error)) (v T, err error) {
	ctx, cancel := q.within(ctx)
	defer cancel()
	for wait := newBackoff(); ; {
		if v, err = ask(ctx, q, f); err == nil || !isPassing(err) {
			return v, err
		}
		if stopped := wait.next(ctx); stopped != nil {
			if errors.Is(stopped, errNoAnswer) {
				stopped = fmt.Errorf("%w (%w)", stopped, err)
			}
			return v, stopped
		}
	}
}

// isPassing says that trying again may help: what comes from connections, and what brokers say while they change places.
func isPassing(err error) bool {
	var answer sarama.KError
	switch {
	case isFinal(err), errors.Is(err, queue.ErrClosed), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return false
	case !errors.As(err, &answer):
		return true
	}
	switch answer {
	case sarama.ErrLeaderNotAvailable, sarama.ErrNotLeaderForPartition, sarama.ErrReplicaNotAvailable, sarama.ErrRequestTimedOut,
		sarama.ErrNetworkException, sarama.ErrKafkaStorageError, sarama.ErrOffsetNotAvailable, sarama.ErrOffsetsLoadInProgress,
		sarama.ErrConsumerCoordinatorNotAvailable, sarama.ErrNotCoordinatorForConsumer, sarama.ErrFencedLeaderEpoch,
		sarama.ErrUnknownLeaderEpoch, sarama.ErrNotController, sarama.ErrBrokerNotAvailable, sarama.ErrUnstableOffsetCommit:
		return true
	}
	return false
}
