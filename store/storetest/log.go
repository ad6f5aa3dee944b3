package storetest

import (
	"github.com/cqrs-server/cqrs/store"
)

var logTests = map[string]func(*suite){
	"log/from":         logFrom,
	"log/empty":        logEmpty,
	"log/out of order": logOutOfOrder,
	"log/many shards":  logManyShards,
	"log/gap":          logGap,
	"log/stopped":      logStopped,
	"log/follows":      logFollows,
	"log/large":        logLarge,
}

func logFrom(s *suite) {
	rs := s.records(1100)
	s.put(rs...)
	for _, from := range []uint64{0, 1, 2, 512, 513, 600, 1099, 1100} {
		s.logIs(from, rs[max(from, 1)-1:]...)
	}
	s.logIs(1101)
	s.logIs(1 << 62)
	s.lastIs(s.shard, 1100)
}

func (s *suite) lastIs(shard int, want uint64) {
	s.Helper()
	got, err := s.s.Last(s.Context(), shard)
	if err != nil || got != want {
		s.Fatalf("Last(%d) = %d, %v; want %d", shard, got, err, want)
	}
}

func logEmpty(s *suite) {
	s.logIs(0)
	s.logIs(1)
	s.lastIs(s.shard, 0)
}

func logOutOfOrder(s *suite) {
	rs := s.records(9)
	s.put(rs[6:]...)
	s.put(rs[5], rs[3], rs[4])
	s.put(rs[:3]...)
	s.logIs(1, rs...)
	s.lastIs(s.shard, 9)
}

// logManyShards has shards whose neighbours hold something, and some that hold nothing.
func logManyShards(s *suite) {
	first := s.shard
	var all []store.Record
	byShard := map[int][]store.Record{}
	for i := range 60 {
		shard := first + []int{0, 1, 255, 256, 257, 65536}[i*i%6]
		r := s.record("a")
		r.Shard, r.T = shard, uint64(len(byShard[shard])+1)
		byShard[shard] = append(byShard[shard], r)
		all = append(all, r)
	}
	s.put(all...)
	for _, d := range []int{-1, 0, 1, 2, 254, 255, 256, 257, 258, 65535, 65536, 65537} {
		if s.shard = first + d; s.shard < 0 {
			continue
		}
		s.logIs(1, byShard[s.shard]...)
		s.lastIs(s.shard, uint64(len(byShard[s.shard])))
	}
}

func logGap(s *suite) {
	rs := s.records(5)
	s.put(rs[0], rs[1], rs[3], rs[4])
	var got []store.Record
	var failed error
	for r, err := range s.s.Log(s.Context(), s.shard, 1) {
		if err != nil {
			failed = err
			break
		}
		got = append(got, r)
	}
	sameRecords(s.T, got, rs[:2])
	if failed == nil {
		s.Fatal("Log ended at a gap as if there was nothing behind it")
	}
	s.put(rs[2])
	s.logIs(1, rs...)
}

func logStopped(s *suite) {
	rs := s.records(5)
	s.put(rs...)
	var got []store.Record
	for r, err := range s.s.Log(s.Context(), s.shard, 2) {
		if err != nil {
			s.Fatal(err)
		}
		if got = append(got, r); len(got) == 2 {
			break
		}
	}
	sameRecords(s.T, got, rs[1:3])
}

// logFollows puts while it reads: the reader must not hold up the writer.
func logFollows(s *suite) {
	rs := s.records(20)
	s.put(rs[:10]...)
	n := 0
	for r, err := range s.s.Log(s.Context(), s.shard, 1) {
		if err != nil {
			s.Fatal(err)
		}
		sameRecord(s.T, r, rs[n])
		if n++; n == 1 {
			s.put(rs[10:]...)
		}
	}
	if n < 10 {
		s.Fatalf("got %d records, want 10 at least", n)
	}
	s.logIs(1, rs...)
}

// logLarge has records that are large together.
func logLarge(s *suite) {
	var rs []store.Record
	for range 30 {
		rs = append(rs, s.record(string(make([]byte, 100<<10))))
	}
	s.put(rs...)
	s.logIs(1, rs...)
	s.queryIs(store.Query{Type: s.kind}, entries(rs...)...)
}
