package kafka

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/IBM/sarama"
)

// settings are what the options say.
type settings struct {
	config      *sarama.Config
	prefix      string
	group       string
	shards      int // 0: not given
	replication int16
	topicConfig map[string]string
	timeout     time.Duration
	onError     func(error)
}

// Option is a choice for Open.
type Option func(*settings)

// Config has connections made with this configuration: TLS, SASL, timeouts and so on. It is copied. Begin with NewConfig, and change
// what concerns the connection; Open refuses what would break the queue's promises, and names each such field. Defaults to NewConfig.
func Config(c *sarama.Config) Option { return func(s *settings) { s.config = c } }

// Prefix is put before the name of each topic in Kafka. Defaults to nothing.
func Prefix(prefix string) Option { return func(s *settings) { s.prefix = prefix } }

// Group is the consumer group that shares out the work. Processes of one service have the same. Defaults to the
// prefix followed by "cqrs".
func Group(name string) Option { return func(s *settings) { s.group = name } }

// Shards is how many partitions each topic has: CreateTopics makes so many, and a topic with another number is an error.
// Defaults to 1 for CreateTopics, and to any number otherwise.
func Shards(n int) Option { return func(s *settings) { s.shards = n } }

// Replication is on how many brokers CreateTopics has each topic kept. With three or more, all but one of them must be
// in sync for an Append to succeed. Defaults to what the cluster does by default.
func Replication(n int) Option { return func(s *settings) { s.replication = int16(n) } }

// TopicConfig has topics made with these values in their configuration, such as retention.ms, on top of what the queue needs.
func TopicConfig(values map[string]string) Option {
	return func(s *settings) { s.topicConfig = maps.Clone(values) }
}

// Timeout is how long a call waits for an answer from Kafka before it fails, trying again meanwhile. Waiting for a
// message to read does not count. Defaults to 10 seconds.
func Timeout(d time.Duration) Option { return func(s *settings) { s.timeout = d } }

// OnError has f called with errors that the queue lives with, such as a lost connection to the consumer group that it
// makes again. f must not wait. Defaults to nothing.
func OnError(f func(error)) Option { return func(s *settings) { s.onError = f } }

func settingsOf(options []Option) (settings, error) {
	s := settings{config: NewConfig(), replication: -1, timeout: 10 * time.Second, onError: func(error) {}}
	for _, o := range options {
		o(&s)
	}
	if s.config != nil { // to check it changes it, and its owner may go on to
		own := *s.config
		s.config = &own
	}
	if s.group == "" {
		s.group = s.prefix + "cqrs"
	}
	errs := []error{checkConfig(s.config)}
	if s.shards < 0 {
		errs = append(errs, fmt.Errorf("%d shards were asked for, and the least is 1", s.shards))
	}
	if s.timeout <= 0 {
		errs = append(errs, fmt.Errorf("a timeout of %v is no time at all", s.timeout))
	}
	if s.replication == 0 || s.replication < -1 {
		errs = append(errs, fmt.Errorf("a replication of %d was asked for, and the least is 1", s.replication))
	}
	return s, errors.Join(errs...)
}
