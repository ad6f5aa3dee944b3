package cqrs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
	"go.etcd.io/bbolt"
)

func equalJSON(t *testing.T, a, b any) bool {
	t.Helper()
	x, err := json.Marshal(a)
	y, err2 := json.Marshal(b)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return string(x) == string(y)
}

var errDisk = errors.New("the disk is on fire")

// failing are the ways in which a commit can end with an error.
var failing = []func(*bbolt.Tx) error{
	func(tx *bbolt.Tx) error { return errors.Join(errDisk, tx.Rollback()) },
	func(*bbolt.Tx) error { return errDisk },
	func(tx *bbolt.Tx) error { return errors.Join(errDisk, tx.Commit()) },
}

// sometimes makes one commit in n fail, in any way; two in a row leave an outcome unknown. Commits run one at a time.
func sometimes(n *atomic.Int64, seed uint64) func(*bbolt.Tx) error {
	r := rand.New(rand.NewPCG(seed, 0))
	return func(tx *bbolt.Tx) error {
		if odds := int(n.Load()); odds == 0 || r.IntN(odds) > 0 {
			return tx.Commit()
		}
		return failing[r.IntN(len(failing))](tx)
	}
}

// Invariants 1, 2, 21 and 26: commits of the file fail in every way, also such that nobody can tell whether they took place. Each sender sends
// again under the same id until it hears how its command ended, and each command ends once.
func TestCommitsThatFail(t *testing.T) {
	seeds := 12
	if testing.Short() {
		seeds = 3
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			dir, odds := t.TempDir(), &atomic.Int64{}
			a := &audit{}
			cfg := withAudit(counterConfig(), a)
			cfg.Log = slog.New(slog.DiscardHandler)
			rt, _, stop := start(t, dir, cfg)
			cqrs.FailCommits(rt, sometimes(odds, seed))
			odds.Store(3)
			ids, unknown := insist(t, rt, 8, 25)
			odds.Store(0)
			checkEnded(t, rt, ids)
			t.Logf("%d commands, %d unknown outcomes of Send", len(ids), unknown)
			stop()
			if got := slices.Compact(slices.Sorted(slices.Values(a.all()))); uint64(len(got)) != rt.View().T() {
				t.Errorf("the audit saw %d of %d commits", len(got), rt.View().T())
			}
		})
	}
}

// insist sends commands from many goroutines, each until it has ended.
func insist(t *testing.T, rt *cqrs.Runtime, senders, each int) (ids []uuid.UUID, unknown int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var mu sync.Mutex
	var all sync.WaitGroup
	for g := range senders {
		all.Go(func() {
			for i := range each {
				id := uuid.New()
				doubts, err := insistOn(ctx, rt, id, add{Name: fmt.Sprint("n", g%3), By: 1, Mode: []string{"", "reject", "nothing", "many"}[i%4]})
				mu.Lock()
				ids, unknown = append(ids, id), unknown+doubts
				mu.Unlock()
				if err != nil {
					t.Errorf("command %s: %v", id, err)
					return
				}
			}
		})
	}
	all.Wait()
	return ids, unknown
}

func insistOn(ctx context.Context, rt *cqrs.Runtime, id uuid.UUID, c add) (unknown int, err error) {
	for ctx.Err() == nil {
		r, err := rt.Send(ctx, c, cqrs.WithID(id))
		if errors.Is(err, cqrs.ErrUnknown) {
			unknown++
		}
		if err != nil {
			continue
		}
		if _, err = r.Wait(ctx); err == nil || isCommandError(err) {
			return unknown, nil
		}
		return unknown, err
	}
	return unknown, ctx.Err()
}

// asOf is add, decided on the value at its basis.
type asOf add

func (asOf) CommandType() string           { return "counter/as-of" }
func (asOf) Consistency() cqrs.Consistency { return cqrs.AsOfBasis }
func (c asOf) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	old, _ := counters.Get(d, c.Name)
	return []cqrs.Event{added{Name: c.Name, By: old.Value%7 + 1, Mode: c.Mode}}, nil
}

// unchanged is add, refused when its counter has changed since its basis.
type unchanged asOf

func (unchanged) CommandType() string           { return "counter/unchanged" }
func (unchanged) Consistency() cqrs.Consistency { return cqrs.Unchanged }
func (c unchanged) ProcessCommand(ctx context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	return asOf(c).ProcessCommand(ctx, d)
}

// mixture is a fixed list of commands of every kind, with what fails among them. Bases are given, as are ids and times.
func mixture(n int) []cqrs.Envelope {
	r := rand.New(rand.NewPCG(7, 7))
	types := []string{"counter/add", "counter/as-of", "counter/unchanged", "counter/add"}
	modes := []string{"", "", "", "reject-odd", "panic", "fold-error", "fold-panic", "fold-ignored", "many", "nothing", "random", "remark", "huge"}
	list := make([]cqrs.Envelope, n)
	for i := range list {
		basis := uint64(max(0, i/8-r.IntN(20)))
		data := fmt.Appendf(nil, `{"name":"n%d","by":%d,"mode":%q}`, r.IntN(6), 1+r.IntN(3), modes[r.IntN(len(modes))])
		list[i] = cqrs.Envelope{ID: uuid.UUID{0: byte(i), 1: byte(i >> 8), 6: 0x40, 15: byte(r.IntN(256))}, Type: types[r.IntN(len(types))],
			Time: time.UnixMilli(int64(1000 + r.IntN(500))), Basis: &basis, Code: "v1", Data: data}
		if i%29 == 28 {
			list[i] = list[r.IntN(i)] // comes again
		}
	}
	return list
}

// Invariants 4 and 5: the same commands in the same order give the same log, byte for byte, the same digest and the same rows at every t,
// however they are cut into batches and sent.
func TestBatchesDoNotShowInTheLog(t *testing.T) {
	list := mixture(500)
	type world struct {
		log    [][]byte
		digest cqrs.Digest
		values []string
		failed uint64
	}
	var worlds []world
	for _, c := range []struct{ batch, group int }{{1, 1}, {1000, 500}, {7, 100}, {1000, 13}} {
		cfg := counterConfig()
		cfg.Commands, cfg.Batch, cfg.Code = append(cfg.Commands, asOf{}, unchanged{}), c.batch, "v1"
		rt, err := cqrs.Open(t.TempDir(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		var receipts []*cqrs.Receipt
		for group := range slices.Chunk(list, c.group) {
			sent, err := rt.Submit(t.Context(), group...)
			if err != nil {
				t.Fatal(err)
			}
			receipts = append(receipts, sent...)
		}
		ended := make(chan error, 1)
		go func() { ended <- rt.Run(context.Background()) }()
		for _, r := range receipts {
			if _, err := r.Wait(patience(t)); err != nil && !isCommandError(err) {
				t.Fatal(err)
			}
		}
		records, _ := logOf(t, rt)
		w := world{failed: rt.Health()[0].Failed, log: bytesOf(records)}
		w.digest, _ = rt.Shard(0).Digest()
		if w.digest != cqrs.DigestOf(records) {
			t.Errorf("the digest %x is not that of the records", w.digest)
		}
		for at := uint64(0); at <= rt.View().T(); at += 11 {
			for row, err := range counters.All(rt.AsOf(at)) {
				w.values = append(w.values, fmt.Sprint(at, row, err))
			}
		}
		worlds = append(worlds, w)
		if err := errors.Join(rt.Close(), <-ended); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d commits, %d failed folds, digest %x", len(worlds[0].log), worlds[0].failed, worlds[0].digest[:4])
	for i, w := range worlds {
		if !reflect.DeepEqual(w, worlds[0]) {
			t.Errorf("run %d: %d commits, %d failed folds, digest %x; the rows are equal: %v", i, len(w.log), w.failed, w.digest[:4],
				slices.Equal(w.values, worlds[0].values))
		}
	}
	if worlds[0].failed == 0 || len(worlds[0].log) < len(list)/3 {
		t.Error("the mixture is too thin")
	}
}

func bytesOf(records []store.Record) (list [][]byte) {
	for i := range records {
		list = append(list, records[i].Append(nil))
	}
	return list
}
