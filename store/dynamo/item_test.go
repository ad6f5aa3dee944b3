package dynamo

import (
	"bytes"
	"cmp"
	"reflect"
	"testing"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/cqrs-server/cqrs/internal/ids"
	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
	"pgregory.net/rapid"
)

func anyRecord(t *rapid.T) store.Record {
	text := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	r := store.Record{
		Envelope: store.Envelope{
			Shard: rapid.IntRange(0, 1<<32-1).Draw(t, "shard"), T: rapid.Uint64Min(1).Draw(t, "t"), Command: anyID(t),
			CommandType: text.Draw(t, "type"), Key: text.Draw(t, "key"), Time: rapid.Int64().Draw(t, "time"),
			Basis: rapid.Uint64().Draw(t, "basis"), Code: text.Draw(t, "code"),
		},
		Payload: anyID(t),
	}
	if rapid.Bool().Draw(t, "remarks") {
		r.Remarks = rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "events") {
		e := store.Event{Index: i, Segment: text.Draw(t, "segment"), Type: text.Draw(t, "event"), Data: rapid.SliceOf(rapid.Byte()).Draw(t, "data")}
		e.ID = ids.Event(r.Command, i, e.Segment)
		r.Events = append(r.Events, e)
	}
	return r
}

func anyID(t *rapid.T) uuid.UUID {
	return uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
}

func TestEventComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := anyRecord(t)
		for i, e := range r.Events {
			it, err := eventItem(&r, i, digest{})
			if err != nil {
				t.Fatal(err)
			}
			got, err := entryOf(it)
			got.Data = append([]byte{}, got.Data...)
			if want := (store.Entry{Envelope: r.Envelope, Event: e}); err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("got %+v, %v\nwant %+v", got, err, want)
			}
		}
	})
}

func TestLinesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m lineMaker
		var all []byte
		first := anyRecord(t)
		first.T = rapid.Uint64Range(1, 1<<63).Draw(t, "first")
		records := []store.Record{first, anyRecord(t)}
		for i := range records {
			records[i].Shard, records[i].T = first.Shard, first.T+uint64(i)
			_, line := m.line(&records[i])
			all = append(all, line...)
		}
		run, err := runOf(bucketAt(first.Shard, first.T), runItem(bucketAt(first.Shard, first.T), first.T, 2, all))
		if err != nil {
			t.Fatal(err)
		}
		for i := range run.lines {
			got, want := run.lines[i].record, records[i]
			for j := range got.Events {
				got.Events[j].Type, got.Events[j].Data = want.Events[j].Type, want.Events[j].Data
			}
			if err := checkDigests(run.lines[i : i+1]); err != nil || got.T != want.T || !bytes.Equal(got.Append(nil), want.Append(nil)) {
				t.Fatalf("got %+v, %v\nwant %+v", got, err, want)
			}
		}
	})
}

func TestLinesCutOff(t *testing.T) {
	var m lineMaker
	r := store.Record{Envelope: store.Envelope{T: 1, Key: "key"}, Events: []store.Event{{Segment: "0"}}}
	_, line := m.line(&r)
	for n := range line {
		if _, err := runOf(bucket{}, runItem(bucket{}, 1, 1, line[:n])); err == nil {
			t.Errorf("the first %d bytes of %d were taken", n, len(line))
		}
	}
	if _, err := runOf(bucket{}, runItem(bucket{}, 1, 2, line)); err == nil {
		t.Error("a wrong count was taken")
	}
}

func TestTypeKeys(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[%A-F0-9a\x{fffd}]*`),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	rapid.Check(t, func(t *rapid.T) {
		a, b := text.Draw(t, "a"), text.Draw(t, "b")
		if !utf8.ValidString(typeKey(a)) {
			t.Fatalf("%q is no UTF-8", typeKey(a))
		}
		if (a == b) != (typeKey(a) == typeKey(b)) {
			t.Fatalf("%q and %q have the keys %q and %q", a, b, typeKey(a), typeKey(b))
		}
	})
}

func TestTimeKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var e [2]store.Entry
		var k [2][]byte
		for i := range e {
			e[i].Time, e[i].Shard = rapid.Int64().Draw(t, "time"), rapid.IntRange(0, 1<<32-1).Draw(t, "shard")
			e[i].T, e[i].Index = rapid.Uint64().Draw(t, "t"), rapid.IntRange(0, 1<<31-1).Draw(t, "index")
			k[i] = timeKey(e[i].Time, e[i].Shard, e[i].T, e[i].Index)
		}
		if got, want := bytes.Compare(k[0], k[1]), compareEntries(&e[0], &e[1]); got != want {
			t.Fatalf("the keys compare as %d, the entries as %d", got, want)
		}
		lo, hi := timeBounds(e[0].Time, e[1].Time, false)
		in := bytes.Compare(lo, k[0]) <= 0 && bytes.Compare(k[0], hi) <= 0
		if want := cmp.Compare(e[0].Time, e[1].Time) < 0; in != want {
			t.Fatalf("the range from %d to %d has its start: %v", e[0].Time, e[1].Time, in)
		}
	})
}

func TestDamagedItems(t *testing.T) {
	r := store.Record{Envelope: store.Envelope{T: 1}, Events: []store.Event{{Segment: "0", Type: "a", Data: []byte("a")}}}
	for _, name := range []string{"shard", "t", "command", "time", "basis", "id", "index"} {
		it, err := eventItem(&r, 0, digest{})
		if err != nil {
			t.Fatal(err)
		}
		delete(it, name)
		if _, err := entryOf(it); err == nil {
			t.Errorf("an event without %s was taken", name)
		}
	}
	for name, wrong := range map[string]string{"data": "string", "type": "number", "t": "string"} {
		it, _ := eventItem(&r, 0, digest{})
		if it[name] = unsigned(1); wrong == "string" {
			it[name] = &types.AttributeValueMemberS{Value: "text"}
		}
		if _, err := entryOf(it); err == nil {
			t.Errorf("an event whose %s is a %s was taken", name, wrong)
		}
	}
}
