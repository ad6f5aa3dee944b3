package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs/internal/servers/kafkaserver"
	"github.com/cqrs-server/cqrs/queue"
)

// Invariant 16: somebody deletes the topic and makes it again while it is used, and other messages are where ours were.
func TestOtherTopic(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		q, operator := openQueue(t, brokers), openQueue(t, brokers)
		topic := makeTopic(t, q)
		mustAppend(t, q, topic, texts("old", 10)...)
		waiting := make(chan error, 1)
		go func() {
			_, err := q.Read(t.Context(), topic, 0, 10, 1)
			waiting <- err
		}()
		before, err := q.Identity(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		deleteTopic(t, operator, topic)
		if err := <-waiting; !errors.Is(err, queue.ErrNoTopic) {
			t.Errorf("Read that waited: %v", err)
		}
		if err := operator.CreateTopics(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, operator, topic, texts("new", 20)...)
		for _, from := range []int64{0, 10, 15, 30} {
			_, err := q.Read(t.Context(), topic, 0, from, 1)
			isOther(t, err, q.prefix+topic, before)
		}
		if after, err := q.Identity(t.Context(), topic); err != nil || after == before {
			t.Errorf("the identity was %s and is %s (%v)", before, after, err)
		}
		wantValues(t, openQueue(t, brokers), topic, valuesOf(texts("new", 20))...)
	})
}

// The same while nothing was read or appended: what is appended next is at an offset that was given before.
func TestOtherTopicIsAppendedTo(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		q, operator := openQueue(t, brokers), openQueue(t, brokers)
		topic := makeTopic(t, q)
		mustAppend(t, q, topic, texts("old", 10)...)
		before, err := q.Identity(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		deleteTopic(t, operator, topic)
		if err := operator.CreateTopics(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
		first := q.Append(t.Context(), topic, 0, []queue.Message{text("a")})
		isOther(t, first, topic, before)
		second := q.Append(t.Context(), topic, 0, []queue.Message{text("b")})
		isOther(t, second, topic, before)
		if isUnknown(second) {
			t.Errorf("it was not sent, so the outcome is known: %v", second)
		}
		if n := len(values(t, operator, topic)); n > 0 && !isUnknown(first) {
			t.Errorf("%d messages were added, and Append was certain that none was: %v", n, first)
		}
	})
}

func isOther(t *testing.T, err error, topic, id string) {
	t.Helper()
	if !errors.Is(err, queue.ErrOtherTopic) || !strings.Contains(err.Error(), topic) || !strings.Contains(err.Error(), id) {
		t.Errorf("want ErrOtherTopic, with the name and the id: %v", err)
	}
}

func valuesOf(msgs []queue.Message) (values []string) {
	for _, m := range msgs {
		values = append(values, string(m.Value))
	}
	return values
}

// Invariant 16: the broker comes back without the end of its log, as after a power cut that took what was not on the disk yet.
func TestLogLosesItsEnd(t *testing.T) {
	server := kafkaserver.Start(t)
	q := openQueue(t, []string{server.Addr}, Shards(1), Timeout(time.Minute))
	topic := makeTopic(t, q)
	for i := range 10 { // a batch each
		mustAppend(t, q, topic, timed(fmt.Sprint("m ", i), time.Now()))
	}
	waiting := make(chan error, 1)
	go func() {
		_, err := q.Read(t.Context(), topic, 0, 10, 1)
		waiting <- err
	}()
	server.Kill()
	log := server.Segment(topic, 0)
	info, err := os.Stat(log)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(log, info.Size()*65/100); err != nil {
		t.Fatal(err)
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	isRange(t, <-waiting, 0, 6)
	var said []string
	eventually(t, "Append to work again", func() bool {
		err := q.Append(t.Context(), topic, 0, []queue.Message{timed("next", time.Now())})
		if err == nil {
			return true
		}
		if !isUnknown(err) || errors.Is(err, queue.ErrOtherTopic) {
			t.Errorf("want ErrUnknown: %v", err)
		}
		said = append(said, err.Error())
		return false
	})
	if all := strings.Join(said, "\n"); !strings.Contains(all, "at offset 6, and the offsets below 10") || len(said) > 2 {
		t.Errorf("what it said before: %s", all)
	}
	want := []string{"m 0", "m 1", "m 2", "m 3", "m 4", "m 5", "next"}
	if got := values(t, q, topic); fmt.Sprint(got[:7]) != fmt.Sprint(want) {
		t.Errorf("%q", got)
	}
}

// deadly is a dialer that kills the broker when it has done what a produce request asked for, and before its answer comes through.
type deadly struct {
	tap  tap
	kill func()
}

func (d *deadly) Dial(kind, addr string) (net.Conn, error) {
	c, err := d.tap.Dial(kind, addr)
	if err != nil {
		return nil, err
	}
	return &deadlyConn{c.(*tapped), d.kill}, nil
}

type deadlyConn struct {
	*tapped
	kill func()
}

func (c *deadlyConn) Read(b []byte) (int, error) {
	n, err := c.tapped.Read(b)
	if c.losing {
		c.kill()
	}
	return n, err
}

// The broker dies with the answer to an append: when it is back, what is sent again is not added again. Kafka forgets the numbering of
// batches that look older than a day when it starts: of these, there may be two.
func TestBrokerDiesWithTheAnswer(t *testing.T) {
	server := kafkaserver.Start(t)
	dead := make(chan struct{}, 10)
	d := &deadly{kill: func() { server.Kill(); dead <- struct{}{} }}
	c := NewConfig()
	c.Net.Proxy.Enable, c.Net.Proxy.Dialer = true, d
	q := openQueue(t, []string{server.Addr}, Config(c), Timeout(time.Minute))
	for age, most := range map[time.Duration]int{0: 1, 23 * time.Hour: 1, 25 * time.Hour: 2} {
		topic := makeTopic(t, q)
		at := time.Now().Add(-age)
		mustAppend(t, q, topic, timed("0", at))
		d.tap.lose.Store(1)
		appended := make(chan error, 1)
		go func() { appended <- q.Append(t.Context(), topic, 0, []queue.Message{timed("1", at), timed("2", at)}) }()
		<-dead
		if err := server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-appended; err != nil {
			t.Errorf("%v old: %v", age, err)
		}
		mustAppend(t, q, topic, timed("3", at))
		got := strings.Join(values(t, q, topic), "")
		if got != "0123" && (most == 1 || got != "012123") {
			t.Errorf("%v old: the topic has %q", age, got)
		}
		t.Logf("%v old: %q", age, got)
	}
}

// Invariant 9: what is larger than Kafka takes is refused before anything is sent.
func TestFiveMegabytes(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		q := openQueue(t, brokers)
		topic := makeTopic(t, q)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		large := queue.Message{Time: 1, Value: make([]byte, 5<<20)} // zeros: compressed it would fit, and nobody relies on that
		err := q.Append(ctx, topic, 0, []queue.Message{text("with it"), large})
		if want := (queue.TooLargeError{Topic: topic, Size: 5 << 20, Limit: q.Limit()}); !isTooLarge(err, want) {
			t.Errorf("want %+v: %v", want, err)
		}
		if w := q.writerOf(partition{topic, 0}); w.producer.link != nil {
			t.Error("a connection was made for it")
		}
		wantValues(t, q, topic)
		roomy := openQueue(t, brokers, TopicConfig(map[string]string{"max.message.bytes": fmt.Sprint(6 << 20)}))
		topic = makeTopic(t, roomy)
		mustAppend(t, roomy, topic, large)
		msgs, err := roomy.Read(t.Context(), topic, 0, 0, 1)
		if err != nil || len(msgs) != 1 || len(msgs[0].Value) != 5<<20 {
			t.Errorf("%d messages came back: %v", len(msgs), err)
		}
	})
}
