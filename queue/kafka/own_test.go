package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// owners keeps the account of who works which shard.
type owners struct {
	mu    sync.Mutex
	now   map[string][]int // by member
	calls int
}

// member is one process of a group.
type member struct {
	name string
	q    *Queue
	stop context.CancelFunc
	done chan error
}

func (o *owners) join(t *testing.T, name string, q *Queue, topic string) *member {
	ctx, cancel := context.WithCancel(t.Context())
	m := &member{name: name, q: q, stop: cancel, done: make(chan error, 1)}
	go func() {
		m.done <- q.Own(ctx, topic, func(ctx context.Context, shard int) error {
			o.begin(name, shard)
			defer o.end(name, shard)
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	t.Cleanup(cancel)
	return m
}

func (m *member) leave(t *testing.T) {
	t.Helper()
	m.stop()
	select {
	case err := <-m.done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", m.name, err)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("%s does not end", m.name)
	}
}

func (o *owners) begin(name string, shard int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.now == nil {
		o.now = map[string][]int{}
	}
	o.now[name] = append(o.now[name], shard)
	o.calls++
}

func (o *owners) end(name string, shard int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now[name] = slices.DeleteFunc(o.now[name], func(s int) bool { return s == shard })
}

// shared says that each shard is worked by one, and each of the members works.
func (o *owners) shared(members ...*member) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all []int
	for _, m := range members {
		if len(o.now[m.name]) == 0 {
			return false
		}
		all = append(all, o.now[m.name]...)
	}
	slices.Sort(all)
	return slices.Equal(all, []int{0, 1, 2})
}

func (o *owners) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.calls
}

// Members come and go: each shard is worked by somebody, and what was taken away has ended.
func TestOwnRebalances(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		group := unique("group")
		queues := []*Queue{openQueue(t, brokers, Group(group)), openQueue(t, brokers, Group(group)), openQueue(t, brokers, Group(group))}
		topic := makeTopic(t, queues[0])
		for shard := range shards { // there is something to fetch
			if err := queues[0].Append(t.Context(), topic, shard, texts("m", 100)); err != nil {
				t.Fatal(err)
			}
		}
		var o owners
		await := func(members ...*member) {
			t.Helper()
			eventually(t, fmt.Sprint("shards to be shared by ", len(members)), func() bool { return o.shared(members...) })
		}
		a := o.join(t, "a", queues[0], topic)
		await(a)
		b := o.join(t, "b", queues[1], topic)
		await(a, b)
		c := o.join(t, "c", queues[2], topic)
		await(a, b, c)
		b.leave(t)
		await(a, c)
		a.leave(t)
		await(c)
		a = o.join(t, "a", queues[0], topic)
		await(a, c)
		before := o.count()
		if err := queues[2].Close(); err != nil { // without leave
			t.Fatal(err)
		}
		if err := <-c.done; !errors.Is(err, queue.ErrClosed) {
			t.Errorf("want ErrClosed: %v", err)
		}
		await(a)
		if o.count() == before {
			t.Error("work was not called again")
		}
		a.leave(t)
	})
}

// Work that is slow to return holds up the others, and nobody works beside it.
func TestOwnWaitsForWork(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		group := unique("group")
		one, two := openQueue(t, brokers, Group(group)), openQueue(t, brokers, Group(group))
		topic := makeTopic(t, one)
		started, finish := make(chan int, 10), make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() {
			done <- one.Own(ctx, topic, func(ctx context.Context, shard int) error {
				started <- shard
				<-ctx.Done()
				<-finish
				return nil
			})
		}()
		for range shards {
			<-started
		}
		var o owners
		m := o.join(t, "two", two, topic)
		cancel()
		select {
		case <-done:
			t.Error("Own returned before its work")
		case <-time.After(300 * time.Millisecond):
		}
		if o.count() > 0 {
			t.Error("another works beside it")
		}
		close(finish)
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		eventually(t, "the other to work", func() bool { return o.shared(m) })
		m.leave(t)
	})
}

// Work that returns nil is done with its shard, and does not end the others' work.
func TestOwnWorkReturns(t *testing.T) {
	q := openQueue(t, fakeCluster(t).ListenAddrs())
	topic := makeTopic(t, q)
	ctx, cancel := context.WithCancel(t.Context())
	calls := make(chan int, 100)
	done := make(chan error, 1)
	go func() {
		done <- q.Own(ctx, topic, func(ctx context.Context, shard int) error {
			calls <- shard
			if shard == 1 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	for range shards {
		<-calls
	}
	var o owners
	m := o.join(t, "guest", openQueue(t, q.brokers, Group(q.group)), topic) // a rebalance, and another
	eventually(t, "the guest to work", func() bool { return o.count() > 0 })
	m.leave(t)
	seen := map[int]int{}
	for seen[0] == 0 || seen[2] == 0 { // all that the guest may have had is ours again
		seen[<-calls]++
	}
	cancel()
	<-done
	if seen[1] > 0 {
		t.Error("work was called again for the shard that it was done with")
	}
}

// The owner commits for the topics of the shard; another one can't while it works.
func TestCommitWhileOwned(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		q := openQueue(t, brokers)
		topic, events := makeTopic(t, q), makeTopic(t, q)
		mustAppend(t, q, topic, texts("m", 5)...)
		stranger := openQueue(t, brokers, Group(q.group))
		if err := stranger.Commit(t.Context(), topic, 0, 1); err != nil {
			t.Errorf("while nobody works: %v", err)
		}
		var o owners
		m := o.join(t, "owner", q, topic)
		eventually(t, "the owner to work", func() bool { return o.shared(m) })
		for _, name := range []string{topic, events} {
			if err := q.Commit(t.Context(), name, 0, 3); err != nil {
				t.Error(err)
			}
		}
		began := time.Now()
		err := stranger.Commit(t.Context(), topic, 0, 2)
		if err == nil || !strings.Contains(err.Error(), "commit while Own works") || time.Since(began) > 3*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		m.leave(t)
		if next, err := stranger.Committed(t.Context(), topic, 0); next != 3 || err != nil {
			t.Errorf("committed is %d (%v)", next, err)
		}
	})
}

// A committed position that is gone does not keep work from being called: it is a hint.
func TestOwnWithPositionThatIsGone(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		q := openQueue(t, brokers)
		topic := makeTopic(t, q)
		mustAppend(t, q, topic, texts("m", 10)...)
		for shard, position := range []int64{2, 1000, 1 << 50} {
			if err := q.Commit(t.Context(), topic, shard, position); err != nil {
				t.Fatal(err)
			}
		}
		if err := q.admin.DeleteRecords(topic, map[int32]int64{0: 6}); err != nil {
			t.Fatal(err)
		}
		var o owners
		m := o.join(t, "a", q, topic)
		eventually(t, "work", func() bool { return o.shared(m) })
		if next, err := q.Committed(t.Context(), topic, 0); next != 2 || err != nil {
			t.Errorf("the position was touched: %d (%v)", next, err)
		}
		m.leave(t)
	})
}

// The brokers are away when Own is called: it begins when they are back.
func TestOwnWaitsForTheBrokers(t *testing.T) {
	cluster, d, c := fakeCluster(t), &switched{}, NewConfig()
	c.Net.Proxy.Enable, c.Net.Proxy.Dialer = true, d
	topic := makeTopic(t, openQueue(t, cluster.ListenAddrs()))
	q := openQueue(t, cluster.ListenAddrs(), Config(c), Timeout(time.Second))
	d.set(true)
	var o owners
	m := o.join(t, "a", q, topic)
	eventually(t, "its trouble to be seen", func() bool { return q.Trouble() != nil })
	select {
	case err := <-m.done:
		t.Fatalf("it gave up: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	d.set(false)
	eventually(t, "work", func() bool { return o.shared(m) && q.Trouble() == nil })
	m.leave(t)
}

// A group that has no coordinator, as where the brokers can't make its topic, gives no work: that is told until it has one.
func TestTroubleOfTheGroup(t *testing.T) {
	cluster, c := fakeCluster(t), NewConfig()
	c.Metadata.Retry.Max = 0 // it waits for seconds each time
	q := openQueue(t, cluster.ListenAddrs(), Config(c))
	topic := makeTopic(t, q)
	away := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.FindCoordinator}, Err: kerr.CoordinatorNotAvailable, Count: -1})
	var o owners
	m := o.join(t, "a", q, topic)
	eventually(t, "the trouble to be told", func() bool { return errors.Is(q.Trouble(), sarama.ErrConsumerCoordinatorNotAvailable) })
	away.Remove()
	eventually(t, "work", func() bool { return o.shared(m) && q.Trouble() == nil })
	m.leave(t)
	if err := q.Trouble(); err != nil {
		t.Errorf("nobody owns, and it says %v", err)
	}
}
