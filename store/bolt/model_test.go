package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/internal/ids"
	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
	"go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

// model says what a store must hold, record by record.
type model struct {
	byCommand map[uuid.UUID]store.Record
	byPlace   map[location]store.Record
}

// put tells whether the record must be taken without an error.
func (m *model) put(r store.Record) bool {
	at := location{uint32(r.Shard), r.T}
	if stored, ok := m.byCommand[r.Command]; ok {
		return stored.Shard == r.Shard && stored.T == r.T && bytes.Equal(stored.Append(nil), r.Append(nil))
	}
	if _, ok := m.byPlace[at]; ok {
		return false
	}
	m.byCommand[r.Command], m.byPlace[at] = r, r
	return true
}

func (m *model) log(shard int) (log []store.Record) {
	for at, r := range m.byPlace {
		if int(at.shard) == shard {
			log = append(log, r)
		}
	}
	slices.SortFunc(log, func(a, b store.Record) int { return int(a.T) - int(b.T) })
	return log
}

func (m *model) query(q store.Query) (found []place) {
	for at, r := range m.byPlace {
		for i, e := range r.Events {
			p := place{r.Time, int(at.shard), at.t, i}
			after, before := q.From.IsZero() || r.Time >= q.From.UnixMilli(), q.To.IsZero() || r.Time < q.To.UnixMilli()
			if (q.Type == "" || q.Type == e.Type) && after && before {
				found = append(found, p)
			}
		}
	}
	slices.SortFunc(found, place.compare)
	if q.Limit > 0 && len(found) > q.Limit {
		found = found[:q.Limit]
	}
	return found
}

// TestAgainstModel puts records in any order, some twice, some with other bytes, some at a place that is taken, in batches
// of any size, several to a transaction, and rolls some back.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := openFile(t)
		defer f.Close()
		s := On(f, f, f)
		m := &model{byCommand: map[uuid.UUID]store.Record{}, byPlace: map[location]store.Record{}}
		all := universe(rt)
		for range rapid.IntRange(1, 8).Draw(rt, "transactions") {
			transact(rt, f, s, m, all)
		}
		m.check(rt, s)
		checkFile(rt, f)
	})
}

// universe are the records that a test puts: some share a command or a place.
func universe(t *rapid.T) (all []store.Record) {
	sizes := rapid.SampledFrom([][]int{{0, 10}, {300}, {10, 900, 3000, 5000}}).Draw(t, "sizes")
	spread := rapid.SampledFrom([]int64{1, 50, 100_000}).Draw(t, "spread")
	for i := range rapid.IntRange(1, 150).Draw(t, "records") {
		r := store.Record{Envelope: store.Envelope{Shard: i % 3 % rapid.IntRange(1, 3).Draw(t, "shards"), T: uint64(i/2 + 1), Command: anyCommand(t, uint64(i))}}
		r.Time = int64(i)*10 + rapid.Int64Range(-spread, spread).Draw(t, "time")
		for j := range rapid.IntRange(0, 3).Draw(t, "events") {
			e := store.Event{Index: j, ID: ids.Event(r.Command, j, "1"), Segment: "1", Type: rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "type")}
			e.Data = make([]byte, rapid.SampledFrom(sizes).Draw(t, "size"))
			r.Events = append(r.Events, e)
		}
		all = append(all, r)
	}
	return all
}

func anyCommand(t *rapid.T, i uint64) uuid.UUID {
	switch rapid.IntRange(0, 3).Draw(t, "kind of id") {
	case 0:
		return alike(i)
	case 1:
		return uuid.NewSHA1(uuid.Nil, []byte{byte(i)})
	case 2:
		return tightID(i%10, 7) // that of another record, now and then
	}
	return uuid.Must(uuid.NewV7())
}

// alike gives ids that have one prefix in the index by command.
func alike(i uint64) (id uuid.UUID) {
	binary.BigEndian.PutUint64(id[:], i)
	binary.BigEndian.PutUint64(id[8:], mix(i))
	return id
}

func transact(t *rapid.T, f *boltfile.File, s *Store, m *model, all []store.Record) {
	tx, err := f.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback() // a check that fails must not leave the file locked
	after := &model{byCommand: cloneMap(m.byCommand), byPlace: cloneMap(m.byPlace)}
	for range rapid.IntRange(1, 3).Draw(t, "batches") {
		batch := drawBatch(t, all)
		known := after.allNew(batch) && rapid.Bool().Draw(t, "known")
		refused := 0
		for _, r := range batch {
			if !after.put(r) {
				refused++
			}
		}
		checkRefused(t, s.PutTx(tx.Tx, batch, known), refused)
	}
	if rapid.IntRange(0, 4).Draw(t, "roll back") == 0 {
		err = tx.Rollback()
	} else {
		err, *m = tx.Commit(), *after
	}
	if err != nil {
		t.Fatal(err)
	}
}

func cloneMap[K comparable, V any](m map[K]V) map[K]V {
	c := map[K]V{}
	for k, v := range m {
		c[k] = v
	}
	return c
}

// drawBatch takes a piece of the records, in order, backwards, or in a mix with some changed.
func drawBatch(t *rapid.T, all []store.Record) []store.Record {
	from := rapid.IntRange(0, len(all)-1).Draw(t, "from")
	batch := slices.Clone(all[from:rapid.IntRange(from, len(all)).Draw(t, "to")])
	switch rapid.IntRange(0, 3).Draw(t, "order") {
	case 0:
		slices.Reverse(batch)
	case 1:
		batch = rapid.Permutation(batch).Draw(t, "order of records")
	case 2:
		batch = append(batch, batch...)
		for i := range batch {
			if rapid.IntRange(0, 9).Draw(t, "changed") == 0 {
				batch[i].Key = "changed"
			}
		}
	}
	return batch
}

// allNew tells whether the batch may be put as known.
func (m *model) allNew(batch []store.Record) bool {
	seen := map[uuid.UUID]bool{}
	for _, r := range batch {
		if _, stored := m.byCommand[r.Command]; stored || seen[r.Command] {
			return false
		}
		seen[r.Command] = true
	}
	return true
}

func checkRefused(t *rapid.T, err error, want int) {
	got := 0
	if err != nil {
		if !Refused(err) {
			t.Fatal(err)
		}
		got = 1 + strings.Count(err.Error(), "\n")
	}
	if got != want {
		t.Fatalf("%d records were refused, want %d: %v", got, want, err)
	}
}

func (m *model) check(t *rapid.T, s *Store) {
	for command, want := range m.byCommand {
		got, err := s.Commit(context.Background(), command)
		if err != nil || got.Shard != want.Shard || got.T != want.T || !bytes.Equal(got.Append(nil), want.Append(nil)) {
			t.Fatalf("command %s: got t %d, %v; want t %d", command, got.T, err, want.T)
		}
		for _, e := range want.Events {
			if got, err := s.Event(context.Background(), e.ID); err != nil || got.ID != e.ID || got.T != want.T || !bytes.Equal(got.Data, e.Data) {
				t.Fatalf("event %s: %v", e.ID, err)
			}
		}
	}
	for shard := range 3 {
		m.checkLog(t, s, shard)
	}
	for range 10 {
		m.checkQuery(t, s)
	}
}

func (m *model) checkLog(t *rapid.T, s *Store, shard int) {
	log, last := m.log(shard), uint64(0)
	if len(log) > 0 {
		last = log[len(log)-1].T
	}
	if got, err := s.Last(context.Background(), shard); err != nil || got != last {
		t.Fatalf("the last t of shard %d is %d, %v; want %d", shard, got, err, last)
	}
	from := rapid.Uint64Range(1, last+2).Draw(t, "from")
	next := from
	for r, err := range s.Log(context.Background(), shard, from) {
		_, there := m.byPlace[location{uint32(shard), next}]
		if err != nil && (there || next > last || !strings.Contains(err.Error(), "is missing")) {
			t.Fatalf("at t %d of shard %d: %v", next, shard, err)
		}
		if err != nil {
			return
		}
		if want := m.byPlace[location{uint32(shard), next}]; r.T != next || !bytes.Equal(r.Append(nil), want.Append(nil)) {
			t.Fatalf("the log of shard %d has t %d where t %d belongs", shard, r.T, next)
		}
		next++
	}
	if next <= last {
		t.Fatalf("the log of shard %d ends at t %d without an error, and not at %d", shard, next-1, last)
	}
}

func (m *model) checkQuery(t *rapid.T, s *Store) {
	q := store.Query{Type: rapid.SampledFrom([]string{"", "x", "y", "none"}).Draw(t, "type"), Limit: rapid.IntRange(0, 20).Draw(t, "limit")}
	if rapid.Bool().Draw(t, "bounded") {
		q.From = time.UnixMilli(rapid.Int64Range(-1000, 2000).Draw(t, "from"))
		q.To = q.From.Add(time.Duration(rapid.IntRange(0, 2000).Draw(t, "length")) * time.Millisecond)
	}
	want, i := m.query(q), 0
	for e, err := range s.Query(context.Background(), q) {
		if err != nil || i == len(want) || placeOf(&e) != want[i] {
			t.Fatalf("entry %d of %d of %+v is %+v: %v", i, len(want), q, placeOf(&e), err)
		}
		i++
	}
	if i < len(want) {
		t.Fatalf("%+v gave %d entries, want %d", q, i, len(want))
	}
}

// checkFile lets bbolt check its pages, and checks that chunks and blocks are as they should be.
func checkFile(t fataler, f *boltfile.File) {
	err := f.View(func(tx *bbolt.Tx) error {
		var errs []error
		for err := range tx.Check() {
			errs = append(errs, err)
		}
		if tx.Bucket(logBucket) == nil {
			return errors.Join(errs...)
		}
		return errors.Join(append(errs, checkChunks(tx), checkBlocks(tx))...)
	})
	if err != nil {
		t.Fatal(err)
	}
}
