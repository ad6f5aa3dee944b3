package cqrs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/internal/dynamofaults"
	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/queue/kafka"
	"github.com/cqrs-server/cqrs/store"
	"github.com/cqrs-server/cqrs/store/bolt"
	"github.com/cqrs-server/cqrs/store/dynamo"
	"github.com/google/uuid"
)

// cluster is several runtimes on one queue and one store, as processes on several machines would be.
type cluster struct {
	t       *testing.T
	brokers []string
	prefix  string
	shards  int
	store   store.Store
	table   string // of the store in DynamoDB; empty when it is local
	config  cqrs.Config
	kafka   []kafka.Option // besides the usual ones
	members []*member

	background sync.WaitGroup // waits for the ends of commands

	mu   sync.Mutex
	sent []told
}

// member is one process.
type member struct {
	rt   *cqrs.Runtime
	q    queue.Queue
	dir  string
	stop func()
}

// told is a command, and how it ended for who sent it.
type told struct {
	id        uuid.UUID
	shard     int
	out       cqrs.Outcome
	err       error
	elsewhere bool // it was sent to another queue
}

// newCluster makes the topics and the store of a cluster: on the servers that make test starts, if there are any.
func newCluster(t *testing.T, shards int) *cluster {
	t.Helper()
	if address := os.Getenv("CQRS_KAFKA"); address != "" {
		return newClusterOn(t, []string{address}, shards)
	}
	return newClusterOn(t, fakeKafka(t), shards)
}

func newClusterOn(t *testing.T, brokers []string, shards int) *cluster {
	t.Helper()
	c := &cluster{t: t, brokers: brokers, prefix: "c" + uuid.NewString()[:8] + "-", shards: shards, config: counterConfig()}
	if endpoint := os.Getenv("CQRS_DYNAMODB"); endpoint != "" {
		c.table = "cqrs-" + c.prefix + "events"
		c.store = openDynamo(t, endpoint, c.table)
	} else {
		s, err := bolt.Open(filepath.Join(t.TempDir(), "archive.db"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		c.store = s
	}
	t.Cleanup(c.stopAll)
	return c
}

func openDynamo(t *testing.T, endpoint, table string) *dynamo.Store {
	t.Helper()
	s := dynamo.New(dynamoClient(endpoint, dynamofaults.New(t, nil)), table)
	if err := s.CreateTable(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// dynamoClient is a client as a program would make it, over a network of the test's.
func dynamoClient(endpoint string, network http.RoundTripper) *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{
		Region: "eu-west-1", BaseEndpoint: aws.String(endpoint), HTTPClient: &http.Client{Transport: network},
		Credentials: credentials.NewStaticCredentialsProvider("id", "secret", ""),
	})
}

// add starts one more process, on a data folder (a new one when dir is empty).
func (c *cluster) add(dir string, change ...func(*cqrs.Config)) *member {
	c.t.Helper()
	cfg := c.config
	q := openKafka(c.t, c.brokers, c.prefix, c.shards, c.kafka...)
	cfg.Queue, cfg.Store = q, c.store
	for _, f := range change {
		f(&cfg)
	}
	if dir == "" {
		dir = c.t.TempDir()
	}
	rt, err := cqrs.Open(dir, cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- rt.Run(context.Background()) }()
	m := &member{rt: rt, q: q, dir: dir}
	m.stop = sync.OnceFunc(func() {
		if err := errors.Join(rt.Close(), <-ended, q.Close()); err != nil {
			c.t.Errorf("close: %v", err)
		}
	})
	c.members = append(c.members, m)
	return m
}

func (c *cluster) stopAll() {
	for _, m := range c.members {
		m.stop()
	}
}

// send sends a command and remembers how it ended.
func (c *cluster) send(ctx context.Context, rt *cqrs.Runtime, command cqrs.Command, options ...cqrs.SendOption) {
	id := uuid.Must(uuid.NewV7())
	r, err := rt.Send(ctx, command, append(options, cqrs.WithID(id))...)
	for err != nil && !errors.Is(err, cqrs.ErrClosed) && ctx.Err() == nil { // with the same id it is safe
		r, err = rt.Send(ctx, command, append(options, cqrs.WithID(id))...)
	}
	s := told{id: id, err: err}
	if err == nil {
		s.shard = r.Shard
		s.out, s.err = r.Wait(ctx)
	}
	c.note(s)
}

func (c *cluster) note(s told) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = append(c.sent, s)
}

// ended is how many commands have ended.
func (c *cluster) ended() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.sent)
}

// load has several senders send n commands each, for a few keys.
func (c *cluster) load(ctx context.Context, senders, n int, runtimes ...*cqrs.Runtime) *sync.WaitGroup {
	var all sync.WaitGroup
	for i := range senders {
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 7))
			for range n {
				key := fmt.Sprintf("k%d", r.IntN(6))
				mode := []string{"", "", "", "reject-odd", "remark", "nothing"}[r.IntN(6)]
				c.send(ctx, runtimes[i%len(runtimes)], add{Name: key, By: 1, Mode: mode}, cqrs.WithKey(key))
			}
		})
	}
	return &all
}

// keepLoading is load until stop is called, which waits for what was sent.
func (c *cluster) keepLoading(ctx context.Context, senders int, runtimes ...*cqrs.Runtime) (stop func()) {
	done := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				c.load(ctx, senders, 5, runtimes...).Wait()
			}
		}
	})
	return func() { close(done); all.Wait() }
}

// check makes sure that every command ended once, the same for all, and that log, store and all aggregates agree.
func (c *cluster) check(members ...*member) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second+time.Duration(c.ended())*time.Millisecond)
	defer cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	tops := make([]uint64, c.shards)
	for _, s := range c.sent {
		switch e, refused := errors.AsType[*cqrs.Error](s.err); {
		case s.err == nil:
			tops[s.out.Shard] = max(tops[s.out.Shard], s.out.T)
		case !refused || e.Level != cqrs.User:
			c.t.Errorf("command %s: %v", s.id, s.err)
		}
	}
	for n := range c.shards {
		// A replica may be ahead of the store for a moment.
		archive := members[0].rt.Store()
		eventually(c.t, func() bool { last, err := archive.Last(ctx, n); return err == nil && last >= tops[n] })
		stored := c.stored(ctx, archive, n)
		c.checkOutcomes(n, stored)
		last := uint64(len(stored))
		if last < tops[n] {
			c.t.Errorf("shard %d: t %d was told, and the store ends at %d", n, tops[n], last)
		}
		var digest cqrs.Digest
		for i, m := range members {
			if _, err := m.rt.Shard(n).AtLeast(ctx, last); err != nil {
				c.t.Fatalf("member %d: %v (health %+v)", i, err, m.rt.Health())
			}
			d, t := m.rt.Shard(n).Digest()
			if i == 0 {
				digest = d
			}
			if t != last || d != digest {
				c.t.Errorf("shard %d: member %d is at t %d with digest %x, and the store at %d (digest of the first member: %x)",
					n, i, t, d[:4], last, digest[:4])
			}
			c.checkTables(m.rt.Shard(n).View(), stored)
		}
		c.checkFeedback(ctx, members[0], n)
	}
}

// checkFeedback makes sure that the feedback of each command arrives, and that all of it tells the same.
func (c *cluster) checkFeedback(ctx context.Context, m *member, shard int) {
	c.t.Helper()
	start, end, err := m.q.Bounds(ctx, "feedback", shard)
	if err != nil {
		c.t.Fatal(err)
	}
	missing, ended := map[uuid.UUID]told{}, map[uuid.UUID]told{}
	for _, s := range c.sent {
		if s.shard == shard && !s.elsewhere {
			missing[s.id], ended[s.id] = s, s
		}
	}
	for next := start; ctx.Err() == nil && (next < end || len(missing) > 0); {
		for f, err := range m.rt.Feedback(ctx, shard, next) { // an error of the queue ends it
			if s, ours := ended[f.Command]; ours && err == nil {
				c.checkTold(&f, s)
				delete(missing, f.Command)
			}
			if next = max(next, f.Offset+1); next >= end && len(missing) == 0 {
				break
			}
		}
	}
	if len(missing) > 0 {
		c.t.Errorf("shard %d: %d of %d commands have no feedback", shard, len(missing), len(ended))
	}
}

// checkTold compares feedback with what the sender of its command was told.
func (c *cluster) checkTold(f *cqrs.Feedback, s told) {
	c.t.Helper()
	if (f.Err == nil) != (s.err == nil) || f.T != s.out.T {
		c.t.Errorf("the feedback of command %s says t %d (%v), and its sender was told t %d (%v)", s.id, f.T, f.Err, s.out.T, s.err)
	}
}

// stored reads a shard's log in the store.
func (c *cluster) stored(ctx context.Context, s store.Store, shard int) (records []store.Record) {
	for r, err := range s.Log(ctx, shard, 1) {
		if err != nil {
			c.t.Fatal(err)
		}
		records = append(records, r)
	}
	return records
}

// checkOutcomes compares what senders were told with what is stored.
func (c *cluster) checkOutcomes(shard int, stored []store.Record) {
	c.t.Helper()
	at := map[uuid.UUID]uint64{}
	for _, r := range stored {
		if at[r.Command] != 0 {
			c.t.Errorf("command %s is stored at t %d and at t %d", r.Command, at[r.Command], r.T)
		}
		at[r.Command] = r.T
	}
	for _, s := range c.sent {
		switch {
		case s.err == nil && s.out.Shard == shard && at[s.id] != s.out.T:
			c.t.Errorf("command %s was told t %d, and stands at t %d", s.id, s.out.T, at[s.id])
		case s.err != nil && at[s.id] != 0:
			c.t.Errorf("command %s was told %v, and stands at t %d", s.id, s.err, at[s.id])
		}
	}
}

// checkTables folds what is stored by hand.
func (c *cluster) checkTables(v cqrs.View, stored []store.Record) {
	c.t.Helper()
	want := map[string]int{}
	for _, r := range stored {
		for _, e := range r.Events {
			name, _, _ := strings.Cut(strings.TrimPrefix(string(e.Data), `{"Name":"`), `"`)
			want[name]++
		}
	}
	for name, n := range want {
		if got := value(c.t, v, name); got != n {
			c.t.Errorf("%s is %d as of t %d, and %d by the store", name, got, v.T(), n)
		}
	}
}

func TestThreeProcessesShareTheWork(t *testing.T) {
	c := newCluster(t, 4)
	a, b, d := c.add(""), c.add(""), c.add("")
	c.load(patience(t), 12, 20, a.rt, b.rt, d.rt).Wait()
	c.check(a, b, d)
	owners := 0
	for _, m := range c.members {
		for _, h := range m.rt.Health() {
			if h.Owner {
				owners++
			}
		}
	}
	if owners != 4 {
		t.Errorf("%d shards have an owner, of 4", owners)
	}
}

func TestWorkGoesOnWhenProcessesComeAndGo(t *testing.T) {
	c := newCluster(t, 3)
	a := c.add("")
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	all := c.load(ctx, 8, 40, a.rt)
	for range 4 {
		m := c.add("")
		c.send(ctx, m.rt, add{Name: "k1", By: 1}, cqrs.WithKey("k1"))
		m.stop()
	}
	all.Wait()
	c.check(a, c.add(""))
}

// pausedQueue is a queue that holds up what is appended to the log, as a process does that is paused.
type pausedQueue struct {
	queue.Queue
	mu     sync.Mutex
	closed chan struct{} // closed when it opens; nil while it is open
	waits  chan struct{} // gets one when somebody waits
}

func (g *pausedQueue) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = make(chan struct{})
}

func (g *pausedQueue) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.closed)
	g.closed = nil
}

func (g *pausedQueue) Append(ctx context.Context, topic string, shard int, msgs []queue.Message) error {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	if topic == "events" && closed != nil {
		select {
		case g.waits <- struct{}{}:
		default:
		}
		<-closed
		ctx = context.WithoutCancel(ctx) // its context has ended; a process that wakes up does not know
	}
	return g.Queue.Append(ctx, topic, shard, msgs)
}

// Own gives up the work when told, without waiting for it, as the group does with a member that is silent.
func (g *pausedQueue) Own(ctx context.Context, topic string, work func(context.Context, int) error) error {
	return work(ctx, 0)
}

func TestZombieChangesNothing(t *testing.T) {
	for _, consistency := range []cqrs.Consistency{cqrs.Serializable, cqrs.AsOfBasis} {
		t.Run(fmt.Sprint(consistency), func(t *testing.T) {
			c := newCluster(t, 1)
			c.config.Consistency = consistency
			var g *pausedQueue
			zombie := c.add("", func(cfg *cqrs.Config) {
				g = &pausedQueue{Queue: cfg.Queue, waits: make(chan struct{}, 1)}
				cfg.Queue = g
			})
			c.send(patience(t), zombie.rt, add{Name: "k1", By: 1})
			g.shut()
			var all sync.WaitGroup
			for range 5 {
				all.Go(func() { c.send(patience(t), zombie.rt, add{Name: "k1", By: 1}) })
			}
			<-g.waits
			other := c.add("")
			c.load(patience(t), 4, 10, other.rt).Wait()
			g.open()
			all.Wait()
			c.check(zombie, other)
		})
	}
}

func TestNewReplicaBeginsWithTheStore(t *testing.T) {
	c := newCluster(t, 2)
	a := c.add("")
	c.load(patience(t), 6, 20, a.rt).Wait()
	replica := c.add("", func(cfg *cqrs.Config) { cfg.Role = cqrs.Replica })
	c.load(patience(t), 6, 10, a.rt, replica.rt).Wait()
	c.check(a, replica)
	a.stop()
	c.check(replica, c.add(a.dir))
}

// A replica may begin with a snapshot, whatever the log and the store still hold.
func TestNewReplicaBeginsWithASnapshot(t *testing.T) {
	c := newCluster(t, 2)
	c.store = nil // each process has its own archive: an empty folder could not begin
	a := c.add("")
	c.load(patience(t), 6, 20, a.rt).Wait()
	var snapshot bytes.Buffer
	if err := a.rt.Snapshot(t.Context(), &snapshot); err != nil {
		t.Fatal(err)
	}
	c.load(patience(t), 6, 10, a.rt).Wait()
	dir := filepath.Join(t.TempDir(), "replica")
	if err := cqrs.Restore(t.Context(), dir, &snapshot); err != nil {
		t.Fatal(err)
	}
	b := c.add(dir)
	c.load(patience(t), 6, 10, a.rt, b.rt).Wait()
	c.check(a, b)
}

func TestAnotherVersionOfTheAggregateIsBuiltFromTheStore(t *testing.T) {
	c := newCluster(t, 1)
	a, b := c.add(""), c.add("")
	c.load(patience(t), 4, 10, a.rt, b.rt).Wait()
	newer := func(cfg *cqrs.Config) { cfg.Version = "2" }
	b.stop()
	c.load(patience(t), 4, 10, a.rt).Wait()
	b = c.add(b.dir, newer) // both versions at once
	c.load(patience(t), 4, 10, a.rt, b.rt).Wait()
	c.check(a, b)
	a.stop()
	a = c.add(a.dir, newer)
	c.load(patience(t), 4, 10, a.rt, b.rt).Wait()
	c.check(a, b)
}

func TestFurtherAggregateFollowsOnEachProcess(t *testing.T) {
	c := newCluster(t, 1)
	further := func(cfg *cqrs.Config) {
		cfg.Aggregates = []cqrs.Aggregate{{Name: "more", Aggregator: counting{}, Tables: []cqrs.AnyTable{counters}}}
	}
	a := c.add("")
	c.load(patience(t), 4, 10, a.rt).Wait()
	b := c.add("", further)
	c.load(patience(t), 4, 10, a.rt, b.rt).Wait()
	c.check(a, b)
	more := b.rt.Shard(0).Aggregate("more")
	v, err := more.AtLeast(patience(t), a.rt.View().T())
	if err != nil || value(t, v, "k1") != value(t, a.rt.View(), "k1") {
		t.Errorf("k1 is %d, and not %d (%v)", value(t, v, "k1"), value(t, a.rt.View(), "k1"), err)
	}
}

func TestSenderNeedsNoFolder(t *testing.T) {
	c := newCluster(t, 2)
	a := c.add("")
	sender := c.add("/nowhere/at/all", func(cfg *cqrs.Config) { cfg.Role, cfg.Store = cqrs.Sender, nil })
	out := mustDo(t, sender.rt, add{Name: "k1", By: 1})
	if len(out.Events) != 1 || out.Events[0].Value != (added{Name: "k1", By: 1}) || out.T == 0 {
		t.Errorf("outcome %+v", out)
	}
	_, err := do(t, sender.rt, add{Name: "k1", Mode: "reject"})
	wantError(t, err, cqrs.User, "rejected")
	_, err = do(t, sender.rt, add{Name: "k1", Mode: "panic"})
	wantError(t, err, cqrs.Dev, "process-command")
	if out := mustDo(t, sender.rt, add{Name: "k1", Mode: "nothing"}); len(out.Events) != 0 {
		t.Errorf("outcome %+v", out)
	}
	if _, err := counters.Get(sender.rt.View(), "k1"); err == nil {
		t.Error("a sender can read")
	}
	c.load(patience(t), 4, 10, sender.rt).Wait()
	c.check(a)
}

// Receipts beyond the bound, which find their outcome in the feedback queue, may be waited for by many at once.
func TestManyWaitForTheReceiptsOfASender(t *testing.T) {
	c := newCluster(t, 1)
	c.add("")
	rt := c.add("", func(cfg *cqrs.Config) { cfg.Role, cfg.Store, cfg.MaxInFlight = cqrs.Sender, nil, 1 }).rt
	ctx := patience(t)
	var all sync.WaitGroup
	for _, r := range sendAll(t, rt, slices.Repeat([]add{{Name: "k1", By: 1}}, 20)...) {
		for range 3 {
			all.Go(func() {
				if out, err := r.Wait(ctx); err != nil || out.Command != r.ID || len(out.Events) != 1 {
					t.Errorf("%+v %v", out, err)
				}
			})
		}
	}
	all.Wait()
}

// A command may have more trace headers than a CloudEvent has attributes, and others than it bears. Its end is heard all the same.
func TestFeedbackOfACommandWithManyHeaders(t *testing.T) {
	c := newCluster(t, 1)
	c.add("")
	rt := c.add("", func(cfg *cqrs.Config) { cfg.Role, cfg.Store = cqrs.Sender, nil }).rt
	e := cqrs.Envelope{Type: "counter/add", Data: []byte(`{"name":"k1","by":1}`), Trace: []store.Trace{{Key: "note", Value: "two\nlines"}}}
	for i := range 300 {
		e.Trace = append(e.Trace, store.Trace{Key: fmt.Sprint("h", i), Value: "v"})
	}
	receipts, err := rt.Submit(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := receipts[0].Wait(patience(t)); err != nil || len(out.Events) != 1 {
		t.Errorf("%+v %v", out, err)
	}
}

// Keys, segments and times that no CloudEvent bears keep nobody from hearing of the events.
func TestFeedbackOfWhatNoCloudEventBears(t *testing.T) {
	c := newCluster(t, 1)
	c.add("")
	rt := c.add("", func(cfg *cqrs.Config) { cfg.Role, cfg.Store = cqrs.Sender, nil }).rt
	for name, option := range map[string]cqrs.SendOption{
		"key": cqrs.WithKey("next\u0085line"), "noncharacter": cqrs.WithKey("\ufffe"), "time": cqrs.WithTime(time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)),
	} {
		r, err := rt.Send(t.Context(), add{Name: "k1", By: 1}, option)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if out, err := r.Wait(patience(t)); err != nil || len(out.Events) != 1 {
			t.Errorf("%s: %+v %v", name, out, err)
		}
	}
}

// What a sender does not have is an error, or nothing.
func TestSenderIsAskedWhatItDoesNotKnow(t *testing.T) {
	c := newCluster(t, 1)
	c.add("")
	rt := c.add("", func(cfg *cqrs.Config) { cfg.Role, cfg.Store = cqrs.Sender, nil }).rt
	mustDo(t, rt, add{Name: "k1", By: 1})
	s, ctx := rt.Shard(0), patience(t)
	if digest, at := s.Digest(); s.Version() != "" || s.Failed() != 0 || digest != (cqrs.Digest{}) || at != 0 {
		t.Errorf("version %q, %d failed, digest %v at t %d", s.Version(), s.Failed(), digest, at)
	}
	_, asOf := s.AsOfTime(ctx, time.Now())
	_, commit := s.Commit(ctx, 1)
	var events error
	for _, events = range rt.Events(ctx, store.Query{}) {
	}
	for what, err := range map[string]error{"AsOfTime": asOf, "Commit": commit, "Events": events, "Snapshot": rt.Snapshot(ctx, io.Discard)} {
		if err == nil || !strings.Contains(err.Error(), "Sender") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, is func() bool) {
	t.Helper()
	ctx := patience(t)
	for !is() {
		select {
		case <-ctx.Done():
			t.Fatal("it did not come to be")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// progress waits until so many more commands have ended.
func (c *cluster) progress(ctx context.Context, n int) {
	c.t.Helper()
	for want := c.ended() + n; c.ended() < want; sleepFor(ctx, 5*time.Millisecond) {
		if ctx.Err() != nil {
			c.t.Fatalf("it did not go on: %d commands ended", c.ended())
		}
	}
}

func sleepFor(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
