package kafka

import (
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"
)

// NewConfig is the configuration to begin with: what the queue needs, and timeouts of seconds.
func NewConfig() *sarama.Config {
	c := sarama.NewConfig()
	c.ClientID = "cqrs"
	c.Version = sarama.V3_6_0_0
	c.Net.DialTimeout = 3 * time.Second
	c.Net.ReadTimeout = 10 * time.Second
	c.Net.WriteTimeout = 10 * time.Second
	c.Net.MaxOpenRequests = 1
	c.Metadata.Timeout = 10 * time.Second
	c.Metadata.AllowAutoTopicCreation = false
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Idempotent = true
	c.Producer.Return.Successes = true
	c.Consumer.IsolationLevel = sarama.ReadCommitted
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Offsets.AutoCommit.Enable = false
	c.Consumer.Group.ResetInvalidOffsets = false
	c.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategySticky()}
	c.Consumer.Group.Heartbeat.Interval = time.Second
	c.Consumer.Group.Rebalance.Timeout = 20 * time.Second
	c.Consumer.Group.Rebalance.Retry.Backoff = 200 * time.Millisecond
	return c
}

// checkConfig names every field that the queue's promises do not bear.
func checkConfig(c *sarama.Config) error {
	if c == nil {
		return errors.New("the configuration is nil: begin with kafka.NewConfig()")
	}
	var errs []error
	for _, need := range needs(c) {
		if !need.ok {
			errs = append(errs, fmt.Errorf("the configuration's %s is %v, and %s: set it to %s (kafka.NewConfig does)",
				need.field, need.is, need.why, need.want))
		}
	}
	if err := c.Validate(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// need is what one field has to be.
type need struct {
	field string
	ok    bool
	is    any
	want  string
	why   string
}

func needs(c *sarama.Config) []need {
	p, o, g := &c.Producer, &c.Consumer.Offsets, &c.Consumer.Group
	return []need{
		{"Version", c.Version.IsAtLeast(sarama.V2_8_0_0), c.Version, "2.8.0 or later", "topics have ids from 2.8.0 on"},
		{"ApiVersionsRequest", c.ApiVersionsRequest, c.ApiVersionsRequest, "true", "brokers differ in the requests they know"},
		{"Metadata.AllowAutoTopicCreation", !c.Metadata.AllowAutoTopicCreation, c.Metadata.AllowAutoTopicCreation, "false",
			"a topic must not come into being by a wrong name"},
		{"Producer.RequiredAcks", p.RequiredAcks == sarama.WaitForAll, p.RequiredAcks, "WaitForAll (-1)",
			"what was appended must survive the loss of a broker"},
		{"Producer.Idempotent", p.Idempotent, p.Idempotent, "true", "a request that is repeated must not add its messages twice"},
		{"Producer.Return.Successes", p.Return.Successes, p.Return.Successes, "true", "Append tells offsets"},
		{"Producer.Transaction.ID", p.Transaction.ID == "", p.Transaction.ID, "nothing", "the queue has no use for transactions"},
		{"Consumer.Offsets.Initial", o.Initial == sarama.OffsetOldest, initial(o.Initial), "OffsetOldest",
			"messages from before the first start count too"},
		{"Consumer.Offsets.AutoCommit.Enable", !o.AutoCommit.Enable, o.AutoCommit.Enable, "false",
			"a position is noted when its effect is durable, by Commit"},
		{"Consumer.Group.ResetInvalidOffsets", !g.ResetInvalidOffsets, g.ResetInvalidOffsets, "false",
			"messages must not be skipped silently"},
		{"Consumer.Group.Rebalance.GroupStrategies", eager(c), strategies(c), "range, sticky or roundrobin",
			"a shard's old owner must stop before the new one starts"},
	}
}

func initial(o int64) string {
	if o == sarama.OffsetNewest {
		return "OffsetNewest"
	}
	return fmt.Sprint(o)
}

func strategies(c *sarama.Config) (names []string) {
	if s := c.Consumer.Group.Rebalance.Strategy; s != nil { // deprecated, and it has precedence
		return []string{s.Name()}
	}
	for _, s := range c.Consumer.Group.Rebalance.GroupStrategies {
		if s != nil {
			names = append(names, s.Name())
		}
	}
	return names
}

func eager(c *sarama.Config) bool {
	for _, name := range strategies(c) {
		switch name {
		case sarama.RangeBalanceStrategyName, sarama.StickyBalanceStrategyName, sarama.RoundRobinBalanceStrategyName:
		default:
			return false
		}
	}
	return true
}
