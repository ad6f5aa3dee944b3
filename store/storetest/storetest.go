// Package storetest is the contract of store.Store as tests. A store is finished when Run passes on it.
//
// The tests may share one store, even one that other runs have filled: each uses shards, commands, event types and a span of time
// of its own.
package storetest

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs/internal/ids"
	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
)

// Features says what the store under test can do.
type Features struct {
	// Reopen closes the store and opens it again, with what was put into it. Defaults to nil: the store holds nothing of
	// its own that a new one would have to find.
	Reopen func(t *testing.T, s store.Store) store.Store

	// IndexLag is how long Query may lag behind Put. Defaults to 0: not at all.
	IndexLag time.Duration
}

// Run tests the store that open gives. open is called once for each subtest, and sees to it that what it opened is closed
// at the end; Close may have been called by then.
func Run(t *testing.T, f Features, open func(t *testing.T) store.Store) {
	for _, group := range []map[string]func(*suite){putTests, findTests, queryTests, logTests, faultTests} {
		for _, name := range slices.Sorted(maps.Keys(group)) {
			t.Run(name, func(t *testing.T) {
				group[name](newSuite(t, f, open(t)))
			})
		}
	}
}

// suite is one subtest with its own part of the store.
type suite struct {
	*testing.T
	f     Features
	s     store.Store
	shard int
	kind  string // the type of its events
	base  int64  // the time of its first command
	t     uint64
}

func newSuite(t *testing.T, f Features, s store.Store) *suite {
	return &suite{
		T: t, f: f, s: s,
		shard: rand.IntN(1 << 30),
		kind:  "storetest/" + uuid.NewString(),
		base:  time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli() + rand.Int64N(1<<41),
	}
}

// record is the next one of the shard, a second after the one before, with an event for each payload.
func (s *suite) record(payloads ...string) store.Record {
	s.t++
	r := store.Record{
		Envelope: store.Envelope{
			Shard: s.shard, T: s.t, Command: newCommand(s.T),
			CommandType: "storetest/command", Key: "key", Time: s.base + int64(s.t)*1000, Basis: s.t - 1, Code: "v1",
		},
		Payload: uuid.New(),
		Prev:    []byte("01234567890123456789012345678901"),
		Trace:   []store.Trace{{Key: "traceparent", Value: "00-1-2-03"}},
		Remarks: []byte("remarks"),
	}
	for _, p := range payloads {
		r.Events = append(r.Events, store.Event{Segment: "1", Type: s.kind, Data: []byte(p)})
	}
	return named(r)
}

// records are n of them with one event each.
func (s *suite) records(n int) (rs []store.Record) {
	for range n {
		rs = append(rs, s.record("payload of "+uuid.NewString()))
	}
	return rs
}

// named gives the events the index and id that belong to their place.
func named(r store.Record) store.Record {
	for i := range r.Events {
		r.Events[i].Index = i
		r.Events[i].ID = ids.Event(r.Command, i, r.Events[i].Segment)
	}
	return r
}

func newCommand(t *testing.T) uuid.UUID {
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// clone shares no memory with r.
func clone(r store.Record) store.Record {
	var c store.Record
	if err := c.Decode(r.Append(nil)); err != nil {
		panic(err) // r was made here
	}
	c.Shard, c.T = r.Shard, r.T
	return c
}

func entries(rs ...store.Record) (all []store.Entry) {
	for _, r := range rs {
		for _, e := range r.Events {
			all = append(all, store.Entry{Envelope: r.Envelope, Event: e})
		}
	}
	return all
}

func (s *suite) put(rs ...store.Record) {
	s.Helper()
	if err := s.s.Put(s.Context(), rs); err != nil {
		s.Fatalf("Put: %v", err)
	}
}

// holds checks that records and events are found under their ids as they are here.
func (s *suite) holds(rs ...store.Record) {
	s.Helper()
	for _, want := range rs {
		got, err := s.s.Commit(s.Context(), want.Command)
		if err != nil {
			s.Fatalf("Commit(%s): %v", want.Command, err)
		}
		sameRecord(s.T, got, want)
		for _, e := range entries(want) {
			got, err := s.s.Event(s.Context(), e.ID)
			if err != nil {
				s.Fatalf("Event(%s): %v", e.ID, err)
			}
			sameEntries(s.T, []store.Entry{got}, []store.Entry{e})
		}
	}
}

// logIs checks the log of the suite's shard from t on.
func (s *suite) logIs(from uint64, want ...store.Record) {
	s.Helper()
	sameRecords(s.T, collect(s.T, s.s.Log(s.Context(), s.shard, from)), want)
}

// queryIs checks the answer to q, and waits for it as long as the index may lag.
func (s *suite) queryIs(q store.Query, want ...store.Entry) {
	s.Helper()
	var got []store.Entry
	s.within(s.f.IndexLag, func() bool {
		got = collect(s.T, s.s.Query(s.Context(), q))
		return equal(got, want)
	})
	sameEntries(s.T, got, want)
}

// within asks until the answer is yes or the time is over, and at least once.
func (s *suite) within(limit time.Duration, ok func() bool) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func collect[T any](t *testing.T, seq iter.Seq2[T, error]) (all []T) {
	t.Helper()
	for v, err := range seq {
		if err != nil {
			t.Fatalf("after %d: %v", len(all), err)
		}
		all = append(all, v)
	}
	return all
}

func equal(a, b []store.Entry) bool {
	return slices.EqualFunc(a, b, func(a, b store.Entry) bool { return reflect.DeepEqual(normal(a), normal(b)) })
}

// normal takes away the difference between no bytes and nil, which a payload does not have.
func normal(e store.Entry) store.Entry {
	e.Data = append([]byte{}, e.Data...)
	return e
}

func sameEntries(t *testing.T, got, want []store.Entry) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d entries, want %d", len(got), len(want))
	}
	for i := range got {
		if g, w := normal(got[i]), normal(want[i]); !reflect.DeepEqual(g, w) {
			t.Fatalf("entry %d of %d:\n got %.1000s\nwant %.1000s", i, len(got), fmt.Sprintf("%+v", g), fmt.Sprintf("%+v", w))
		}
	}
}

func sameRecords(t *testing.T, got, want []store.Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d records, want %d", len(got), len(want))
	}
	for i := range got {
		sameRecord(t, got[i], want[i])
	}
}

func sameRecord(t *testing.T, got, want store.Record) {
	t.Helper()
	if got.Shard != want.Shard || got.T != want.T {
		t.Fatalf("command %s is at t %d of shard %d, want t %d of shard %d", want.Command, got.T, got.Shard, want.T, want.Shard)
	}
	if g, w := got.Append(nil), want.Append(nil); string(g) != string(w) {
		t.Fatalf("record of command %s:\n got %.400q\nwant %.400q", want.Command, g, w)
	}
	sameEntries(t, entries(got), entries(want))
}
