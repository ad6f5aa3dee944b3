package storetest

import (
	"slices"
	"time"

	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
)

var queryTests = map[string]func(*suite){
	"query/range":                queryRange,
	"query/parts of millisecond": queryParts,
	"query/limit":                queryLimit,
	"query/type":                 queryType,
	"query/all types":            queryAllTypes,
	"query/everything":           queryEverything,
	"query/order is by time":     queryOrder,
	"query/same time":            querySameTime,
	"query/before 1970":          queryBefore1970,
	"query/types in one commit":  queryMixedCommit,
	"query/stopped":              queryStopped,
	"query/no such type":         queryNoSuchType,
}

func queryRange(s *suite) {
	rs := s.records(10)
	s.put(rs...)
	at := func(i int) time.Time { return time.UnixMilli(rs[i].Time) }
	for _, c := range []struct {
		name     string
		from, to time.Time
		want     []store.Record
	}{
		{"all", time.Time{}, time.Time{}, rs},
		{"from the first", at(0), time.Time{}, rs},
		{"after the first", at(0).Add(time.Millisecond), time.Time{}, rs[1:]},
		{"to the last", time.Time{}, at(9), rs[:9]},
		{"behind the last", time.Time{}, at(9).Add(time.Millisecond), rs},
		{"between", at(3), at(6), rs[3:6]},
		{"one", at(3), at(3).Add(time.Millisecond), rs[3:4]},
		{"empty", at(3), at(3), nil},
		{"backwards", at(6), at(3), nil},
		{"before", at(0).Add(-time.Hour), at(0), nil},
		{"behind", at(9).Add(time.Second), at(9).Add(time.Hour), nil},
		{"another zone", at(3).In(time.FixedZone("", 7200)), at(6).In(time.FixedZone("", -7200)), rs[3:6]},
	} {
		s.Log(c.name)
		s.queryIs(store.Query{Type: s.kind, From: c.from, To: c.to}, entries(c.want...)...)
	}
}

// queryParts asks with times between two milliseconds.
func queryParts(s *suite) {
	r := s.record("a")
	s.put(r)
	at, all := time.UnixMilli(r.Time), entries(r)
	s.queryIs(store.Query{Type: s.kind, From: at.Add(-1)}, all...)
	s.queryIs(store.Query{Type: s.kind, From: at.Add(1)})
	s.queryIs(store.Query{Type: s.kind, To: at.Add(1)}, all...)
	s.queryIs(store.Query{Type: s.kind, To: at.Add(-1)})
}

func queryLimit(s *suite) {
	rs := s.records(700)
	s.put(rs...)
	for _, n := range []int{1, 2, 511, 512, 513, 699, 700, 701, 0} {
		want := rs
		if n > 0 {
			want = rs[:min(n, len(rs))]
		}
		s.queryIs(store.Query{Type: s.kind, Limit: n}, entries(want...)...)
	}
	s.queryIs(store.Query{Type: s.kind, From: time.UnixMilli(rs[5].Time), Limit: 2}, entries(rs[5:7]...)...)
}

// queryType has types of which one begins with another.
func queryType(s *suite) {
	rs := s.records(6)
	kinds := []string{s.kind, s.kind + "a", s.kind + "\x00", s.kind + "\xff", s.kind[:len(s.kind)-1], s.kind + "a\x00\x01"}
	for i, kind := range kinds {
		rs[i].Events[0].Type = kind
	}
	s.put(rs...)
	for i, kind := range kinds {
		s.queryIs(store.Query{Type: kind}, entries(rs[i])...)
	}
}

func queryAllTypes(s *suite) {
	rs := s.records(40)
	for i := range rs {
		rs[i].Events[0].Type = s.kind + string(rune('a'+i*7%5))
	}
	s.put(rs...)
	from, to := time.UnixMilli(rs[10].Time), time.UnixMilli(rs[30].Time)
	s.queryIs(store.Query{From: from, To: to}, entries(rs[10:30]...)...)
	s.queryIs(store.Query{From: from, To: to, Limit: 7}, entries(rs[10:17]...)...)
}

// queryEverything shares the store with others, and looks for its own.
func queryEverything(s *suite) {
	rs := s.records(3)
	s.put(rs...)
	var got []store.Entry
	s.within(s.f.IndexLag, func() bool {
		got = nil
		for _, e := range collect(s.T, s.s.Query(s.Context(), store.Query{})) {
			if e.Type == s.kind {
				got = append(got, e)
			}
		}
		return len(got) == len(rs)
	})
	sameEntries(s.T, got, entries(rs...))
}

// queryOrder has commands whose times are not in the order of the log.
func queryOrder(s *suite) {
	rs := s.records(9)
	for i := range rs {
		rs[i].Time = s.base + int64(i*4%9)
	}
	s.put(rs...)
	s.logIs(1, rs...)
	slices.SortFunc(rs, func(a, b store.Record) int { return int(a.Time - b.Time) })
	s.queryIs(store.Query{Type: s.kind}, entries(rs...)...)
}

// querySameTime has ties, which go by shard, t and index.
func querySameTime(s *suite) {
	var rs []store.Record
	for _, shard := range []int{s.shard, s.shard + 1, s.shard + 300} {
		for t := range uint64(3) {
			r := s.record("a", "b")
			r.Shard, r.T, r.Time = shard, t+1, s.base
			rs = append(rs, r)
		}
	}
	want := entries(rs...)
	slices.Reverse(rs)
	s.put(rs...)
	s.queryIs(store.Query{Type: s.kind}, want...)
	s.queryIs(store.Query{Type: s.kind, Limit: 5}, want[:5]...)
	s.queryIs(store.Query{From: time.UnixMilli(s.base), To: time.UnixMilli(s.base + 1)}, want...)
}

func queryBefore1970(s *suite) {
	var rs []store.Record
	for _, at := range []int64{-62135596800001, -2208988800000, -256, -1, 0, 1, 255} {
		r := s.record("a")
		r.Time = at
		rs = append(rs, r)
	}
	s.put(rs...)
	s.holds(rs...)
	s.queryIs(store.Query{Type: s.kind}, entries(rs...)...)
	s.queryIs(store.Query{Type: s.kind, From: time.UnixMilli(-1)}, entries(rs[3:]...)...)
	s.queryIs(store.Query{Type: s.kind, To: time.UnixMilli(-1)}, entries(rs[:3]...)...)
	s.queryIs(store.Query{Type: s.kind, From: time.UnixMilli(-256), To: time.Unix(0, 0)}, entries(rs[2:4]...)...)
}

// queryMixedCommit has several types, in turn, in each commit.
func queryMixedCommit(s *suite) {
	var rs []store.Record
	for range 3 {
		r := s.record("a", "b", "c", "d", "e")
		r.Events[1].Type, r.Events[3].Type = s.kind+"2", s.kind+"2"
		r.Events[4].Type = s.kind + "3"
		rs = append(rs, r)
	}
	s.put(rs...)
	var first, second []store.Entry
	for _, r := range rs {
		e := entries(r)
		first, second = append(first, e[0], e[2]), append(second, e[1], e[3])
	}
	s.queryIs(store.Query{Type: s.kind}, first...)
	s.queryIs(store.Query{Type: s.kind + "2"}, second...)
	s.queryIs(store.Query{Type: s.kind + "2", Limit: 3}, second[:3]...)
	from, to := time.UnixMilli(rs[0].Time), time.UnixMilli(rs[2].Time+1)
	s.queryIs(store.Query{From: from, To: to}, entries(rs...)...)
}

func queryStopped(s *suite) {
	rs := s.records(5)
	s.put(rs...)
	s.queryIs(store.Query{Type: s.kind}, entries(rs...)...)
	var got []store.Entry
	for e, err := range s.s.Query(s.Context(), store.Query{Type: s.kind}) {
		if err != nil {
			s.Fatal(err)
		}
		if got = append(got, e); len(got) == 2 {
			break
		}
	}
	sameEntries(s.T, got, entries(rs[:2]...))
}

func queryNoSuchType(s *suite) {
	s.put(s.record("a"))
	s.queryIs(store.Query{Type: uuid.NewString()})
}
