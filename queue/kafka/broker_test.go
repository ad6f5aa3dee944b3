package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs/internal/servers/kafkaserver"
	"github.com/cqrs-server/cqrs/queue"
)

// appender appends one message after the other, and notes what came of each.
type appender struct {
	q     *Queue
	topic string
	name  string

	mu      sync.Mutex
	added   []queue.Message
	unknown map[string]bool
	refused map[string]bool
}

func newAppender(q *Queue, topic, name string) *appender {
	return &appender{q: q, topic: topic, name: name, unknown: map[string]bool{}, refused: map[string]bool{}}
}

// timed has the time of now as a rule: of batches that look older than a day, Kafka does not know any more after a restart
// that it has them.
func timed(value string, at time.Time) queue.Message {
	m := text(value)
	m.Time = at.UnixMilli()
	return m
}

func (a *appender) run(stop <-chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		m := []queue.Message{timed(fmt.Sprint(a.name, " ", i), time.Now())}
		err := a.q.Append(context.Background(), a.topic, 0, m)
		a.note(m[0], err)
	}
}

func (a *appender) note(m queue.Message, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case err == nil:
		a.added = append(a.added, m)
	case isUnknown(err):
		a.unknown[string(m.Value)] = true
	default:
		a.refused[string(m.Value)] = true
	}
}

func (a *appender) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.added)
}

func (a *appender) failed() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.unknown) + len(a.refused)
}

// Invariants 1 and 2: the broker is killed and started again while messages are appended, read and owned.
func TestBrokerKilled(t *testing.T) {
	server := kafkaserver.Start(t)
	q := openQueue(t, []string{server.Addr}, Timeout(20*time.Second))
	topic := makeTopic(t, q)
	var o owners
	m := o.join(t, "owner", q, topic)
	eventually(t, "the owner to work", func() bool { return o.shared(m) })

	stop := make(chan struct{})
	var all sync.WaitGroup
	var appenders []*appender
	for i := range 4 {
		a := newAppender(q, topic, fmt.Sprint("appender", i))
		appenders = append(appenders, a)
		all.Go(func() { a.run(stop) })
	}
	ctx, cancel := context.WithCancel(t.Context())
	followed := make(chan []queue.Message, 1)
	go func() { followed <- follow(ctx, q, topic) }()
	for round := range 2 {
		progress(t, appenders)
		server.Kill()
		if err := server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		progress(t, appenders)
		eventually(t, fmt.Sprint("the owner to work again, round ", round), func() bool { return o.shared(m) })
	}
	close(stop)
	all.Wait()
	_, end, err := q.Bounds(t.Context(), topic, 0)
	if err != nil {
		t.Fatal(err)
	}
	log := readAll(t, q, topic, end)
	for _, a := range appenders {
		a.check(t, log)
	}
	cancel()
	got := <-followed
	if len(got) > len(log) {
		t.Fatalf("the follower read %d messages, and there are %d", len(got), len(log))
	}
	for i := range got {
		if got[i].Offset != log[i].Offset || string(got[i].Value) != string(log[i].Value) {
			t.Fatalf("the follower read %d %s, and the log has %d %s", got[i].Offset, got[i].Value, log[i].Offset, log[i].Value)
		}
	}
	m.leave(t)
}

func progress(t *testing.T, appenders []*appender) {
	t.Helper()
	for _, a := range appenders {
		before := a.count()
		eventually(t, a.name+" to go on", func() bool { return a.count() > before+20 })
	}
}

// follow reads on until ctx ends, whatever happens.
func follow(ctx context.Context, q *Queue, topic string) (got []queue.Message) {
	from := int64(0)
	for ctx.Err() == nil {
		msgs, err := q.Read(ctx, topic, 0, from, 100)
		if err == nil {
			got = append(got, msgs...)
			from = msgs[len(msgs)-1].Offset + 1
		}
	}
	return got
}

func readAll(t *testing.T, q *Queue, topic string, end int64) (got []queue.Message) {
	t.Helper()
	for from := int64(0); from < end; from = got[len(got)-1].Offset + 1 {
		msgs, err := q.Read(t.Context(), topic, 0, from, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, msgs...)
	}
	return got
}

// check compares what the appender was told with what is there.
func (a *appender) check(t *testing.T, log []queue.Message) {
	t.Helper()
	times, at := map[string]int{}, map[int64]string{}
	for _, m := range log {
		times[string(m.Value)]++
		at[m.Offset] = string(m.Value)
	}
	for i, m := range a.added {
		if at[m.Offset] != string(m.Value) || times[string(m.Value)] != 1 {
			t.Errorf("%s is there %d times, and at its offset there is %s", m.Value, times[string(m.Value)], at[m.Offset])
		}
		if i > 0 && a.added[i-1].Offset >= m.Offset {
			t.Errorf("%s came before %s", m.Value, a.added[i-1].Value)
		}
	}
	for value := range a.refused {
		if times[value] > 0 {
			t.Errorf("%s was refused for certain, and is there", value)
		}
	}
	t.Logf("%s: %d added, %d unknown, %d refused", a.name, len(a.added), len(a.unknown), len(a.refused))
}

// Invariants 1 and 2: the broker is away for longer than Append waits.
func TestBrokerDown(t *testing.T) {
	server := kafkaserver.Start(t)
	q := openQueue(t, []string{server.Addr}, Timeout(time.Second))
	topic := makeTopic(t, q)
	stop := make(chan struct{})
	var all sync.WaitGroup
	var appenders []*appender
	for i := range 4 {
		a := newAppender(q, topic, fmt.Sprint("appender", i))
		appenders = append(appenders, a)
		all.Go(func() { a.run(stop) })
	}
	progress(t, appenders)
	server.Kill()
	for _, a := range appenders {
		eventually(t, a.name+" to be refused", func() bool { return a.failed() >= 3 })
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	progress(t, appenders)
	close(stop)
	all.Wait()
	_, end, err := q.Bounds(t.Context(), topic, 0)
	if err != nil {
		t.Fatal(err)
	}
	log := readAll(t, q, topic, end)
	for _, a := range appenders {
		a.check(t, log)
		if len(a.refused) == 0 {
			t.Errorf("%s was never told for certain that nothing was added, and most of the time there was no broker", a.name)
		}
	}
}

// A broker that hangs, with its connections open: calls end in time, and work goes on when it comes back.
func TestBrokerHangs(t *testing.T) {
	server := kafkaserver.Start(t)
	q := openQueue(t, []string{server.Addr}, Timeout(2*time.Second))
	topic := makeTopic(t, q)
	mustAppend(t, q, topic, text("before"))
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	reading := make(chan error, 1)
	go func() {
		_, err := q.Read(t.Context(), topic, 0, 1, 1)
		reading <- err
	}()
	began := time.Now()
	err := q.Append(t.Context(), topic, 0, []queue.Message{text("during")})
	if !isUnknown(err) || time.Since(began) > 4*time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	if _, _, err := q.Bounds(t.Context(), topic, 0); err == nil || time.Since(began) > 8*time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	if err := <-reading; err == nil || time.Since(began) > 10*time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "Append to work again", func() bool {
		return q.Append(t.Context(), topic, 0, []queue.Message{text("after")}) == nil
	})
	got := values(t, q, topic)
	if got[0] != "before" || got[len(got)-1] != "after" {
		t.Errorf("%q", got)
	}
}

// Close does not wait for a broker that hangs.
func TestCloseWhileBrokerHangs(t *testing.T) {
	server := kafkaserver.Start(t)
	q := openQueue(t, []string{server.Addr})
	topic := makeTopic(t, q)
	var o owners
	m := o.join(t, "owner", q, topic)
	eventually(t, "the owner to work", func() bool { return o.shared(m) })
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	appending := make(chan error, 1)
	go func() { appending <- q.Append(t.Context(), topic, 0, []queue.Message{text("a")}) }()
	w := q.writerOf(partition{topic, 0})
	eventually(t, "it to be sent", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.running && len(w.waiting) == 0
	})
	began := time.Now()
	closeQueue(t, q)
	for _, ended := range []<-chan error{appending, m.done} {
		if err := <-ended; !errors.Is(err, queue.ErrClosed) {
			t.Errorf("want ErrClosed: %v", err)
		}
	}
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("it took %v", took)
	}
}
