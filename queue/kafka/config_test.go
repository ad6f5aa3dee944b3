package kafka

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/IBM/sarama"
)

func TestConfigIsChecked(t *testing.T) {
	tests := []struct {
		field string
		set   func(*sarama.Config)
	}{
		{"Version", func(c *sarama.Config) { c.Version = sarama.V2_7_0_0 }},
		{"ApiVersionsRequest", func(c *sarama.Config) { c.ApiVersionsRequest = false }},
		{"Metadata.AllowAutoTopicCreation", func(c *sarama.Config) { c.Metadata.AllowAutoTopicCreation = true }},
		{"Producer.RequiredAcks", func(c *sarama.Config) { c.Producer.RequiredAcks = sarama.WaitForLocal }},
		{"Producer.Idempotent", func(c *sarama.Config) { c.Producer.Idempotent = false }},
		{"Producer.Return.Successes", func(c *sarama.Config) { c.Producer.Return.Successes = false }},
		{"Producer.Transaction.ID", func(c *sarama.Config) { c.Producer.Transaction.ID = "tx" }},
		{"Consumer.Offsets.Initial", func(c *sarama.Config) { c.Consumer.Offsets.Initial = sarama.OffsetNewest }},
		{"Consumer.Offsets.AutoCommit.Enable", func(c *sarama.Config) { c.Consumer.Offsets.AutoCommit.Enable = true }},
		{"Consumer.Group.ResetInvalidOffsets", func(c *sarama.Config) { c.Consumer.Group.ResetInvalidOffsets = true }},
		{"Consumer.Group.Rebalance.GroupStrategies", func(c *sarama.Config) {
			c.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyCooperativeSticky()}
		}},
		{"Consumer.Group.Rebalance.GroupStrategies", func(c *sarama.Config) {
			c.Consumer.Group.Rebalance.Strategy = sarama.NewBalanceStrategyCooperativeSticky()
		}},
		{"Net.SASL.User", func(c *sarama.Config) { c.Net.SASL.Enable = true }},
		{"Net.SASL.Password", func(c *sarama.Config) { c.Net.SASL.Enable, c.Net.SASL.User = true, "me" }},
		{"Net.DialTimeout", func(c *sarama.Config) { c.Net.DialTimeout = 0 }},
	}
	for _, test := range tests {
		t.Run(test.field, func(t *testing.T) {
			c := NewConfig()
			test.set(c)
			_, err := Open(t.Context(), []string{"nowhere:1"}, Config(c))
			if err == nil || !strings.Contains(err.Error(), test.field) {
				t.Errorf("want an error that names %s: %v", test.field, err)
			}
			if strings.Contains(err.Error(), "nowhere") {
				t.Errorf("it tried to connect: %v", err)
			}
		})
	}
}

// All faults are told at once.
func TestConfigFaultsTogether(t *testing.T) {
	_, err := Open(t.Context(), nil, Config(sarama.NewConfig()), Shards(-1), Timeout(0), Replication(0))
	for _, says := range []string{"Producer.RequiredAcks", "Producer.Idempotent", "Consumer.Offsets.Initial", "AutoCommit", "ResetInvalidOffsets",
		"AllowAutoTopicCreation", "-1 shards", "timeout of 0s", "replication of 0", "kafka.NewConfig"} {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("no word of %q: %v", says, err)
		}
	}
}

func TestConfigIsTaken(t *testing.T) {
	tests := map[string]func(*sarama.Config){
		"default": func(*sarama.Config) {},
		"TLS":     func(c *sarama.Config) { c.Net.TLS.Enable, c.Net.TLS.Config = true, &tls.Config{ServerName: "kafka"} },
		"SASL":    func(c *sarama.Config) { c.Net.SASL.Enable, c.Net.SASL.User, c.Net.SASL.Password = true, "me", "secret" },
		"range": func(c *sarama.Config) {
			c.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyRange(), sarama.NewBalanceStrategySticky()}
		},
		"round robin": func(c *sarama.Config) { c.Consumer.Group.Rebalance.Strategy = sarama.NewBalanceStrategyRoundRobin() },
		"newest":      func(c *sarama.Config) { c.Version = sarama.MaxVersion },
		"oldest":      func(c *sarama.Config) { c.Version = sarama.V2_8_0_0 },
		"static":      func(c *sarama.Config) { c.Consumer.Group.InstanceId = "me" },
	}
	for name, set := range tests {
		c := NewConfig()
		set(c)
		if err := checkConfig(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if checkConfig(nil) == nil {
		t.Error("nil was taken")
	}
}

// The user's configuration stays as it is.
func TestConfigIsCopied(t *testing.T) {
	c := NewConfig()
	q := openQueue(t, fakeCluster(t).ListenAddrs(), Config(c))
	makeTopic(t, q)
	if c.Net.Proxy.Enable || c.Net.Proxy.Dialer != nil || c.Consumer.Group.ResetInvalidOffsets {
		t.Error("it was changed")
	}
}

// Who gave the configuration may use it for something else, and finds it as it was.
func TestConfigStaysTheCallers(t *testing.T) {
	c := NewConfig()
	c.Net.SASL.Enable, c.Net.SASL.User, c.Net.SASL.Password = true, "user", "secret" // the check fills in the mechanism
	s, err := settingsOf([]Option{Config(c)})
	if err != nil {
		t.Fatal(err)
	}
	if c.Net.SASL.Mechanism != "" {
		t.Errorf("the mechanism was set to %q", c.Net.SASL.Mechanism)
	}
	c.Consumer.Group.InstanceId = "another"
	if s.config.Consumer.Group.InstanceId != "" || s.config.Net.SASL.User != "user" {
		t.Error("the queue's configuration changed with it")
	}
}
