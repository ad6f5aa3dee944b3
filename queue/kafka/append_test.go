package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cqrs-server/cqrs/queue"
)

var produce = []kmsg.Key{kmsg.Produce}

// What Kafka answers, for ever or a few times, and what Append makes of it.
func TestAppendOutcomes(t *testing.T) {
	const forEver = -1
	tests := []struct {
		answer  *kerr.Error
		times   int
		ok      bool
		unknown bool
		added   bool
	}{
		{kerr.RequestTimedOut, 2, true, false, true}, // kfake adds the message all the same
		{kerr.NotEnoughReplicasAfterAppend, 2, true, false, true},
		{kerr.NotEnoughReplicas, 2, true, false, true},
		{kerr.NotLeaderForPartition, 2, true, false, true},
		{kerr.UnknownTopicOrPartition, 1, true, false, true},
		{kerr.UnknownServerError, 1, true, false, true},
		{kerr.OutOfOrderSequenceNumber, 1, true, false, true},
		{kerr.UnknownProducerID, 1, true, false, true},
		{kerr.RequestTimedOut, forEver, false, true, true},
		{kerr.NotEnoughReplicasAfterAppend, forEver, false, true, true},
		{kerr.NotLeaderForPartition, forEver, false, true, false},
		{kerr.KafkaStorageError, forEver, false, true, false},
		{kerr.NotEnoughReplicas, forEver, false, false, false},
		{kerr.TopicAuthorizationFailed, forEver, false, false, false},
		{kerr.InvalidTimestamp, forEver, false, false, false},
		{kerr.InvalidRecord, forEver, false, false, false},
	}
	cluster := fakeCluster(t)
	q := openQueue(t, cluster.ListenAddrs(), Timeout(time.Second))
	for _, test := range tests {
		t.Run(fmt.Sprint(test.answer.Message, test.times), func(t *testing.T) {
			topic := makeTopic(t, q)
			before := mustAppend(t, q, topic, text("before"))
			fault := cluster.Fault(kfake.Fault{Keys: produce, Topic: topic, Err: test.answer, Count: test.times})
			msgs := []queue.Message{text("a"), text("b")}
			err := q.Append(t.Context(), topic, 0, msgs)
			fault.Remove()
			if (err == nil) != test.ok || isUnknown(err) != test.unknown {
				t.Fatalf("Append: %v", err)
			}
			if test.ok && (msgs[0].Offset != before[0].Offset+1 || msgs[1].Offset != msgs[0].Offset+1) {
				t.Errorf("offsets %d and %d", msgs[0].Offset, msgs[1].Offset)
			}
			want := []string{"before"}
			if test.added {
				want = append(want, "a", "b")
			}
			wantValues(t, q, topic, want...)
			after := mustAppend(t, q, topic, text("after"))
			wantValues(t, q, topic, append(want, "after")...)
			if after[0].Offset != int64(len(want)) {
				t.Errorf("the message after has offset %d", after[0].Offset)
			}
		})
	}
}

func isUnknown(err error) bool { return errors.Is(err, queue.ErrUnknown) }

// Invariants 1 and 2: an answer that is lost after the broker has done the work.
func TestAppendLostAnswer(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		d := &tap{}
		q := openQueue(t, brokers, d.option())
		topic := makeTopic(t, q)
		mustAppend(t, q, topic, text("0"))
		d.lose.Store(2)
		msgs := mustAppend(t, q, topic, text("1"), text("2"))
		if msgs[0].Offset != 1 || msgs[1].Offset != 2 {
			t.Errorf("offsets %d and %d", msgs[0].Offset, msgs[1].Offset)
		}
		mustAppend(t, q, topic, text("3"))
		wantValues(t, q, topic, "0", "1", "2", "3")
	})
}

func TestAppendAllAnswersLost(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		d := &tap{}
		q := openQueue(t, brokers, d.option(), Timeout(2*time.Second))
		topic := makeTopic(t, q)
		mustAppend(t, q, topic, text("0"))
		d.lose.Store(math.MaxInt32)
		err := q.Append(t.Context(), topic, 0, []queue.Message{text("1")})
		if !isUnknown(err) {
			t.Fatalf("want ErrUnknown: %v", err)
		}
		d.lose.Store(0)
		wantValues(t, q, topic, "0", "1")
		if two := mustAppend(t, q, topic, text("2")); two[0].Offset != 2 {
			t.Errorf("the message after has offset %d", two[0].Offset)
		}
		wantValues(t, q, topic, "0", "1", "2")
	})
}

func TestAppendNotSent(t *testing.T) {
	cluster := fakeCluster(t)
	d := &switched{}
	c := NewConfig()
	c.Net.Proxy.Enable, c.Net.Proxy.Dialer = true, d
	q := openQueue(t, cluster.ListenAddrs(), Config(c), Timeout(time.Second))
	topic := makeTopic(t, q)
	if _, err := q.traits(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	d.set(true)
	began := time.Now()
	err := q.Append(t.Context(), topic, 0, []queue.Message{text("a")})
	if err == nil || isUnknown(err) {
		t.Errorf("nothing was sent, so the outcome is known: %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	d.set(false)
	mustAppend(t, q, topic, text("b"))
	wantValues(t, q, topic, "b")
}

// held stops all produce requests at the broker until release is called.
func held(t *testing.T, cluster *kfake.Cluster) (arrived <-chan struct{}, release func()) {
	free, came := make(chan struct{}), make(chan struct{}, 1000)
	release = sync.OnceFunc(func() { close(free) })
	t.Cleanup(release)
	cluster.ControlKey(produceKey, func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		came <- struct{}{}
		cluster.SleepControl(func() { <-free })
		return nil, nil, false
	})
	return came, release
}

// Appends that come while a request is on its way share the next one.
func TestAppendsShareARequest(t *testing.T) {
	cluster := fakeCluster(t)
	q := openQueue(t, cluster.ListenAddrs())
	topic := makeTopic(t, q)
	count := cluster.Fault(kfake.Fault{Keys: produce, Count: -1, Observe: true})
	arrived, release := held(t, cluster)
	var all sync.WaitGroup
	appending := func(i int) {
		if err := q.Append(t.Context(), topic, 0, texts(fmt.Sprint(i), 3)); err != nil {
			t.Error(err)
		}
	}
	all.Go(func() { appending(0) })
	<-arrived
	for i := 1; i <= 50; i++ {
		all.Go(func() { appending(i) })
	}
	w := q.writerOf(partition{topic, 0})
	eventually(t, "50 calls to wait", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.waiting) == 50
	})
	release()
	all.Wait()
	if n := count.Hits(); n != 2 {
		t.Errorf("%d requests", n)
	}
	got := values(t, q, topic)
	for i := 0; i < len(got); i += 3 { // each call's messages stay together
		call, _, _ := strings.Cut(got[i], " ")
		if want := texts(call, 3); got[i] != string(want[0].Value) || got[i+1] != string(want[1].Value) || got[i+2] != string(want[2].Value) {
			t.Fatalf("%q are not the messages of one call", got[i:i+3])
		}
	}
	if len(got) != 153 {
		t.Errorf("%d messages", len(got))
	}
}

// A call that waits is withdrawn with its context, and one that was sent has an unknown outcome.
func TestAppendContextEnds(t *testing.T) {
	cluster := fakeCluster(t)
	q := openQueue(t, cluster.ListenAddrs())
	topic := makeTopic(t, q)
	arrived, release := held(t, cluster)
	ctx, cancel := context.WithCancel(t.Context())
	sent, waiting := make(chan error, 1), make(chan error, 1)
	mine := []queue.Message{text("sent")}
	go func() { sent <- q.Append(ctx, topic, 0, mine) }()
	<-arrived
	go func() { waiting <- q.Append(ctx, topic, 0, []queue.Message{text("waiting")}) }()
	w := q.writerOf(partition{topic, 0})
	eventually(t, "a call to wait", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.waiting) == 1
	})
	cancel()
	if err := <-sent; !isUnknown(err) || !errors.Is(err, context.Canceled) {
		t.Errorf("what was sent: %v", err)
	}
	clear(mine[0].Value) // the bytes are ours again
	if err := <-waiting; isUnknown(err) || !errors.Is(err, context.Canceled) {
		t.Errorf("what waited: %v", err)
	}
	release()
	eventually(t, "what was sent to be added", func() bool { return len(values(t, q, topic)) == 1 })
	mustAppend(t, q, topic, text("after"))
	wantValues(t, q, topic, "sent", "after")
}

func TestCloseEndsAppends(t *testing.T) {
	cluster := fakeCluster(t)
	q := openQueue(t, cluster.ListenAddrs())
	topic := makeTopic(t, q)
	arrived, _ := held(t, cluster)
	sent := make(chan error, 1)
	go func() { sent <- q.Append(t.Context(), topic, 0, []queue.Message{text("sent")}) }()
	<-arrived
	began := time.Now()
	closeQueue(t, q)
	if err := <-sent; !errors.Is(err, queue.ErrClosed) || !isUnknown(err) {
		t.Errorf("want ErrClosed and ErrUnknown: %v", err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
}

// A call that is larger than a batch takes several.
func TestAppendLarge(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		q := openQueue(t, brokers, TopicConfig(map[string]string{"max.message.bytes": "20000"}))
		topic := makeTopic(t, q)
		if got := q.Limit(); got != 20_000-reserve {
			t.Fatalf("the limit is %d", got)
		}
		msgs := texts(strings.Repeat("x", 3_000), 100)
		mustAppend(t, q, topic, msgs...)
		for i, m := range msgs {
			if m.Offset != int64(i) {
				t.Fatalf("message %d has offset %d", i, m.Offset)
			}
		}
		if got := values(t, q, topic); len(got) != 100 || got[99] != string(msgs[99].Value) {
			t.Errorf("%d messages", len(got))
		}
	})
}

func TestAppendLargeFailsInBetween(t *testing.T) {
	cluster := fakeCluster(t)
	q := openQueue(t, cluster.ListenAddrs(), TopicConfig(map[string]string{"max.message.bytes": "20000"}))
	topic := makeTopic(t, q)
	n := 0
	cluster.Fault(kfake.Fault{Keys: produce, Err: kerr.InvalidRecord, When: func(kmsg.Request) bool { n++; return n == 3 }})
	err := q.Append(t.Context(), topic, 0, texts(strings.Repeat("x", 3_000), 100))
	if !isUnknown(err) {
		t.Errorf("some were added: %v", err)
	}
	if n := len(values(t, q, topic)); n == 0 || n == 100 {
		t.Errorf("%d were added, and this test needs some", n)
	}
}

// The message sizes just at and over what Kafka takes, with and without compression.
func TestAppendAtLimit(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		for _, codec := range []sarama.CompressionCodec{sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4, sarama.CompressionZSTD} {
			t.Run(codec.String(), func(t *testing.T) {
				c := NewConfig()
				c.Producer.Compression = codec
				q := openQueue(t, brokers, Config(c))
				topic := makeTopic(t, q)
				m := queue.Message{Value: noise(q.Limit())}
				mustAppend(t, q, topic, m)
				for i := range 40 { // headers cost more than their bytes
					m.Headers = append(m.Headers, queue.Header{Key: fmt.Sprint(i + 10)})
				}
				m.Value = m.Value[:q.Limit()-2*len(m.Headers)]
				mustAppend(t, q, topic, m)
				if got := values(t, q, topic); len(got) != 2 || got[1] != string(m.Value) {
					t.Errorf("%d messages came back", len(got))
				}
				m.Headers = append(m.Headers, queue.Header{Value: []byte("1")})
				err := q.Append(t.Context(), topic, 0, []queue.Message{m})
				if want := (queue.TooLargeError{Topic: topic, Size: q.Limit() + 1, Limit: q.Limit()}); !isTooLarge(err, want) {
					t.Errorf("want %+v: %v", want, err)
				}
			})
		}
	})
}

// noise does not compress.
func noise(n int) []byte {
	b, x := make([]byte, n), uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x >> 32)
	}
	return b
}

func isTooLarge(err error, want queue.TooLargeError) bool {
	var got *queue.TooLargeError
	return errors.As(err, &got) && *got == want
}

func TestAppendRefuses(t *testing.T) {
	q := openQueue(t, fakeCluster(t).ListenAddrs())
	topic := makeTopic(t, q)
	thousands := make([]queue.Header, 200_000)
	for _, test := range []struct {
		name string
		m    queue.Message
		says string
	}{
		{"very many headers", queue.Message{Headers: thousands}, "and the limit is"},
		{"before 1970", queue.Message{Time: -1}, "1970"},
		{"after 2262", queue.Message{Time: latestTime + 1}, "2262"},
	} {
		err := q.Append(t.Context(), topic, 0, []queue.Message{text("with it"), test.m})
		if err == nil || isUnknown(err) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	wantValues(t, q, topic)
	mustAppend(t, q, topic, queue.Message{Time: latestTime}, queue.Message{Time: 0}, queue.Message{Time: latestTime})
	msgs, err := q.Read(t.Context(), topic, 0, 0, 10)
	if err != nil || len(msgs) != 3 || msgs[0].Time != latestTime || msgs[1].Time != 0 || msgs[2].Time != latestTime {
		t.Errorf("%v %v", msgs, err)
	}
}

// The topic's limit is lowered while the queue is open.
func TestLimitIsLowered(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		q := openQueue(t, brokers)
		topic := makeTopic(t, q)
		large := queue.Message{Value: noise(50_000)}
		mustAppend(t, q, topic, large)
		lower := "10000"
		entry := map[string]sarama.IncrementalAlterConfigsEntry{"max.message.bytes": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &lower}}
		if err := q.admin.IncrementalAlterConfig(sarama.TopicResource, topic, entry, false); err != nil {
			t.Fatal(err)
		}
		var err error
		eventually(t, "Kafka to refuse it", func() bool {
			err = q.Append(t.Context(), topic, 0, []queue.Message{large})
			return err != nil
		})
		if isUnknown(err) || !strings.Contains(err.Error(), "lowered") {
			t.Errorf("the first: %v", err)
		}
		err = q.Append(t.Context(), topic, 0, []queue.Message{large})
		if want := (queue.TooLargeError{Topic: topic, Size: 50_000, Limit: 10_000 - reserve}); !isTooLarge(err, want) {
			t.Errorf("the second: %v", err)
		}
	})
}

// The leader of the partition changes while messages are appended and read.
func TestLeaderMoves(t *testing.T) {
	cluster := fakeCluster(t)
	q := openQueue(t, cluster.ListenAddrs())
	topic := makeTopic(t, q)
	var want []string
	for i := range 12 {
		if err := cluster.MoveTopicPartition(topic, 0, int32(i%3)); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, q, topic, text(fmt.Sprint(i)))
		want = append(want, fmt.Sprint(i))
		wantValues(t, q, topic, want...)
	}
}

// switched is a dialer that can be switched off, and then cuts the connections that it has made.
type switched struct {
	mu   sync.Mutex
	off  bool
	open []net.Conn
}

func (d *switched) set(off bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = off
	for _, c := range d.open {
		c.Close()
	}
	d.open = nil
}

func (d *switched) Dial(kind, addr string) (net.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off {
		return nil, errors.New("switched off")
	}
	c, err := net.Dial(kind, addr)
	if err == nil {
		d.open = append(d.open, c)
	}
	return c, err
}
