package foreign

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/cqrs-server/cqrs/internal/cloudevents"
	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/queue/kafka"
)

// A CloudEvent goes from the other program to the library's queue, and from the queue to the other program.
func TestCloudEventsBothWays(t *testing.T) {
	t.Run("fake", func(t *testing.T) {
		c, err := kfake.NewCluster()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		bothWays(t, c.ListenAddrs())
	})
	t.Run("real", func(t *testing.T) {
		addr := os.Getenv("CQRS_KAFKA")
		if addr == "" {
			t.Skip("a real Kafka is needed: `make test` runs it, and so does `go run ./internal/servers -- go test ...` (CQRS_KAFKA is not set)")
		}
		bothWays(t, strings.Split(addr, ","))
	})
}

func bothWays(t *testing.T, brokers []string) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	q, err := kafka.Open(ctx, brokers, kafka.Shards(2))
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	topic := fmt.Sprintf("foreign-%d", time.Now().UnixNano())
	if err := q.CreateTopics(ctx, topic); err != nil {
		t.Fatal(err)
	}
	sent := cloudevents.Event{ID: "4711", Source: "/another/program", Type: "user/register", Time: time.Now().UTC(), ContentType: "application/json",
		Data: []byte(`{"name":"Bob"}`), Ext: []cloudevents.Attr{{Name: "partitionkey", Value: "bob"}, {Name: "traceparent", Value: "00-1-2-01"}}}
	m, err := sent.Message()
	if err != nil {
		t.Fatal(err)
	}
	if offset, err := Write(ctx, brokers, topic, 1, m); offset != 0 || err != nil {
		t.Fatal(offset, err)
	}
	came, err := q.Read(ctx, topic, 1, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	isEvent(t, &came[0], sent)
	if err := q.Append(ctx, topic, 1, []queue.Message{m, m}); err != nil {
		t.Fatal(err)
	}
	back, err := Read(ctx, brokers, topic, 1, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	for i := range back {
		isEvent(t, &back[i], sent)
		if back[i].Offset != int64(i+1) {
			t.Errorf("message %d has offset %d", i, back[i].Offset)
		}
	}
}

func isEvent(t *testing.T, m *queue.Message, want cloudevents.Event) {
	t.Helper()
	e, is, err := cloudevents.Decode(m)
	if !is || err != nil || !reflect.DeepEqual(e, want) || string(m.Key) != "bob" || m.Time != want.Time.UnixMilli() {
		t.Errorf("%v, %v: key %s, time %d, %+v\nand this was expected: %+v", is, err, m.Key, m.Time, e, want)
	}
}
