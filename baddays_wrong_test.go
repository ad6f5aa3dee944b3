package cqrs_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/internal/dynamofaults"
	"github.com/cqrs-server/cqrs/queue/kafka"
	"github.com/cqrs-server/cqrs/store/dynamo"
)

// What is configured wrongly shows when the program begins, in seconds, and the error says what to do.

// program is what a service does when it begins.
type program struct {
	brokers []string
	kafka   []kafka.Option
	config  cqrs.Config
	dir     string
}

// fails begins, and checks that this fails in time, and says why.
func (p program) fails(t *testing.T, says ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	began := time.Now()
	err := p.run(ctx)
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it took %v", took)
	}
	for _, s := range says {
		if err == nil || !strings.Contains(err.Error(), s) {
			t.Errorf("the error does not say %q: %v", s, err)
		}
	}
}

func (p program) run(ctx context.Context) error {
	q, err := kafka.Open(ctx, p.brokers, p.kafka...)
	if err != nil {
		return err
	}
	cfg := p.config
	cfg.Queue = q
	rt, err := cqrs.Open(p.dir, cfg)
	if err != nil {
		return errors.Join(err, q.Close())
	}
	return errors.Join(rt.Run(ctx), rt.Close(), q.Close())
}

// program is one that begins well on this cluster, as it is; a test spoils a part of it.
func (c *cluster) program() program {
	cfg := c.config
	cfg.Store = c.store
	return program{brokers: c.brokers, kafka: []kafka.Option{kafka.Prefix(c.prefix), kafka.Config(kafkaConfig())}, config: cfg, dir: c.t.TempDir()}
}

func nobody(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestWrongBrokers(t *testing.T) {
	c := newCluster(t, 1)
	c.add("").stop()
	with := func(change func(*sarama.Config)) program {
		config := kafkaConfig()
		change(config)
		p := c.program()
		p.kafka = append(p.kafka, kafka.Config(config))
		return p
	}
	p := c.program()
	p.brokers = []string{nobody(t)}
	p.fails(t, "none of the brokers", "check the addresses")
	with(func(c *sarama.Config) { c.Net.TLS.Enable = true }).fails(t, "none of the brokers", "TLS")
	with(func(c *sarama.Config) { c.Net.SASL.Enable, c.Net.SASL.User, c.Net.SASL.Password = true, "me", "secret" }).fails(t, "SASL")
	with(func(c *sarama.Config) { c.Consumer.Group.Session.Timeout = 200 * time.Millisecond }).fails(t, "Consumer.Group", "session timeout")
}

func TestWrongTopics(t *testing.T) {
	c := newCluster(t, 1)
	p := c.program()
	p.fails(t, "make the topics that cqrs.Topics names first", c.prefix+"commands", c.prefix+"events", c.prefix+"feedback", c.prefix+"dead")
	c.add(p.dir).stop() // it makes them
	admin := c.admin()
	if err := admin.CreatePartitions(c.prefix+"events", 2, nil, false); err != nil {
		t.Fatal(err)
	}
	awaitPartitions(t, admin, c.prefix+"events", 2)
	p.fails(t, "topic events has 2 partitions, and there are 1 shards")
	p.kafka = append(p.kafka, kafka.Shards(1))
	p.fails(t, "events\" has 2 partitions, and 1 shards are expected")
	p = c.program()
	p.dir = c.members[0].dir
	for _, topic := range cqrs.Topics() {
		if topic != "events" {
			if err := admin.CreatePartitions(c.prefix+topic, 2, nil, false); err != nil {
				t.Fatal(err)
			}
			awaitPartitions(t, admin, c.prefix+topic, 2)
		}
	}
	p.fails(t, "the folder was made with Shards 1, and Config.Shards is 2")
	if err := admin.DeleteTopic(c.prefix + "feedback"); err != nil {
		t.Fatal(err)
	}
	awaitPartitions(t, admin, c.prefix+"feedback", 0)
	p.fails(t, "make the topics that cqrs.Topics names first", c.prefix+"feedback")
}

func awaitPartitions(t *testing.T, admin sarama.ClusterAdmin, topic string, n int32) {
	t.Helper()
	eventually(t, func() bool {
		topics, err := admin.ListTopics()
		return err == nil && topics[topic].NumPartitions == n
	})
}

func TestWrongStore(t *testing.T) {
	c := newCluster(t, 1)
	if c.table == "" {
		t.Skip("it needs a DynamoDB: make test starts one, and CQRS_DYNAMODB names it")
	}
	c.add("").stop()
	denied := func(call *dynamofaults.Call) (*http.Response, error) {
		return call.Error(http.StatusBadRequest, "UnrecognizedClientException"), nil
	}
	here := os.Getenv("CQRS_DYNAMODB")
	for name, is := range map[string]struct {
		endpoint, table, says string
		fault                 dynamofaults.Fault
		roles                 []cqrs.Role
	}{
		"no table":          {here, "no-such-table", "CreateTable", nil, []cqrs.Role{cqrs.Worker, cqrs.Replica, cqrs.Sender}},
		"nobody listens":    {"http://" + nobody(t), c.table, "check the client's endpoint", nil, []cqrs.Role{cqrs.Worker}}, // it takes 5 s
		"wrong credentials": {here, c.table, "UnrecognizedClientException", denied, []cqrs.Role{cqrs.Worker, cqrs.Replica, cqrs.Sender}},
	} {
		t.Run(name, func(t *testing.T) {
			p := c.program()
			p.dir = t.TempDir()
			for _, role := range is.roles {
				p.config.Role = role
				p.config.Store = dynamo.New(dynamoClient(is.endpoint, dynamofaults.New(t, is.fault)), is.table)
				p.fails(t, is.says, is.table)
			}
		})
	}
}
