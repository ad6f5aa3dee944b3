package kafka

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/queue/queuetest"
)

const shards = 3

// realBrokers are those that the environment names.
func realBrokers(t testing.TB) []string {
	t.Helper()
	addr := os.Getenv("CQRS_KAFKA")
	if addr == "" {
		t.Skip("a real Kafka is needed: `make test` runs it, and so does `go run ./internal/servers -- go test ...` (CQRS_KAFKA is not set)")
	}
	return strings.Split(addr, ",")
}

// fakeCluster is a cluster in this process.
func fakeCluster(t testing.TB, options ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	config := map[string]string{"group.min.session.timeout.ms": "100", "group.initial.rebalance.delay.ms": "0"}
	options = append([]kfake.Opt{kfake.NumBrokers(3), kfake.BrokerConfigs(config)}, options...)
	c, err := kfake.NewCluster(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// quick makes tests short: what is waited for by default in seconds comes at once.
func quick() Option {
	c := NewConfig()
	c.Consumer.Group.Heartbeat.Interval = 100 * time.Millisecond
	c.Consumer.MaxWaitTime = 250 * time.Millisecond
	return Config(c)
}

var names atomic.Int64

// unique is a name that no test has used, also not on a broker that outlives them.
func unique(kind string) string {
	return fmt.Sprintf("%s-%d-%d", kind, time.Now().UnixNano(), names.Add(1))
}

func openQueue(t testing.TB, brokers []string, options ...Option) *Queue {
	t.Helper()
	q, err := Open(t.Context(), brokers, append([]Option{quick(), Group(unique("group")), Shards(shards)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeQueue(t, q) })
	return q
}

func closeQueue(t testing.TB, q *Queue) {
	t.Helper()
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}

func makeTopic(t testing.TB, q *Queue) string {
	t.Helper()
	topic := unique("topic")
	if err := q.CreateTopics(context.Background(), topic); err != nil {
		t.Fatal(err)
	}
	return topic
}

func runContract(t *testing.T, brokers []string) {
	maker := openQueue(t, brokers)
	group := map[queue.Queue]string{}
	open := func(t *testing.T, name string) queue.Queue {
		q := openQueue(t, brokers, Group(name))
		group[q] = name
		return q
	}
	features := queuetest.Features{
		Shards:       shards,
		DenseOffsets: true,
		Topic:        func(t *testing.T) string { return makeTopic(t, maker) },
		Reopen: func(t *testing.T, q queue.Queue) queue.Queue {
			closeQueue(t, q.(*Queue))
			return open(t, group[q])
		},
	}
	queuetest.Run(t, features, func(t *testing.T) queue.Queue { return open(t, unique("group")) })
}

func TestContractOnFake(t *testing.T) { runContract(t, fakeCluster(t).ListenAddrs()) }

func TestContract(t *testing.T) { runContract(t, realBrokers(t)) }
