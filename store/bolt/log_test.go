package bolt

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/store"
	"go.etcd.io/bbolt"
)

// checkChunks checks that no chunk of the log begins before the one in front of it ends, and that none is too long.
func checkChunks(tx *bbolt.Tx) error {
	shard, last := -1, uint64(0)
	return tx.Bucket(logBucket).ForEach(func(key, value []byte) error {
		r, err := openRecords(key, value)
		if err != nil {
			return err
		}
		if shardOf(key) == shard && r.first <= last {
			return fmt.Errorf("the chunk at t %d begins before t %d, where another ends", r.first, last)
		}
		if r.n > 1 && len(value) > maxChunk {
			return fmt.Errorf("the chunk at t %d has %d bytes for %d records", r.first, len(value), r.n)
		}
		shard, last = shardOf(key), r.last()
		return nil
	})
}

func sized(t uint64, size int) store.Record {
	r := record(0, t, "x")
	r.Events[0].Data = make([]byte, size)
	return r
}

// chunksOf gives how many records each chunk of the log has.
func chunksOf(t *testing.T, f *boltfile.File) (counts []int) {
	t.Helper()
	err := f.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(logBucket).ForEach(func(key, value []byte) error {
			r, err := openRecords(key, value)
			counts = append(counts, r.n)
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

// TestChunksOfTheLog checks what shares a chunk: it is what makes the log cheap.
func TestChunksOfTheLog(t *testing.T) {
	overhead := len(encode(new(arena), new(sized(1, 1000)))) - chunkTail - 1000
	for name, c := range map[string]struct {
		records []store.Record
		want    []int
	}{
		"follow one another": {[]store.Record{sized(1, 10), sized(2, 10), sized(3, 10)}, []int{3}},
		"a gap":              {[]store.Record{sized(1, 10), sized(3, 10), sized(4, 10)}, []int{1, 2}},
		"backwards":          {[]store.Record{sized(3, 10), sized(2, 10), sized(1, 10)}, []int{1, 1, 1}},
		"fills a gap":        {[]store.Record{sized(1, 10), sized(4, 10), sized(2, 10), sized(3, 10), sized(5, 10)}, []int{1, 2, 1, 1}},
		"shards in turn":     {[]store.Record{record(0, 1), record(1, 1), record(1, 2), record(0, 2)}, []int{1, 1, 2}},
		"a large one":        {[]store.Record{sized(1, 10), sized(2, 70_000), sized(3, 10), sized(4, 10)}, []int{1, 1, 2}},
		"as long as may be":  {[]store.Record{sized(1, 2000), sized(2, maxChunk-2004-2*overhead), sized(3, 10)}, []int{2, 1}},
		"one byte too long":  {[]store.Record{sized(1, 2000), sized(2, maxChunk-2003-2*overhead), sized(3, 10)}, []int{1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			f := openFile(t)
			s := On(f, f)
			if err := s.Put(t.Context(), c.records); err != nil {
				t.Fatal(err)
			}
			if got := chunksOf(t, f); !slices.Equal(got, c.want) {
				t.Errorf("the chunks have %v records, want %v", got, c.want)
			}
			checkFile(t, f)
			expectAll(t, s, c.records)
		})
	}
}

func expectAll(t *testing.T, s *Store, rs []store.Record) {
	t.Helper()
	for _, want := range rs {
		got, err := s.Commit(t.Context(), want.Command)
		if err != nil || got.T != want.T || string(got.Append(nil)) != string(want.Append(nil)) {
			t.Errorf("command %s: got t %d, %v; want t %d", want.Command, got.T, err, want.T)
		}
	}
}

func TestDamagedChunkOfTheLog(t *testing.T) {
	key := logKey(0, 5)
	for name, c := range map[string]struct{ key, value []byte }{
		"empty":         {key[:], nil},
		"one byte":      {key[:], []byte{1}},
		"no records":    {key[:], []byte{7, 0, 0}},
		"no ends":       {key[:], []byte{7, 3, 0}},
		"short key":     {key[:4], []byte{7, 1, 0}},
		"end behind":    {key[:], []byte{7, 9, 0, 2, 0}},
		"empty record":  {key[:], []byte{7, 0, 0, 2, 0}},
		"nothing in it": {key[:], []byte{1, 0}},
	} {
		r, err := openRecords(c.key, c.value)
		if err == nil {
			_, err = r.at(5)
		}
		if !errors.Is(err, errDamaged) {
			t.Errorf("%s: %v, want errDamaged", name, err)
		}
	}
	r, err := openRecords(key[:], []byte("abcdef\x01\x00\x03\x00\x03\x00"))
	if err != nil || r.last() != 7 {
		t.Fatalf("last is %d, %v; want 7", r.last(), err)
	}
	for at, want := range map[uint64]string{4: "", 5: "a", 6: "bc", 7: "def", 8: ""} {
		if got, err := r.at(at); string(got) != want || err != nil {
			t.Errorf("t %d is %q, %v; want %q", at, got, err, want)
		}
	}
}

// TestMemoryOfATransaction puts twice in a transaction, and then in others: no batch may write over another one's values.
func TestMemoryOfATransaction(t *testing.T) {
	f := openFile(t)
	s := On(f)
	var all []store.Record
	for range 5 {
		var rs []store.Record
		for range 300 {
			rs = append(rs, sized(uint64(len(all)+len(rs)+1), 100+len(rs)%7))
		}
		all = append(all, rs...)
		within(t, f, func(tx *bbolt.Tx) error {
			return errors.Join(s.PutTx(tx, rs[:100], true), s.PutTx(tx, rs[100:103], true), s.PutTx(tx, rs[103:], true))
		})
	}
	expectAll(t, s, all)
	checkFile(t, f)
}

// TestAllocations bounds what a batch costs: bbolt allocates with every Put.
func TestAllocations(t *testing.T) {
	const n = 1000
	fl := &filler{tb: t, f: openFile(t), command: newV7}
	fl.s = On(fl.f)
	batches := make(chan []store.Record, 21)
	for range cap(batches) {
		batches <- fl.batch(n)
	}
	if got := testing.AllocsPerRun(cap(batches)-1, func() { fl.put(<-batches, true) }); got > 2*n {
		t.Errorf("a batch of %d records took %.0f allocations, want at most two for each", n, got)
	}
}
