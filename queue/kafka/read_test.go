package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cqrs-server/cqrs/queue"
)

var fetch = []kmsg.Key{kmsg.Fetch}

// Invariant 16: another topic behind the same name.
func TestRecreatedTopic(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		q := openQueue(t, brokers)
		topic := makeTopic(t, q)
		mustAppend(t, q, topic, texts("old", 10)...)
		if _, err := q.Read(t.Context(), topic, 0, 0, 5); err != nil {
			t.Fatal(err)
		}
		before, err := q.Identity(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		deleteTopic(t, q, topic)
		if err := q.CreateTopics(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
		after, err := q.Identity(t.Context(), topic)
		if err != nil || after == before {
			t.Errorf("the identity was %q and is %q (%v)", before, after, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err = q.Read(ctx, topic, 0, 10, 5)
		isRange(t, err, 0, 0)
		mustAppend(t, q, topic, texts("new", 2)...)
		wantValues(t, q, topic, "new 0", "new 1")
		_, err = q.Read(ctx, topic, 0, 10, 5)
		isRange(t, err, 0, 2)
	})
}

// A topic that was deleted says so, to those who wait too, and comes back when it is made again.
func TestDeletedTopic(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		q := openQueue(t, brokers)
		topic := makeTopic(t, q)
		mustAppend(t, q, topic, text("old"))
		waiting := make(chan error, 1)
		go func() {
			_, err := q.Read(t.Context(), topic, 0, 1, 1)
			waiting <- err
		}()
		deleteTopic(t, q, topic)
		select {
		case err := <-waiting:
			if !errors.Is(err, queue.ErrNoTopic) {
				t.Errorf("Read that waited: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Read still waits")
		}
		if err := q.Append(t.Context(), topic, 0, []queue.Message{text("a")}); !errors.Is(err, queue.ErrNoTopic) || isUnknown(err) {
			t.Errorf("Append: %v", err)
		}
		if err := q.CreateTopics(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, q, topic, text("new"))
		wantValues(t, q, topic, "new")
	})
}

// Invariant 16: a gap.
func TestTruncatedTopic(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		q := openQueue(t, brokers)
		topic := makeTopic(t, q)
		mustAppend(t, q, topic, texts("m", 10)...)
		if err := q.admin.DeleteRecords(topic, map[int32]int64{0: 6}); err != nil {
			t.Fatal(err)
		}
		for _, from := range []int64{0, 5} {
			_, err := q.Read(t.Context(), topic, 0, from, 5)
			isRange(t, err, 6, 10)
		}
		wantValues(t, q, topic, "m 6", "m 7", "m 8", "m 9")
	})
}

// What was read ahead is not given once it is old.
func TestReadAheadGetsOld(t *testing.T) {
	q := openQueue(t, fakeCluster(t).ListenAddrs())
	topic := makeTopic(t, q)
	mustAppend(t, q, topic, texts("m", 10)...)
	if _, err := q.Read(t.Context(), topic, 0, 0, 4); err != nil {
		t.Fatal(err)
	}
	if err := q.admin.DeleteRecords(topic, map[int32]int64{0: 6}); err != nil {
		t.Fatal(err)
	}
	c := q.idle[partition{topic, 0}][0]
	c.used = c.used.Add(-2 * stale)
	_, err := q.Read(t.Context(), topic, 0, 4, 4)
	isRange(t, err, 6, 10)
}

// A Read that was cancelled leaves a fetch on its way; what it brings is not lost, and not given twice.
func TestReadGoesOnAfterCancel(t *testing.T) {
	q := openQueue(t, fakeCluster(t).ListenAddrs())
	topic := makeTopic(t, q)
	for i := range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if msgs, err := q.Read(ctx, topic, 0, int64(i), 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(msgs, err)
		}
		cancel()
		mustAppend(t, q, topic, text(fmt.Sprint(i)))
		msgs, err := q.Read(t.Context(), topic, 0, int64(i), 1)
		if err != nil || len(msgs) != 1 || string(msgs[0].Value) != fmt.Sprint(i) {
			t.Fatal(msgs, err)
		}
	}
	if n := len(q.idle[partition{topic, 0}]); n != 1 {
		t.Errorf("%d cursors, and one reader", n)
	}
}

// Errors that pass are waited out, for as long as Timeout says.
func TestReadWaitsOutErrors(t *testing.T) {
	cluster := fakeCluster(t)
	q := openQueue(t, cluster.ListenAddrs(), Timeout(time.Second))
	for _, passing := range []*kerr.Error{kerr.NotLeaderForPartition, kerr.KafkaStorageError, kerr.UnknownTopicOrPartition, kerr.OffsetOutOfRange, kerr.FencedLeaderEpoch} {
		t.Run(passing.Message, func(t *testing.T) {
			topic := makeTopic(t, q)
			mustAppend(t, q, topic, text("a"))
			cluster.Fault(kfake.Fault{Keys: fetch, Topic: topic, Err: passing, Count: 3})
			wantValues(t, q, topic, "a")
			lasting := cluster.Fault(kfake.Fault{Keys: fetch, Topic: topic, Err: passing, Count: -1})
			began := time.Now()
			_, err := q.Read(t.Context(), topic, 0, 0, 1)
			if took := time.Since(began); err == nil || took < time.Second/2 || took > 10*time.Second {
				t.Errorf("after %v: %v", took, err)
			}
			lasting.Remove()
			wantValues(t, q, topic, "a")
		})
	}
}

// Read gives no more than so many bytes, but a message at least.
func TestReadBounded(t *testing.T) {
	c := NewConfig()
	c.Consumer.Fetch.Default = 64 << 20
	q := openQueue(t, fakeCluster(t).ListenAddrs(), Config(c))
	topic := makeTopic(t, q)
	for range 20 {
		mustAppend(t, q, topic, queue.Message{Value: make([]byte, 1_000_000)})
	}
	msgs, err := q.Read(t.Context(), topic, 0, 0, 100)
	if err != nil || len(msgs) < 1 || len(msgs) > 8 {
		t.Errorf("%d messages of 1 MB: %v", len(msgs), err)
	}
}

// Messages of transactions that were aborted are left out, and the marks of transactions too.
func TestTransactions(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		q := openQueue(t, brokers)
		topic := makeTopic(t, q)
		mustAppend(t, q, topic, text("before"))
		client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.TransactionalID(unique("tx")), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		for _, commit := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit, kgo.TryAbort} {
			if err := client.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			for i := range 3 {
				r := &kgo.Record{Topic: topic, Value: fmt.Append(nil, commit == kgo.TryCommit, " ", i)}
				if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
			if err := client.EndTransaction(t.Context(), commit); err != nil {
				t.Fatal(err)
			}
		}
		mustAppend(t, q, topic, text("after"))
		var got []string
		for from := int64(0); len(got) < 5; { // not up to the end, where a mark may be
			msgs, err := q.Read(t.Context(), topic, 0, from, 2)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range msgs {
				got = append(got, string(m.Value))
			}
			from = msgs[len(msgs)-1].Offset + 1
		}
		if want := []string{"before", "true 0", "true 1", "true 2", "after"}; !slices.Equal(got, want) {
			t.Errorf("%q, and %q were expected", got, want)
		}
	})
}

// The option Prefix keeps the topics of services apart, and the contract's names stay what they are.
func TestPrefix(t *testing.T) {
	cluster := fakeCluster(t)
	one, two := openQueue(t, cluster.ListenAddrs(), Prefix("one.")), openQueue(t, cluster.ListenAddrs(), Prefix("two."))
	for _, q := range []*Queue{one, two} {
		if err := q.CreateTopics(t.Context(), "commands"); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, q, "commands", text(q.prefix))
	}
	wantValues(t, one, "commands", "one.")
	wantValues(t, two, "commands", "two.")
	_, err := one.Read(t.Context(), "commands", 0, 7, 1)
	if err == nil || !strings.Contains(err.Error(), `"commands"`) {
		t.Error(err)
	}
	if cluster.TopicInfo("one.commands") == nil || cluster.TopicInfo("commands") != nil {
		t.Error("the topic in Kafka has no prefix")
	}
}

// Who follows a partition looks again at the message before, each time: that takes no connection of its own each time, and reads nothing else.
func TestLookingAtOneMessage(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		var d tap
		c := NewConfig()
		c.Net.Proxy.Enable, c.Net.Proxy.Dialer = true, &d
		c.Consumer.Fetch.Default = 1 // a batch at a time
		q := openQueue(t, brokers, Config(c))
		topic := makeTopic(t, q)
		look := func(at int64) {
			t.Helper()
			msgs, err := q.Read(t.Context(), topic, 0, at, 1)
			if err != nil || len(msgs) != 1 || msgs[0].Offset != at {
				t.Fatalf("%v %v", msgs, err)
			}
		}
		var before int32
		for next := int64(0); next < 200; {
			mustAppend(t, q, topic, texts(fmt.Sprint(next), 4)...)
			msgs, err := q.Read(t.Context(), topic, 0, next, 100)
			if err != nil {
				t.Fatal(err)
			}
			if next > 0 {
				look(next - 1)
			}
			if next += int64(len(msgs)); next > 20 && before == 0 {
				before = d.dials.Load()
			}
		}
		if more := d.dials.Load() - before; more > 0 {
			t.Errorf("it took %d more connections", more)
		}
	})
}
