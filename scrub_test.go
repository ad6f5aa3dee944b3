package cqrs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cqrs-server/cqrs"
	"github.com/google/uuid"
	"go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

func scrubbed(t *testing.T, rt *cqrs.Runtime) cqrs.ScrubReport {
	t.Helper()
	report, err := rt.Scrub(patience(t), cqrs.ScrubOptions{Tables: true})
	if err != nil {
		t.Fatal(err)
	}
	if report.Different != uint64(len(report.Differences)) && report.Different <= 100 {
		t.Errorf("%d differences, and %d listed", report.Different, len(report.Differences))
	}
	return report
}

// damaged is a folder that a test damages: ten withdrawals from a, two from b, and one event whose fold failed.
type damaged struct {
	*testing.T
	rt  *cqrs.Runtime
	ids []uuid.UUID // of the commands, by t-1
}

// Every kind of damage is named, and nothing else is.
func TestScrubNamesDamage(t *testing.T) {
	const (
		marks   = "marks"
		rows    = "aggregate/main@/rows/purses"
		index   = "aggregate/main@/rows/purses/left"
		history = "aggregate/main@/history"
		groups  = "aggregate/main@/groups"
		failed  = "aggregate/main@/failed"
	)
	other := uuid.MustParse("0190a0a0-0000-7000-8000-000000000001")
	for _, test := range []struct {
		name   string
		damage func(d *damaged)
		n      int // differences
		want   []string
	}{
		{"nothing", func(*damaged) {}, 0, nil},

		{"no mark", func(d *damaged) { d.drop(marks, d.ids[2][:]) }, 1, []string{"t 3, command <3> (account/withdraw): its command has no mark"}},
		{"a mark with another t", func(d *damaged) { d.put(marks, d.ids[2][:], cqrs.MarkBytes(5, d.payload(3))) }, 1,
			[]string{"t 3, command <3>", "the mark of its command says t 5"}},
		{"a mark with another payload", func(d *damaged) { d.put(marks, d.ids[2][:], cqrs.MarkBytes(3, [16]byte{1})) }, 1,
			[]string{"t 3, command <3>", "is for another payload"}},
		{"a mark that says refused", func(d *damaged) { d.put(marks, d.ids[2][:], cqrs.MarkBytes(0, d.payload(3))) }, 1,
			[]string{"t 3, command <3>", "says that it was refused"}},
		{"a mark that is cut off", func(d *damaged) { d.put(marks, d.ids[2][:], []byte{1}) }, 1,
			[]string{"t 3, command <3>", "the mark of its command can't be read"}},
		{"a mark without a commit", func(d *damaged) { d.put(marks, other[:], cqrs.MarkBytes(4, [16]byte{})) }, 1,
			[]string{"t 4, command " + other.String() + ": a mark says that the command was accepted, and there is no commit of it"}},
		{"a mark of the future", func(d *damaged) { d.put(marks, other[:], cqrs.MarkBytes(99, [16]byte{})) }, 1,
			[]string{"t 99, command " + other.String(), "still to come"}},

		{"a row that was changed", func(d *damaged) {
			d.change(rows, "a", func(raw []byte) []byte { raw[len(raw)-1] ^= 1; return raw })
		}, 1, []string{`t 10, command <10> (account/withdraw), purses "a"`, "it has other bytes than the log gives it"}},
		{"a row that is missing", func(d *damaged) { d.drop(rows, d.find(rows, "b")) }, 2, []string{
			`t 12, command <12> (account/withdraw), purses "b"`, "it is missing", "the version before it is not found"}},
		{"a row too many", func(d *damaged) { d.put(rows, []byte("c"), cqrs.RowBytes(4, []byte{0xa0})) }, 1,
			[]string{`purses "c"`, "it does not follow from the log"}},
		{"a row that can't be read", func(d *damaged) { d.change(rows, "a", func([]byte) []byte { return []byte{} }) }, 11,
			[]string{`purses "a"`, "can't be read: the file is damaged"}},

		{"an index entry that is missing", func(d *damaged) { d.drop(index, d.firstLive(index)) }, 1, []string{
			"purses/left", "it is missing"}},
		{"an index entry too many", func(d *damaged) { d.put(index, []byte("zz"), cqrs.RowBytes(4, []byte("a"))) }, 1,
			[]string{`purses/left "zz"`, "it does not follow from the log"}},
		{"an index entry that leads to another row", func(d *damaged) {
			key := d.firstLive(index)
			d.put(index, key, cqrs.RowBytes(12, []byte("a")))
		}, 1, []string{"purses/left", "it has other bytes than the log gives it"}},

		{"an old version that was changed", func(d *damaged) {
			d.each(history, func(v []byte) []byte { return bytes.Replace(v, []byte("dLeft\x22"), []byte("dLeft\x23"), 1) })
		}, 1, []string{"the version before it has other bytes than the log gives it", `purses "a"`}},
		{"old versions that are missing", func(d *damaged) { d.drop(history, d.keys(history)[1]) }, 3,
			[]string{"t 2, command <2> (account/withdraw), purses", "of the version before it nothing is kept"}},
		{"versions that are not found", func(d *damaged) { d.drop(groups, d.keys(groups)[0]) }, 8,
			[]string{`t 2, command <2> (account/withdraw), purses "a"`, "the version before it is not found: as of t 1 it reads"}},

		{"an event of the log that was changed", func(d *damaged) {
			d.each("store/log", func(v []byte) []byte { return bytes.Replace(v, []byte(`"By":3`), []byte(`"By":9`), 1) })
		}, 1, []string{"t 3: the commits from t 3 to t 3 do not give the digest that t 4 rests on"}},
		{"an event of the log whose effect was changed", func(d *damaged) {
			d.each("store/log", func(v []byte) []byte { return bytes.Replace(v, []byte(`"Left":-78`), []byte(`"Left":-79`), 1) })
		}, 6, []string{"the commits from t 12 to t 12 do not give", `t 12, command <12> (account/withdraw), purses "b"`}},
		{"a commit that is missing", func(d *damaged) { d.drop("store/log", d.keys("store/log")[2]) }, 3,
			[]string{"t 3: the log can't give this commit", "can't be read any further", "the log can't be folded"}},
		{"an event that is not found by its id", func(d *damaged) { d.drop("store/event", d.keys("store/event")[0]) }, -1,
			[]string{"event 0: event ", "is not found by its id"}},
		{"commits that are not found by their commands", func(d *damaged) { d.drop("store/command", d.keys("store/command")[0]) }, -1,
			[]string{"it is not found by its command"}},
		{"events that are not found by type and time", func(d *damaged) { d.drop("store/time", d.keys("store/time")[0]) }, -1,
			[]string{"event 0: event ", "(account/withdrawn, time ", "is not found by type and time"}},

		{"the digest of the aggregate", func(d *damaged) {
			cqrs.ChangePosition(d.T, d.rt, func(_ *uint64, digest *cqrs.Digest) { digest[0] ^= 1 })
		}, 1, []string{"t 13, ", "do not give the digest of the aggregate"}},
		{"the number of failed folds", func(d *damaged) {
			cqrs.ChangePosition(d.T, d.rt, func(failed *uint64, _ *cqrs.Digest) { *failed++ })
		}, 1, []string{"says that 2 folds failed, and its list has 1"}},
		{"the list of failed folds", func(d *damaged) {
			d.drop(failed, cqrs.FailedKey(13, 0))
			d.put(failed, cqrs.FailedKey(2, 0), []byte("x"))
		}, 2, []string{"t 13, command <13> (account/withdraw), event 0: the fold of this event fails now",
			"t 2, command <2> (account/withdraw), event 0: the fold of this event passes now"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := &damaged{T: t}
			cfg := bankConfig()
			cfg.Aggregator = refusing{banking{}}
			var stop func()
			dir := t.TempDir()
			d.rt, _, stop = start(t, dir, cfg)
			for i := range 10 {
				d.ids = append(d.ids, mustDo(t, d.rt, withdraw{Name: "a", By: i + 1}).Command)
			}
			d.ids = append(d.ids, mustDo(t, d.rt, withdraw{Name: "b", By: 1}).Command, mustDo(t, d.rt, withdraw{Name: "b", By: 77}).Command)
			d.ids = append(d.ids, mustDo(t, d.rt, withdraw{Name: "fails", By: 1}).Command)
			stop()
			var err error
			if d.rt, err = cqrs.Open(dir, cfg); err != nil { // it does not run: work would write over the damage
				t.Fatal(err)
			}
			defer d.rt.Close()
			test.damage(d)
			report := scrubbed(t, d.rt)
			list := listOf(report.Differences)
			for i, id := range d.ids {
				list = strings.ReplaceAll(list, id.String(), fmt.Sprintf("<%d>", i+1))
			}
			if n := int(report.Different); n != test.n && (test.n >= 0 || n == 0) {
				t.Errorf("%d differences, wanted %d:\n%s", n, test.n, list)
			}
			for _, want := range test.want {
				if !strings.Contains(list, want) {
					t.Errorf("%q is not in\n%s", want, list)
				}
			}
			if report.Rows == 0 && !strings.Contains(list, "can't be folded") {
				t.Errorf("%+v", report)
			}
			if test.name == "nothing" && (report.Commits != 13 || report.Events != 13 || len(report.Failed) != 1 || report.Failed[0].T != 13) {
				t.Errorf("%+v", report)
			}
		})
	}
}

// refusing has the fold of one account fail.
type refusing struct{ cqrs.Aggregator }

func (f refusing) AggregateEvent(ctx context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	if e, ok := e.(withdrawn); ok && e.Name == "fails" {
		return errors.New("as asked")
	}
	return f.Aggregator.AggregateEvent(ctx, tx, e)
}

func (d *damaged) bucket(name string, fn func(*bbolt.Bucket) error) {
	d.Helper()
	cqrs.Damage(d.T, d.rt, func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(name))
		if b == nil {
			return fmt.Errorf("no bucket %q", name)
		}
		return fn(b)
	})
}

func (d *damaged) drop(name string, key []byte) {
	d.Helper()
	d.bucket(name, func(b *bbolt.Bucket) error {
		if b.Get(key) == nil {
			return fmt.Errorf("%s has no key %q", name, key)
		}
		return b.Delete(key)
	})
}

func (d *damaged) put(name string, key, value []byte) {
	d.Helper()
	d.bucket(name, func(b *bbolt.Bucket) error { return b.Put(key, value) })
}

func (d *damaged) keys(name string) (keys [][]byte) {
	d.Helper()
	d.bucket(name, func(b *bbolt.Bucket) error {
		return b.ForEach(func(k, _ []byte) error { keys = append(keys, bytes.Clone(k)); return nil })
	})
	return keys
}

// find gives the key that begins with that text.
func (d *damaged) find(name, text string) []byte {
	d.Helper()
	for _, k := range d.keys(name) {
		if bytes.HasPrefix(k, []byte(text)) {
			return k
		}
	}
	d.Fatalf("%s has no key that begins with %q", name, text)
	return nil
}

// firstLive gives the first key of an index whose entry is there.
func (d *damaged) firstLive(name string) (key []byte) {
	d.Helper()
	d.bucket(name, func(b *bbolt.Bucket) error {
		return b.ForEach(func(k, v []byte) error {
			if key == nil && len(cqrs.RowOf(d.T, v)) > 0 {
				key = bytes.Clone(k)
			}
			return nil
		})
	})
	return key
}

func (d *damaged) change(name, text string, fn func([]byte) []byte) {
	d.Helper()
	key := d.find(name, text)
	d.bucket(name, func(b *bbolt.Bucket) error { return b.Put(key, fn(bytes.Clone(b.Get(key)))) })
}

// each puts other values in place of the first one that fn changes.
func (d *damaged) each(name string, fn func([]byte) []byte) {
	d.Helper()
	d.bucket(name, func(b *bbolt.Bucket) error {
		c := b.Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if changed := fn(bytes.Clone(v)); !bytes.Equal(changed, v) {
				return b.Put(bytes.Clone(k), changed)
			}
		}
		return fmt.Errorf("nothing in %s was changed", name)
	})
}

func (d *damaged) payload(t uint64) [16]byte {
	d.Helper()
	r, err := d.rt.Store().Commit(d.Context(), d.ids[t-1])
	if err != nil {
		d.Fatal(err)
	}
	return r.Payload
}

func TestScrubOfSoundDataFindsNothing(t *testing.T) {
	rt := bankHistory(t, bankConfig())
	report := scrubbed(t, rt)
	if report.Different > 0 || report.Commits != 5 || report.Events != 5 || report.Rows == 0 {
		t.Errorf("%+v\n%s", report, listOf(report.Differences))
	}
}

// Whatever a program does, what it leaves has no difference.
func TestScrubOfRandomWork(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModelRun(t)
		for range rapid.IntRange(1, 6).Draw(t, "actions") {
			m.action(t)
		}
		report, err := m.rt.Scrub(t.Context(), cqrs.ScrubOptions{Tables: true})
		if err != nil || report.Different > 0 || report.Commits != m.t() || len(report.Failed) != min(int(m.failed), 100) {
			t.Fatalf("%v %+v\n%s", err, report, listOf(report.Differences))
		}
	})
}

// Beside running work, with hardly any history, with an aggregate that follows and in several shards, both find nothing.
func TestAuditAndScrubBesideTheWork(t *testing.T) {
	for _, keep := range []uint64{0, 1} {
		cfg := counterConfig()
		cfg.KeepHistory, cfg.Shards, cfg.Batch = keep, 2, 20
		cfg.Aggregates = []cqrs.Aggregate{{Name: "amounts", Aggregator: byAmount{factor: 1}, Tables: []cqrs.AnyTable{amounts}}}
		rt, _, _ := start(t, t.TempDir(), cfg)
		ctx, cancel := context.WithCancel(patience(t))
		var senders sync.WaitGroup
		for n := range 4 {
			senders.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					name := fmt.Sprint(n, i%50)
					mode := []string{"", "", "reject-odd", "many", "fold-error", "random"}[i%6]
					r, err := rt.Send(ctx, add{Name: name, By: i % 7, Mode: mode}, cqrs.WithKey(name))
					if err == nil {
						_, _ = r.Wait(ctx)
					}
				}
			})
		}
		for rt.Shard(0).View().T()+rt.Shard(1).View().T() < 200 {
			mustDeadline(t, ctx)
		}
		for range 3 {
			audit, err := rt.Audit(ctx, cqrs.AuditOptions{})
			if err != nil || audit.Different > 0 || audit.Checked == 0 {
				t.Errorf("%v %+v\n%s", err, audit, listOf(audit.Differences))
			}
			scrub, err := rt.Scrub(ctx, cqrs.ScrubOptions{Tables: true})
			if err != nil || scrub.Different > 0 || scrub.Commits < 200 || scrub.Rows == 0 {
				t.Errorf("%v %+v\n%s", err, scrub, listOf(scrub.Differences))
			}
		}
		cancel()
		senders.Wait()
		if report := scrubbed(t, rt); report.Different > 0 {
			t.Errorf("%+v\n%s", report, listOf(report.Differences))
		}
	}
}

// An aggregate beside the main one is compared too.
func TestScrubOfAnotherAggregate(t *testing.T) {
	cfg := counterConfig()
	cfg.Aggregates = []cqrs.Aggregate{{Name: "amounts", Aggregator: &drifting{}, Tables: []cqrs.AnyTable{amounts}}}
	rt, _, _ := start(t, t.TempDir(), cfg)
	fill(t, rt, 3)
	if _, err := rt.Shard(0).Aggregate("amounts").AtLeast(patience(t), 3); err != nil {
		t.Fatal(err)
	}
	report := scrubbed(t, rt)
	if report.Different != 3 || !strings.Contains(listOf(report.Differences), "amounts: amounts") {
		t.Errorf("%+v\n%s", report, listOf(report.Differences))
	}
}

// drifting folds otherwise each time.
type drifting struct {
	mu sync.Mutex
	n  int
}

func (f *drifting) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	return amounts.Put(tx, amount{e.(added).By, f.n})
}

func TestScrubStopsWithItsContextAndTellsOfItsProgress(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	fill(t, rt, 30)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := rt.Scrub(ctx, cqrs.ScrubOptions{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	var heard, of uint64
	report, err := rt.Scrub(t.Context(), cqrs.ScrubOptions{Progress: func(n, all uint64) { heard, of = n, all }})
	if err != nil || heard != of || heard < 30 || report.Rows > 0 || report.Commits != 30 {
		t.Errorf("%d of %d, %+v, %v", heard, of, report, err)
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := rt.Scrub(t.Context(), cqrs.ScrubOptions{}); !errors.Is(err, cqrs.ErrClosed) {
		t.Error(err)
	}
}

// On a queue that several processes share, each checks its own files, a replica too.
func TestAuditAndScrubInACluster(t *testing.T) {
	c := newCluster(t, 2)
	worker, replica := c.add(""), c.add("", func(cfg *cqrs.Config) { cfg.Role = cqrs.Replica })
	for i := range 40 {
		mode := []string{"", "reject-odd", "many", "reject"}[i%4]
		_, _ = do(t, worker.rt, add{Name: fmt.Sprint(i % 5), By: i % 3, Mode: mode}, cqrs.WithKey(fmt.Sprint(i%5)))
	}
	for n := range 2 {
		if _, err := replica.rt.Shard(n).AtLeast(patience(t), worker.rt.Shard(n).View().T()); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []*member{worker, replica} {
		audit := audited(t, m.rt, rules{})
		if audit.Different > 0 || audit.Checked < 20 {
			t.Errorf("%+v\n%s", audit, listOf(audit.Differences))
		}
		if scrub := scrubbed(t, m.rt); scrub.Different > 0 || scrub.Rows == 0 {
			t.Errorf("%+v\n%s", scrub, listOf(scrub.Differences))
		}
	}
	sender := c.add("", func(cfg *cqrs.Config) { cfg.Role = cqrs.Sender })
	if _, err := sender.rt.Audit(t.Context(), cqrs.AuditOptions{}); err == nil {
		t.Error("a sender audited")
	}
	if _, err := sender.rt.Scrub(t.Context(), cqrs.ScrubOptions{}); err == nil {
		t.Error("a sender scrubbed")
	}
}

// interrupted has something happen once, in the middle of the fold of a t.
type interrupted struct {
	cqrs.Aggregator
	next *atomic.Pointer[moment]
}

type moment struct {
	t       uint64
	happens func()
}

func (f interrupted) AggregateEvent(ctx context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	if m := f.next.Load(); m != nil && m.t == tx.T() && f.next.CompareAndSwap(m, nil) {
		m.happens()
	}
	return f.Aggregator.AggregateEvent(ctx, tx, e)
}

// When the history that Scrub would read is pruned meanwhile, it goes on with what is there, and still compares everything.
func TestScrubWhileTheHistoryIsPruned(t *testing.T) {
	cfg, next := bankConfig(), &atomic.Pointer[moment]{}
	cfg.Aggregator, cfg.KeepHistory = interrupted{banking{}, next}, 1
	rt, _, _ := start(t, t.TempDir(), cfg)
	work := func(n int) {
		for range n {
			mustDo(t, rt, withdraw{Name: "a", By: 1})
		}
	}
	work(10)
	next.Store(&moment{1, func() { // these are folded by the scrub: the shard has done with them
		work(200)
		next.Store(&moment{100, func() { work(200) }})
	}})
	report := scrubbed(t, rt)
	if report.Different > 0 || report.Commits != 10 || report.Rows < 2 || rt.View().T() != 410 {
		t.Errorf("%+v\n%s", report, listOf(report.Differences))
	}
}

var (
	plainPurses   = cqrs.NewTable("grown", func(p purse) string { return p.Name })
	indexedPurses = cqrs.NewTable("grown", func(p purse) string { return p.Name })
	_             = cqrs.NewIndex(indexedPurses, "left", func(p purse) int { return p.Left })
)

type growing struct{ table *cqrs.Table[string, purse] }

func (f growing) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	return f.table.Put(tx, purse{e.(withdrawn).Name, e.(withdrawn).Left})
}

// An index that was added over rows that were there has no history of before, and that is no difference.
func TestScrubOfAnIndexThatWasAddedLater(t *testing.T) {
	dir, cfg := t.TempDir(), bankConfig()
	cfg.Commands, cfg.Aggregator, cfg.Tables = []cqrs.Command{deposit{}}, growing{plainPurses}, []cqrs.AnyTable{plainPurses}
	rt, _, stop := start(t, dir, cfg)
	for i := range 20 {
		mustDo(t, rt, deposit{fmt.Sprint(i % 3), i})
	}
	stop()
	cfg.Aggregator, cfg.Tables = growing{indexedPurses}, []cqrs.AnyTable{indexedPurses}
	rt, _, _ = start(t, dir, cfg)
	for i := range 5 {
		mustDo(t, rt, deposit{fmt.Sprint(i % 2), i})
	}
	report := scrubbed(t, rt)
	if report.Different > 0 || report.Rows < 12 {
		t.Errorf("%+v\n%s", report, listOf(report.Differences))
	}
	if audit := audited(t, rt, rules{}); audit.Checked != 25 || audit.Different > 0 {
		t.Errorf("%+v", audit)
	}
}

// deposit reads nothing.
type deposit struct {
	Name string
	Left int
}

func (deposit) CommandType() string { return "account/deposit" }

func (c deposit) ProcessCommand(context.Context, *cqrs.Decision) ([]cqrs.Event, error) {
	return []cqrs.Event{withdrawn{c.Name, 0, c.Left}}, nil
}

// The digest of an aggregate beside the main one is compared, too.
func TestScrubOfAnotherAggregatesDigest(t *testing.T) {
	cfg, dir := counterConfig(), t.TempDir()
	cfg.Aggregates = []cqrs.Aggregate{{Name: "amounts", Aggregator: byAmount{factor: 1}, Tables: []cqrs.AnyTable{amounts}}}
	rt, _, stop := start(t, dir, cfg)
	fill(t, rt, 3)
	if _, err := rt.Shard(0).Aggregate("amounts").AtLeast(patience(t), 3); err != nil {
		t.Fatal(err)
	}
	stop()
	rt, err := cqrs.Open(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	cqrs.ChangeFollower(t, rt)
	report := scrubbed(t, rt)
	if report.Different != 1 || !strings.Contains(listOf(report.Differences), "amounts") {
		t.Errorf("%+v\n%s", report, listOf(report.Differences))
	}
}
