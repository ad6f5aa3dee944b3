package dynamo_test

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/cqrs-server/cqrs/internal/ids"
	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
)

// world makes the records of one shard.
type world struct {
	shard int
	t     uint64
	kind  string
}

func newWorld() *world {
	return &world{shard: rand.IntN(1 << 30), kind: "counter/added/" + uuid.NewString()[:8]}
}

// record is the next one, with an event for each payload.
func (w *world) record(payloads ...[]byte) store.Record {
	w.t++
	r := store.Record{
		Envelope: store.Envelope{
			Shard: w.shard, T: w.t, Command: uuid.Must(uuid.NewV7()),
			CommandType: "counter/add", Key: "user-123", Time: 1700000000000 + int64(w.t), Basis: w.t - 1, Code: "v1",
		},
		Payload: uuid.New(),
		Prev:    []byte("01234567890123456789012345678901"),
	}
	for i, p := range payloads {
		id := ids.Event(r.Command, i, "0")
		r.Events = append(r.Events, store.Event{ID: id, Index: i, Segment: "0", Type: w.kind, Data: p})
	}
	return r
}

// records have one event of 160 bytes each.
func (w *world) records(n int) []store.Record {
	rs := make([]store.Record, n)
	for i := range rs {
		data := make([]byte, 160)
		for j := range data {
			data[j] = byte(rand.Uint32())
		}
		rs[i] = w.record(data)
	}
	return rs
}

// logIs checks that the log of the records' shard holds them and nothing else, that their events are found, and that the index has each once.
func logIs(t *testing.T, s store.Store, want []store.Record) {
	t.Helper()
	i := 0
	for r, err := range s.Log(t.Context(), want[0].Shard, 1) {
		if err != nil {
			t.Fatalf("after %d records: %v", i, err)
		}
		if i == len(want) || r.T != want[i].T || string(r.Append(nil)) != string(want[i].Append(nil)) {
			t.Fatalf("record %d is not what was put", i)
		}
		i++
	}
	if i != len(want) {
		t.Fatalf("the log has %d records, want %d", i, len(want))
	}
}

// eventsAre checks that each event is found by its id, and comes once by its type.
func eventsAre(t *testing.T, s store.Store, kind string, want []store.Record) {
	t.Helper()
	var entries []store.Entry
	for _, r := range want {
		for _, e := range r.Events {
			entries = append(entries, store.Entry{Envelope: r.Envelope, Event: e})
		}
	}
	for _, e := range entries[:min(len(entries), 50)] {
		if got, err := s.Event(t.Context(), e.ID); err != nil || !reflect.DeepEqual(got, e) {
			t.Fatalf("Event(%s) = %+v, %v", e.ID, got, err)
		}
	}
	i := 0
	for e, err := range s.Query(t.Context(), store.Query{Type: kind}) {
		if err != nil {
			t.Fatal(err)
		}
		if i == len(entries) || !reflect.DeepEqual(e, entries[i]) {
			t.Fatalf("entry %d is not what was put", i)
		}
		i++
	}
	if i != len(entries) {
		t.Fatalf("the index has %d entries, want %d", i, len(entries))
	}
}
