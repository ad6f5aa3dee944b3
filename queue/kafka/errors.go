package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"github.com/cqrs-server/cqrs/queue"
)

// explain says what failed and where, and gives Kafka's errors the names of the contract.
func (q *Queue) explain(doing string, p partition, err error) error {
	if err == nil || err == context.Canceled || err == context.DeadlineExceeded || err == queue.ErrClosed {
		return err
	}
	where := fmt.Sprintf("topic %q", q.prefix+p.topic)
	if p.shard >= 0 {
		where += fmt.Sprintf(" partition %d", p.shard)
	}
	err = q.translate(err)
	if errors.Is(err, queue.ErrNoTopic) {
		q.forget(p.topic)
	}
	return fmt.Errorf("queue: %s %s: %w", doing, where, err)
}

// translate adds the contract's names, and what to do.
func (q *Queue) translate(err error) error {
	switch {
	case errors.Is(err, queue.ErrClosed), errors.Is(err, queue.ErrNoTopic), errors.Is(err, queue.ErrOtherTopic), err == nil:
		return err
	case q.life.Err() != nil:
		return fmt.Errorf("%w (%w)", queue.ErrClosed, err)
	case errors.Is(err, sarama.ErrUnknownTopicOrPartition), errors.Is(err, sarama.ErrInvalidTopic):
		return fmt.Errorf("%w: make it with CreateTopics, or ask the cluster's operator to (%w)", queue.ErrNoTopic, err)
	case errors.Is(err, sarama.ErrSASLAuthenticationFailed):
		return fmt.Errorf("the brokers refuse the user's credentials: check Net.SASL of the configuration: %w", err)
	case isRefusedMember(err):
		return fmt.Errorf("the group does not take this process: check Consumer.Group of the configuration, and the option Group: %w", err)
	case isDenied(err):
		return fmt.Errorf("the user may not do that: give it the right by an ACL: %w", err)
	case errors.Is(err, sarama.ErrOutOfBrokers), errors.Is(err, errNoAnswer):
		return fmt.Errorf("none of the brokers %q can be reached: check the addresses, and TLS and SASL of the configuration: %w", q.brokers, err)
	}
	return err
}

func isDenied(err error) bool {
	return errors.Is(err, sarama.ErrTopicAuthorizationFailed) || errors.Is(err, sarama.ErrGroupAuthorizationFailed) ||
		errors.Is(err, sarama.ErrClusterAuthorizationFailed)
}

// isRefusedMember says that the group does not take a member that is configured as this one is.
func isRefusedMember(err error) bool {
	return errors.Is(err, sarama.ErrInvalidSessionTimeout) || errors.Is(err, sarama.ErrInconsistentGroupProtocol) || errors.Is(err, sarama.ErrInvalidGroupId)
}

// isFinal says that trying again would not help, whatever was asked.
func isFinal(err error) bool {
	var encoding sarama.PacketEncodingError
	var config sarama.ConfigurationError
	return isDenied(err) || isRefusedMember(err) || errors.Is(err, queue.ErrOtherTopic) || errors.Is(err, sarama.ErrSASLAuthenticationFailed) || errors.Is(err, sarama.ErrInvalidTopic) ||
		errors.Is(err, sarama.ErrUnknownTopicOrPartition) || errors.Is(err, sarama.ErrUnsupportedVersion) ||
		errors.Is(err, sarama.ErrClosedClient) || errors.As(err, &encoding) || errors.As(err, &config)
}

// backoff is how long to wait before the next attempt.
type backoff struct{ d time.Duration }

func newBackoff() *backoff { return &backoff{20 * time.Millisecond} }

// next waits. It gives the cause of the end of ctx, if that comes first.
func (b *backoff) next(ctx context.Context) error {
	t := time.NewTimer(b.d)
	defer t.Stop()
	b.d = min(2*b.d, 500*time.Millisecond)
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
