package kafka

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"go.uber.org/goleak"

	"github.com/cqrs-server/cqrs/queue"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick")) // one for the whole process, for ever
}

// onBoth runs a test on a cluster in this process, and on a real one if there is one.
func onBoth(t *testing.T, test func(t *testing.T, brokers []string)) {
	t.Run("fake", func(t *testing.T) { test(t, fakeCluster(t).ListenAddrs()) })
	t.Run("real", func(t *testing.T) { test(t, realBrokers(t)) })
}

func text(value string) queue.Message {
	return queue.Message{Time: 1_700_000_000_000, Key: []byte("key"), Value: []byte(value)}
}

func texts(prefix string, n int) []queue.Message {
	msgs := make([]queue.Message, n)
	for i := range msgs {
		msgs[i] = text(fmt.Sprint(prefix, " ", i))
	}
	return msgs
}

func mustAppend(t testing.TB, q *Queue, topic string, msgs ...queue.Message) []queue.Message {
	t.Helper()
	if err := q.Append(t.Context(), topic, 0, msgs); err != nil {
		t.Fatal(err)
	}
	return msgs
}

// values reads everything that is in shard 0.
func values(t testing.TB, q *Queue, topic string) (found []string) {
	t.Helper()
	from, end, err := q.Bounds(t.Context(), topic, 0)
	if err != nil {
		t.Fatal(err)
	}
	for from < end {
		msgs, err := q.Read(t.Context(), topic, 0, from, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range msgs {
			if m.Offset < from {
				t.Fatalf("offset %d came after %d", m.Offset, from-1)
			}
			from = m.Offset + 1
			found = append(found, string(m.Value))
		}
	}
	return found
}

func wantValues(t testing.TB, q *Queue, topic string, want ...string) {
	t.Helper()
	if got := values(t, q, topic); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("the topic has %q, and %q was expected", got, want)
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); !is(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// tap is a dialer whose connections lose answers on demand.
type tap struct {
	lose  atomic.Int32 // so many answers to produce requests
	dials atomic.Int32
}

func (d *tap) Dial(kind, addr string) (net.Conn, error) {
	d.dials.Add(1)
	c, err := net.Dial(kind, addr)
	return &tapped{Conn: c, tap: d}, err
}

// option has connections go through the tap.
func (d *tap) option() Option {
	c := NewConfig()
	c.Net.Proxy.Enable = true
	c.Net.Proxy.Dialer = d
	return Config(c)
}

type tapped struct {
	net.Conn
	tap    *tap
	losing bool
}

const produceKey = 0

func (c *tapped) Write(b []byte) (int, error) {
	if len(b) > 6 && b[4] == 0 && b[5] == produceKey && c.tap.lose.Add(-1) >= 0 {
		c.losing = true
	}
	return c.Conn.Write(b)
}

func (c *tapped) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.losing && err == nil {
		c.Conn.Close()
		return 0, io.EOF // the broker has done what was asked, and the client does not learn it
	}
	return n, err
}

func isRange(t testing.TB, err error, start, end int64) {
	t.Helper()
	var out *queue.RangeError
	if !errors.As(err, &out) {
		t.Fatalf("want a RangeError: %v", err)
	}
	if out.Start != start || out.End != end {
		t.Errorf("it says %+v, and the bounds are %d, %d", *out, start, end)
	}
}

func deleteTopic(t testing.TB, q *Queue, topic string) {
	t.Helper()
	if err := q.admin.DeleteTopic(topic); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the topic to be gone", func() bool {
		all, err := q.admin.DescribeTopics([]string{topic})
		return err == nil && all[0].Err == sarama.ErrUnknownTopicOrPartition
	})
}
