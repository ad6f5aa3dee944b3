package cqrs_test

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/queue/kafka"
	"github.com/cqrs-server/cqrs/store"
	"github.com/cqrs-server/cqrs/store/bolt"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	boltqueue "github.com/cqrs-server/cqrs/queue/bolt"
)

// admin is a connection to the cluster's brokers beside the library.
func (c *cluster) admin() sarama.ClusterAdmin {
	c.t.Helper()
	a, err := sarama.NewClusterAdmin(c.brokers, kafka.NewConfig())
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { a.Close() })
	return a
}

// complains waits until a shard says why it can't go on.
func complains(t *testing.T, m *member, text string) {
	t.Helper()
	var why error
	eventually(t, func() bool {
		why = m.rt.Health()[0].Retrying
		return why != nil && strings.Contains(why.Error(), text)
	})
}

func TestTopicThatWasMadeAnewStopsTheShard(t *testing.T) {
	c := newCluster(t, 1)
	a := c.add("")
	c.load(patience(t), 4, 5, a.rt).Wait()
	c.check(a)
	want := value(t, a.rt.View(), "k1")
	a.stop()
	if err := c.admin().DeleteTopic(c.prefix + "events"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		topics, err := c.admin().ListTopics()
		return err == nil && topics[c.prefix+"events"].NumPartitions == 0
	})
	b := c.add(a.dir)
	complains(t, b, "deleted and made again")
	if got := value(t, b.rt.View(), "k1"); got != want {
		t.Errorf("k1 is %d, and was %d", got, want)
	}
	b.stop()
	d := c.add("") // a new folder is built from the store, and goes on
	c.load(patience(t), 4, 5, d.rt).Wait()
	c.check(d)
}

func TestReplicaBehindTheRetentionIsBuiltFromTheStore(t *testing.T) {
	c := newCluster(t, 1)
	a := c.add("")
	c.load(patience(t), 4, 10, a.rt).Wait()
	late := c.add("", func(cfg *cqrs.Config) { cfg.Role = cqrs.Replica })
	c.check(a, late)
	late.stop()
	c.load(patience(t), 4, 10, a.rt).Wait()
	c.dropLog(0)
	c.load(patience(t), 4, 3, a.rt).Wait()
	c.check(a, c.add(late.dir, func(cfg *cqrs.Config) { cfg.Role = cqrs.Replica }), c.add(""))

	alone := c.add("", func(cfg *cqrs.Config) { cfg.Store = nil })
	complains(t, alone, "retention has dropped")
}

// What everybody has applied may go, also the message that a follower applied last.
func TestRetentionBehindEverybodyChangesNothing(t *testing.T) {
	c := newCluster(t, 1)
	a := c.add("")
	b := c.add("", func(cfg *cqrs.Config) { cfg.Role = cqrs.Replica })
	ctx := patience(t)
	for range 3 {
		c.load(ctx, 4, 10, a.rt).Wait()
		c.check(a, b)
		c.dropLog(0)
	}
	for _, m := range []*member{a, b} { // what they have is enough for them to go on
		m.stop()
		archive := &noLog{Store: c.store}
		alone := c.add(m.dir, func(cfg *cqrs.Config) { cfg.Store = archive })
		c.load(ctx, 4, 10, alone.rt).Wait()
		if why := alone.rt.Health()[0].Retrying; why != nil || archive.asked.Load() {
			t.Errorf("it was built from the store: %v", why)
		}
		c.check(alone)
		alone.stop()
	}
}

// noLog tells whether its log was asked for.
type noLog struct {
	store.Store
	asked atomic.Bool
}

func (s *noLog) Log(ctx context.Context, shard int, from uint64) iter.Seq2[store.Record, error] {
	s.asked.Store(true)
	return s.Store.Log(ctx, shard, from)
}

// dropLog drops what the log holds, as retention does.
func (c *cluster) dropLog(shard int32) {
	c.t.Helper()
	client, err := sarama.NewClient(c.brokers, kafka.NewConfig())
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	end, err := client.GetOffset(c.prefix+"events", shard, sarama.OffsetNewest)
	if err == nil {
		err = c.admin().DeleteRecords(c.prefix+"events", map[int32]int64{shard: end})
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func TestGarbageInEachTopic(t *testing.T) {
	c := newCluster(t, 1)
	a := c.add("")
	c.load(patience(t), 2, 5, a.rt).Wait()
	q := openKafka(t, c.brokers, c.prefix, 1)
	defer q.Close()
	garbage := []queue.Message{
		{Value: []byte("garbage")}, {}, {Value: []byte{0xc9, 99}}, {Value: []byte{0xc8, 99, 1}}, {Value: []byte{0xc8, 1, 1, 1}},
		{Value: []byte{0xc8, 1, 2}}, {Value: []byte{0xc8, 1, 77}}, {Value: make([]byte, 100_000), Key: make([]byte, 5000)},
		{Value: []byte("{"), Headers: []queue.Header{{Key: "ce_specversion", Value: []byte("9.9")}}},
	}
	for _, topic := range cqrs.Topics() {
		if err := q.Append(t.Context(), topic, 0, slices.Clone(garbage)); err != nil {
			t.Fatal(err)
		}
		if err := q.Append(t.Context(), topic, 0, []queue.Message{{Value: make([]byte, 5<<20)}}); err == nil {
			t.Errorf("%s takes 5 MB", topic)
		}
		c.load(patience(t), 4, 5, a.rt).Wait()
	}
	c.check(a, c.add(""))
	letters, err := a.rt.DeadLetters(t.Context())
	if err != nil || len(letters) != 2*len(garbage) {
		t.Errorf("%d letters of %d, %v", len(letters), 2*len(garbage), err)
	}
	if _, err := a.rt.Send(t.Context(), add{Name: strings.Repeat("x", 5<<20)}); err == nil || errors.Is(err, cqrs.ErrUnknown) {
		t.Errorf("sending 5 MB gives %v", err)
	}
}

// shakyStore fails as a store does whose server is in trouble.
type shakyStore struct {
	store.Store
	mode atomic.Int32
}

const (
	isWell int32 = iota
	isDown
	losesAnswers // puts have their effect, and the answer is lost
	isPartial    // only half of what is put has its effect
)

var errShaky = errors.New("the store is in trouble")

func (s *shakyStore) Put(ctx context.Context, records []store.Record) error {
	switch s.mode.Load() {
	case isDown:
		return errShaky
	case losesAnswers:
		return errors.Join(errShaky, s.Store.Put(ctx, records))
	case isPartial:
		if half := records[:len(records)/2]; len(half) > 0 {
			return errors.Join(errShaky, s.Store.Put(ctx, half))
		}
		return errShaky
	}
	return s.Store.Put(ctx, records)
}

// strictStore takes no record with remarks.
type strictStore struct{ store.Store }

func (*strictStore) Check(r *store.Record) error {
	if r.Remarks != nil {
		return errors.New("the remarks are too long")
	}
	return nil
}

func (s *strictStore) Put(ctx context.Context, records []store.Record) error {
	for i := range records {
		if err := s.Check(&records[i]); err != nil {
			return err
		}
	}
	return s.Store.Put(ctx, records)
}

// Invariant 9: what the store would not take does not come into the log, where all would wait behind it.
func TestCommitThatTheStoreWouldNotTakeStopsNobody(t *testing.T) {
	c := newCluster(t, 1)
	c.store = &strictStore{c.store}
	a := c.add("")
	_, err := do(t, a.rt, add{Name: "k1", By: 1, Mode: "remark"})
	wantError(t, err, cqrs.Dev, "too-large")
	mustDo(t, a.rt, add{Name: "k1", By: 1})
}

func TestCommandsWaitWhileTheStoreIsInTrouble(t *testing.T) {
	for name, mode := range map[string]int32{"down": isDown, "answers lost": losesAnswers, "partial": isPartial} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 1)
			s := &shakyStore{Store: c.store}
			c.store = s
			a := c.add("")
			c.load(patience(t), 2, 5, a.rt).Wait()
			s.mode.Store(mode)
			before := a.rt.View().T()
			ctx := patience(t)
			all := c.load(ctx, 6, 5, a.rt)
			complains(t, a, errShaky.Error())
			if got := a.rt.View().T(); got != before {
				t.Errorf("the owner shows t %d, and what is behind t %d is not stored", got, before)
			}
			b := c.add("")
			a.stop() // another takes over, in the middle of it
			eventually(t, func() bool { return b.rt.Health()[0].Owner })
			s.mode.Store(isWell)
			all.Wait()
			c.sent = slices.DeleteFunc(c.sent, func(s told) bool { return errors.Is(s.err, cqrs.ErrClosed) }) // they were a's
			c.load(patience(t), 2, 5, b.rt).Wait()
			c.check(b, c.add(a.dir))
		})
	}
}

func TestForeignProgramSendsAndHears(t *testing.T) {
	c := newCluster(t, 1)
	a := c.add("")
	client, err := kgo.NewClient(kgo.SeedBrokers(c.brokers...), kgo.ConsumeTopics(c.prefix+"feedback"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	header := func(pairs ...string) (list []kgo.RecordHeader) {
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, kgo.RecordHeader{Key: pairs[i], Value: []byte(pairs[i+1])})
		}
		return list
	}
	binary := &kgo.Record{Topic: c.prefix + "commands", Value: []byte(`{"name":"k1","by":"1"}`), Headers: header(
		"ce_specversion", "1.0", "ce_type", "counter/add", "ce_source", "/shop", "ce_id", "0b56d3ae-4b1c-4b26-9d8f-0d5f1c3a9f01",
		"ce_subject", "k1", "ce_time", "2013-01-01T05:15:00Z", "content-type", "application/json", "traceparent", trace, "ce_tenant", "blue")}
	structured := &kgo.Record{Topic: c.prefix + "commands", Headers: header("content-type", "application/cloudevents+json"), Value: []byte(
		`{"specversion":"1.0","type":"counter/add","source":"/shop","id":"order 17","subject":"k1","data":{"name":"k1","mode":"reject"}}`)}
	if err := client.ProduceSync(patience(t), binary, structured, structured).FirstErr(); err != nil {
		t.Fatal(err)
	}
	heard := hearRecords(t, client, 3)
	event := heard[0]
	want := map[string]string{
		"ce_type": "counter/added", "ce_commandid": "0b56d3ae-4b1c-4b26-9d8f-0d5f1c3a9f01", "ce_t": "1", "ce_shard": "0", "ce_subject": "k1",
		"ce_tenant": "blue", "ce_specversion": "1.0", "ce_time": "2013-01-01T05:15:00Z", "ce_commandtype": "counter/add",
		"ce_id": cqrs.EventID(uuid.MustParse("0b56d3ae-4b1c-4b26-9d8f-0d5f1c3a9f01"), 0, "0").String(),
	}
	for name, value := range want {
		if event[name] != value {
			t.Errorf("the event's %s is %q, and should be %q", name, event[name], value)
		}
	}
	if event["traceparent"] != trace && event["ce_traceparent"] != trace {
		t.Errorf("the trace did not travel: %v", event)
	}
	for _, refused := range heard[1:] {
		if refused["ce_type"] != "cqrs/refused" || refused["ce_commandid"] == "" || !strings.Contains(refused["value"], `"level":"user","tag":"rejected"`) ||
			refused["ce_commandid"] != heard[1]["ce_commandid"] {
			t.Errorf("the refusal is %v", refused)
		}
	}
	if got := value(t, a.rt.View(), "k1"); got != 1 {
		t.Errorf("k1 is %d", got)
	}
}

// The feedback was dropped before a sender with a store asked for it: the store knows how the command ended.
func TestSenderWhoseFeedbackWasDropped(t *testing.T) {
	c := newCluster(t, 1)
	a := c.add("")
	s := c.add("", func(cfg *cqrs.Config) { cfg.Role, cfg.MaxInFlight = cqrs.Sender, 1 })
	receipts := sendAll(t, s.rt, add{Name: "k1", By: 1}, add{Name: "k1", By: 2})
	eventually(t, func() bool { return a.rt.View().T() == 2 })
	eventually(t, func() bool {
		_, end, err := a.q.Bounds(t.Context(), "feedback", 0)
		return err == nil && end == 2
	})
	if err := c.admin().DeleteRecords(c.prefix+"feedback", map[int32]int64{0: 2}); err != nil {
		t.Fatal(err)
	}
	if out, err := receipts[1].Wait(patience(t)); err != nil || out.T != 2 || len(out.Events) != 1 {
		t.Errorf("%+v %v", out, err)
	}
}

// lagging is a queue whose feedback is not read until it may be.
type lagging struct {
	*kafka.Queue
	may chan struct{}
}

func (q *lagging) Read(ctx context.Context, topic string, shard int, from int64, max int) ([]queue.Message, error) {
	if topic == "feedback" {
		select {
		case <-q.may:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return q.Queue.Read(ctx, topic, shard, from, max)
}

// The feedback was dropped before a process came to hear it: who waits there already is not left waiting.
func TestFeedbackThatWasDroppedBeforeItWasHeard(t *testing.T) {
	c, may := newCluster(t, 1), make(chan struct{})
	a := c.add("")
	s := c.add("", func(cfg *cqrs.Config) {
		cfg.Role, cfg.Queue = cqrs.Sender, &lagging{cfg.Queue.(*kafka.Queue), may}
	})
	accepted := sendAll(t, s.rt, add{Name: "k1", By: 1})[0]
	refused := sendAll(t, s.rt, add{Name: "k1", Mode: "reject"})[0]
	eventually(t, func() bool {
		_, end, err := a.q.Bounds(t.Context(), "feedback", 0)
		return err == nil && end == 2
	})
	if err := c.admin().DeleteRecords(c.prefix+"feedback", map[int32]int64{0: 2}); err != nil {
		t.Fatal(err)
	}
	close(may)
	if out, err := accepted.Wait(patience(t)); err != nil || out.T != 1 || len(out.Events) != 1 {
		t.Errorf("%+v %v", out, err)
	}
	if _, err := refused.Wait(patience(t)); err == nil || !strings.Contains(err.Error(), "send it again under the same id") {
		t.Errorf("%v", err)
	}
}

// A dead letter of a command that another program sent can be edited and sent again, like any.
func TestForeignDeadLetterIsSentAgainEdited(t *testing.T) {
	c := newCluster(t, 1)
	a, id := c.add(""), uuid.New()
	m := queue.Message{Time: time.Now().UnixMilli(), Value: []byte(`{"name":"k1","by":3,"mode":"panic"}`)}
	for key, value := range map[string]string{"ce_specversion": "1.0", "ce_id": id.String(), "ce_source": "/shop", "ce_type": "counter/add"} {
		m.Headers = append(m.Headers, queue.Header{Key: key, Value: []byte(value)})
	}
	if err := a.q.Append(t.Context(), "commands", 0, []queue.Message{m}); err != nil {
		t.Fatal(err)
	}
	var letters []cqrs.DeadLetter
	eventually(t, func() bool {
		var err error
		letters, err = a.rt.DeadLetters(t.Context())
		return err == nil && len(letters) == 1
	})
	command := letters[0].Command
	if command == nil || command.ID != id || command.Type != "counter/add" {
		t.Fatalf("%+v", command)
	}
	command.Data = []byte(`{"name":"k1","by":3}`)
	if err := a.rt.Resend(t.Context(), letters...); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		k1, err := counters.Get(a.rt.View(), "k1")
		return err == nil && k1.Value == 3
	})
}

// hearRecords reads the next n messages.
func hearRecords(t *testing.T, client *kgo.Client, n int) (list []map[string]string) {
	t.Helper()
	for len(list) < n {
		fetches := client.PollFetches(patience(t))
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			m := map[string]string{"value": string(r.Value)}
			for _, h := range r.Headers {
				m[h.Key] = string(h.Value)
			}
			list = append(list, m)
		})
	}
	return list
}

func TestGrowingOutOfOneMachine(t *testing.T) {
	c := newCluster(t, 1)
	dir := t.TempDir()
	rt, _, stop := start(t, dir, counterConfig())
	for range 20 {
		c.send(patience(t), rt, add{Name: "k1", By: 1})
		c.sent[len(c.sent)-1].elsewhere = true
	}
	stop()
	a := c.add(dir) // two lines of configuration later
	for range 20 {
		c.send(patience(t), a.rt, add{Name: "k1", By: 1})
	}
	c.check(a, c.add(""))
	if got := value(t, a.rt.View(), "k1"); got != 40 {
		t.Errorf("k1 is %d", got)
	}
}

func TestFolderWithCommandsThatWaitStaysWhereItIs(t *testing.T) {
	c := newCluster(t, 1)
	dir := t.TempDir()
	rt, err := cqrs.Open(dir, counterConfig())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rt.Send(t.Context(), add{Name: "k1"}); err != nil {
		t.Fatal(err)
	}
	rt.Close()
	cfg := counterConfig()
	cfg.Store = c.store
	if _, err := cqrs.Open(dir, cfg); err == nil || !strings.Contains(err.Error(), "1 commands wait") {
		t.Errorf("open gives %v", err)
	}
}

// A third process comes and goes all the time: work is given up and taken up again twice in each round.
func TestRebalancesAllTheTime(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	a, b := c.add(""), c.add("")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Second)
	defer cancel()
	stop := c.keepLoading(ctx, 8, a.rt, b.rt)
	dir, rounds, began, least := t.TempDir(), 0, time.Now(), time.Duration(0)
	if os.Getenv("CQRS_KAFKA") != "" && !testing.Short() {
		least = time.Minute
	}
	for ; rounds < 6 || time.Since(began) < least; rounds++ {
		m := c.add(dir)
		eventually(t, m.owns)
		c.progress(ctx, 10)
		m.stop()
		c.progress(ctx, 10)
	}
	stop()
	t.Logf("%d rounds in %v, %d commands", rounds, time.Since(began), len(c.sent))
	if least > 0 && rounds < 30 {
		t.Errorf("there were %d rounds, and a rebalance a second takes 30", rounds)
	}
	c.check(a, b, c.add(dir))
}

// owns tells whether the process works a shard.
func (m *member) owns() bool {
	return slices.ContainsFunc(m.rt.Health(), func(h cqrs.Health) bool { return h.Owner })
}

func TestOldMessagesAreTrimmedBesideAStoreOfItsOwn(t *testing.T) {
	dir := t.TempDir()
	cfg := counterConfig()
	cfg.Retention = time.Nanosecond
	s, err := bolt.Open(filepath.Join(t.TempDir(), "archive.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cfg.Store = s
	for range 2 { // it looks when it begins, and once a minute
		rt, _, stop := start(t, dir, cfg)
		for range 20 {
			mustDo(t, rt, add{Name: "k1", By: 1})
		}
		stop()
	}
	rt, _, stop := start(t, dir, cfg)
	mustDo(t, rt, add{Name: "k1", By: 1})
	if got := value(t, rt.View(), "k1"); got != 41 {
		t.Errorf("k1 is %d", got)
	}
	stop()
	q, err := boltqueue.Open(filepath.Join(dir, "queue"), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	for _, topic := range []string{"commands", "events", "feedback"} {
		if start, end, err := q.Bounds(t.Context(), topic, 0); err != nil || start < 35 || end < 41 {
			t.Errorf("%s has offsets %d to %d (%v)", topic, start, end, err)
		}
	}
}
