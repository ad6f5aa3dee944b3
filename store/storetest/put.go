package storetest

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
)

var putTests = map[string]func(*suite){
	"put/and get":                   putAndGet,
	"put/nothing":                   putNothing,
	"put/repeated":                  putRepeated,
	"put/twice in one call":         putTwiceInOneCall,
	"put/by many at once":           putByManyAtOnce,
	"put/keeps no bytes of callers": putKeepsNoBytes,
	"put/hostile strings":           putHostileStrings,
	"put/large payload":             putLargePayload,
	"put/large commit":              putLargeCommit,
	"put/many records":              putManyRecords,
	"put/durable":                   putDurable,
	"conflict/bytes of an event":    conflictEvent,
	"conflict/rest of the commit":   conflictCommit,
	"conflict/number of events":     conflictNumber,
	"conflict/another t":            conflictPlace,
	"conflict/others are written":   conflictPartial,
	"conflict/in one call":          conflictInOneCall,
}

func putAndGet(s *suite) {
	rs := []store.Record{s.record("a"), s.record("b", "c", ""), s.record()}
	s.put(rs...)
	s.holds(rs...)
}

func putNothing(s *suite) {
	s.put()
	s.logIs(1)
}

func putRepeated(s *suite) {
	rs := s.records(5)
	s.put(rs[:3]...)
	s.put(rs[1:]...)
	s.put(rs...)
	s.holds(rs...)
	s.logIs(1, rs...)
	s.queryIs(store.Query{Type: s.kind}, entries(rs...)...)
}

func putTwiceInOneCall(s *suite) {
	r := s.record("a", "b")
	s.put(r, clone(r))
	s.logIs(1, r)
	s.queryIs(store.Query{Type: s.kind}, entries(r)...)
}

func putByManyAtOnce(s *suite) {
	rs := s.records(20)
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			mine := slices.Clone(rs)
			slices.SortFunc(mine, func(a, b store.Record) int { return int(a.T%uint64(i+2)) - int(b.T%uint64(i+2)) })
			errs[i] = s.s.Put(s.Context(), mine)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		s.Fatal(err)
	}
	s.holds(rs...)
	s.logIs(1, rs...)
	s.queryIs(store.Query{Type: s.kind}, entries(rs...)...)
}

func putKeepsNoBytes(s *suite) {
	given := s.record("abc", "def")
	want := clone(given)
	s.put(given)
	spoil(&given)
	s.holds(want)

	commit, err := s.s.Commit(s.Context(), want.Command)
	if err != nil {
		s.Fatal(err)
	}
	spoil(&commit)
	for r, err := range s.s.Log(s.Context(), s.shard, 1) {
		if err != nil {
			s.Fatal(err)
		}
		spoil(&r)
	}
	s.queryIs(store.Query{Type: s.kind}, entries(want)...)
	for e, err := range s.s.Query(s.Context(), store.Query{Type: s.kind}) {
		if err != nil {
			s.Fatal(err)
		}
		_ = append(e.Data, "into the next"...)
		clear(e.Data)
	}
	s.holds(want)
	s.logIs(1, want)
}

// spoil writes over all bytes of a record, and behind them.
func spoil(r *store.Record) {
	clear(r.Prev)
	clear(r.Remarks)
	for i := range r.Events {
		_ = append(r.Events[i].Data, "into the next"...)
		clear(r.Events[i].Data)
	}
}

// hostile strings are legal everywhere but as the type of a query.
var hostile = map[string]string{
	"NUL":           "a\x00b",
	"NUL at end":    "a\x00",
	"two NULs":      "a\x00\x00",
	"not UTF-8":     "a\xff\xfe",
	"only 0xff":     "\xff",
	"separators":    "a/b#c:d|e%f",
	"quotes":        `'";--`,
	"unicode":       "é漢字😀\u202e",
	"space":         "   ",
	"long":          strings.Repeat("long", 250),
	"other casing":  "A\x00B",
	"longer by one": "a\x00bc",
}

func putHostileStrings(s *suite) {
	for name, text := range hostile {
		r := s.record("x", "y")
		r.Key, r.CommandType, r.Code = text, text, text
		r.Trace = []store.Trace{{Key: text, Value: text}, {Key: "", Value: ""}}
		r.Events[0].Type, r.Events[0].Segment = s.kind+text, text
		r = named(r)
		if err := s.s.Put(s.Context(), []store.Record{r}); err != nil {
			s.Fatalf("%s: %v", name, err)
		}
		s.holds(r)
		s.queryIs(store.Query{Type: s.kind + text}, entries(r)[0])
	}
	empty := s.record("x")
	empty.Key, empty.CommandType, empty.Code, empty.Events[0].Type, empty.Events[0].Segment = "", "", "", "", ""
	empty = named(empty)
	s.put(empty)
	s.holds(empty)
}

func putLargePayload(s *suite) {
	size := 300 << 10
	if limit := s.s.Limit(); limit > 0 {
		size = min(size, limit)
	}
	r := s.record(strings.Repeat("x", size), strings.Repeat("y", size))
	s.put(r)
	s.holds(r)
	s.logIs(1, r)
	s.queryIs(store.Query{Type: s.kind}, entries(r)...)
}

func putLargeCommit(s *suite) {
	r := s.record(slices.Repeat([]string{"payload"}, 300)...)
	s.put(r)
	s.holds(r)
	s.queryIs(store.Query{Type: s.kind}, entries(r)...)
}

func putManyRecords(s *suite) {
	rs := s.records(1500)
	s.put(rs[:1200]...)
	s.put(rs[1200:]...)
	s.logIs(1, rs...)
	s.holds(rs[0], rs[749], rs[1499])
	s.queryIs(store.Query{Type: s.kind}, entries(rs...)...)
}

func putDurable(s *suite) {
	if s.f.Reopen == nil {
		s.Skip("the store holds nothing of its own")
	}
	rs := s.records(10)
	s.put(rs...)
	s.s = s.f.Reopen(s.T, s.s)
	s.holds(rs...)
	s.logIs(1, rs...)
	s.put(rs...)
	s.queryIs(store.Query{Type: s.kind}, entries(rs...)...)
}

// refuses checks that Put names the conflict, and that what was first stays.
func (s *suite) refuses(first, second store.Record, event uuid.UUID) {
	s.Helper()
	err := s.s.Put(s.Context(), []store.Record{second})
	conflict, ok := errors.AsType[*store.ConflictError](err)
	if !ok {
		s.Fatalf("Put gave %v, want a *store.ConflictError", err)
	}
	if conflict.Command != first.Command || conflict.Event != event {
		s.Fatalf("the conflict names command %s and event %s, want %s and %s", conflict.Command, conflict.Event, first.Command, event)
	}
	s.holds(first)
	s.logIs(1, first)
	s.queryIs(store.Query{Type: s.kind}, entries(first)...)
	s.put(first)
}

func conflictEvent(s *suite) {
	first := s.record("a", "b", "c")
	s.put(first)
	for name, change := range map[string]func(*store.Event){
		"data": func(e *store.Event) { e.Data = []byte("B") },
		"type": func(e *store.Event) { e.Type += "!" },
	} {
		second := clone(first)
		change(&second.Events[1])
		s.Log(name)
		s.refuses(first, second, first.Events[1].ID)
	}
}

func conflictCommit(s *suite) {
	first := s.record("a")
	s.put(first)
	for name, change := range map[string]func(*store.Record){
		"type":       func(r *store.Record) { r.CommandType += "!" },
		"key":        func(r *store.Record) { r.Key += "!" },
		"time":       func(r *store.Record) { r.Time++ },
		"basis":      func(r *store.Record) { r.Basis++ },
		"code":       func(r *store.Record) { r.Code += "!" },
		"payload":    func(r *store.Record) { r.Payload[0]++ },
		"prev":       func(r *store.Record) { r.Prev = bytes.Repeat([]byte{1}, 32) },
		"no prev":    func(r *store.Record) { r.Prev = nil },
		"trace":      func(r *store.Record) { r.Trace[0].Value += "!" },
		"remarks":    func(r *store.Record) { r.Remarks = append(r.Remarks, '!') },
		"no remarks": func(r *store.Record) { r.Remarks = nil },
	} {
		second := clone(first)
		change(&second)
		s.Log(name)
		s.refuses(first, second, uuid.Nil)
	}
}

func conflictNumber(s *suite) {
	first := s.record("a", "b")
	s.put(first)
	fewer := clone(first)
	fewer.Events = fewer.Events[:1]
	s.refuses(first, fewer, first.Events[1].ID)

	more := clone(first)
	more.Events = append(more.Events, store.Event{Segment: "1", Type: s.kind, Data: []byte("c")})
	more = named(more)
	s.refuses(first, more, more.Events[2].ID)
	if _, err := s.s.Event(s.Context(), more.Events[2].ID); !errors.Is(err, store.ErrNotFound) {
		s.Fatalf("the refused event was found: %v", err)
	}
}

func conflictPlace(s *suite) {
	first := s.record("a")
	s.put(first)
	moved := clone(first)
	moved.T = 2
	s.refuses(first, moved, uuid.Nil)
}

func conflictPartial(s *suite) {
	rs := s.records(7)
	s.put(rs[3])
	other := clone(rs[3])
	other.Events[0].Data = []byte("other")
	err := s.s.Put(s.Context(), []store.Record{rs[0], rs[1], rs[2], other, rs[4], rs[5], rs[6]})
	conflict, ok := errors.AsType[*store.ConflictError](err)
	if !ok || conflict.Event != other.Events[0].ID {
		s.Fatalf("Put gave %v, want a *store.ConflictError for event %s", err, other.Events[0].ID)
	}
	s.holds(rs...)
	s.logIs(1, rs...)
	s.queryIs(store.Query{Type: s.kind}, entries(rs...)...)
}

// conflictInOneCall does not say which of the two is the first.
func conflictInOneCall(s *suite) {
	one := s.record("one")
	two := clone(one)
	two.Events[0].Data = []byte("two")
	err := s.s.Put(s.Context(), []store.Record{one, two})
	if _, ok := errors.AsType[*store.ConflictError](err); !ok {
		s.Fatalf("Put gave %v, want a *store.ConflictError", err)
	}
	if err := errors.Join(s.s.Put(s.Context(), []store.Record{one}), s.s.Put(s.Context(), []store.Record{two})); err == nil {
		s.Fatal("both were written")
	}
	if n := len(collect(s.T, s.s.Log(s.Context(), s.shard, 1))); n != 1 {
		s.Fatalf("the log has %d records, want 1", n)
	}
}
