package store

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"

	"github.com/cqrs-server/cqrs/internal/ids"
	"github.com/google/uuid"
	"pgregory.net/rapid"
)

func anyRecord(t *rapid.T) Record {
	r := Record{
		Envelope: Envelope{
			Command:     uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "command")),
			CommandType: rapid.String().Draw(t, "type"),
			Key:         string(rapid.SliceOf(rapid.Byte()).Draw(t, "key")),
			Time:        rapid.Int64().Draw(t, "time"),
			Basis:       rapid.Uint64().Draw(t, "basis"),
			Code:        rapid.String().Draw(t, "code"),
		},
		Payload: [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "payload")),
	}
	if rapid.Bool().Draw(t, "prev") {
		r.Prev = rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "digest")
	}
	if rapid.Bool().Draw(t, "remarks") {
		r.Remarks = rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
	}
	for range rapid.IntRange(0, 3).Draw(t, "headers") {
		r.Trace = append(r.Trace, Trace{Key: rapid.String().Draw(t, "name"), Value: rapid.String().Draw(t, "value")})
	}
	for i := range rapid.IntRange(0, 5).Draw(t, "events") {
		r.Events = append(r.Events, anyEvent(t, r.Command, i))
	}
	return r
}

func anyEvent(t *rapid.T, command uuid.UUID, i int) Event {
	e := Event{
		Index:   i,
		Segment: rapid.String().Draw(t, "segment"),
		Type:    string(rapid.SliceOf(rapid.Byte()).Draw(t, "event type")),
		Data:    rapid.SliceOf(rapid.Byte()).Draw(t, "data"),
	}
	e.ID = ids.Event(command, i, e.Segment)
	return e
}

func TestRecordComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyRecord(t)
		var got Record
		if err := got.Decode(want.Append(nil)); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v\nwant %+v", got, want)
		}
	})
}

// A Decoder gives what Decode does, whatever it has decoded before, and what it gave stays as it is.
func TestDecoder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d Decoder
		var got, want []Record
		for range rapid.IntRange(1, 30).Draw(t, "records") {
			r := anyRecord(t)
			want = append(want, r)
			var back Record
			if err := d.Decode(r.Append(nil), &back); err != nil {
				t.Fatal(err)
			}
			got = append(got, back)
			if err := d.Decode(append(r.Append(nil), 0), new(Record)); !errors.Is(err, ErrRecord) {
				t.Fatalf("a byte too many: %v", err)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v\nwant %+v", got, want)
		}
	})
}

func TestDecoderTakesLittleMemory(t *testing.T) {
	r := Record{Envelope: Envelope{CommandType: "page/view", Code: "0123456789abcdef"},
		Events: []Event{{Segment: "segment", Type: "page/viewed", Data: []byte("data")}}}
	data := r.Append(nil)
	var d Decoder
	if n := testing.AllocsPerRun(1000, func() { _ = d.Decode(data, new(Record)) }); n > 1 {
		t.Errorf("%v allocations for a record", n)
	}
}

// TestRecordReused decodes into a record that holds another one.
func TestRecordReused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		got, want := anyRecord(t), anyRecord(t)
		got.Shard, got.T = 3, 4
		if err := got.Decode(want.Append(nil)); err != nil {
			t.Fatal(err)
		}
		if got.Shard != 3 || got.T != 4 {
			t.Fatal("Decode changed shard or t")
		}
		if len(got.Events) == 0 {
			got.Events = nil
		}
		if got.Shard, got.T = 0, 0; !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v\nwant %+v", got, want)
		}
	})
}

func TestRecordIsDeterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := anyRecord(t)
		first := r.Append(nil)
		again := r
		again.Shard, again.T = 7, 8
		again.Events = append([]Event(nil), r.Events...)
		for i := range again.Events {
			again.Events[i].ID, again.Events[i].Index = uuid.Nil, 0
		}
		if second := again.Append([]byte("before")); string(second) != "before"+string(first) {
			t.Fatalf("got %x\nwant %x", second[6:], first)
		}
	})
}

func TestRecordsDiffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyRecord(t), anyRecord(t)
		if !reflect.DeepEqual(a, b) && bytes.Equal(a.Append(nil), b.Append(nil)) {
			t.Fatalf("%+v\n%+v\nhave the same bytes", a, b)
		}
	})
}

func sample() Record {
	r := Record{
		Envelope: Envelope{
			Shard: 1, T: 2, Command: uuid.MustParse("11111111-1111-4111-8111-111111111111"),
			CommandType: "user/register", Key: "Bob", Time: 1700000000123, Basis: 300, Code: "v1",
		},
		Payload: [16]byte{1, 2, 3},
		Prev:    bytes.Repeat([]byte{0xab}, 32),
		Trace:   []Trace{{"traceparent", "00-1"}},
		Remarks: []byte{},
		Events: []Event{
			{Segment: "1", Type: "user/registered", Data: []byte(`{"name":"Bob"}`)},
			{Segment: "", Type: "", Data: nil},
		},
	}
	return r
}

// version1 is sample as bytes. It stands in files and in queues: it must be readable for ever.
const version1 = "0107" + // version, flags
	"11111111111141118111111111111111" + "01020300000000000000000000000000" + // command, digest of the payload
	"abababababababababababababababababababababababababababababababab" + // prev
	"f6a1abfef962" + "ac02" + // time, basis
	"0d757365722f7265676973746572" + "03426f62" + "027631" + // command type, key, code
	"00" + // remarks
	"01" + "0b7472616365706172656e74" + "0430302d31" + // trace
	"02" + "0131" + "0f757365722f72656769737465726564" + "0e7b226e616d65223a22426f62227d" + "000000" // events

func TestRecordVersion1(t *testing.T) {
	r := sample()
	if got := hex.EncodeToString(r.Append(nil)); got != version1 {
		t.Fatalf("the format has changed without another version:\n got %s\nwant %s", got, version1)
	}
	plain := Record{Envelope: Envelope{Command: r.Command, Time: -1}}
	const wantPlain = "0100" + "11111111111141118111111111111111" + "00000000000000000000000000000000" + "01" + "00" + "000000" + "00"
	if got := hex.EncodeToString(plain.Append(nil)); got != wantPlain {
		t.Fatalf("a plain record has changed:\n got %s\nwant %s", got, wantPlain)
	}
}

func TestRecordCutOff(t *testing.T) {
	r := sample()
	data := r.Append(nil)
	for n := range data {
		var got Record
		if err := got.Decode(data[:n]); !errors.Is(err, ErrRecord) {
			t.Errorf("the first %d bytes of %d: %v, want ErrRecord", n, len(data), err)
		}
	}
	var got Record
	if err := got.Decode(append(data, 0)); !errors.Is(err, ErrRecord) {
		t.Errorf("one byte more: %v, want ErrRecord", err)
	}
}

func TestRecordRefused(t *testing.T) {
	r := sample()
	change := func(i int, b byte) []byte {
		data := r.Append(nil)
		data[i] = b
		return data
	}
	for name, data := range map[string][]byte{
		"version 0":     change(0, 0),
		"version 2":     change(0, 2),
		"unknown flag":  change(1, 0x80),
		"hostile count": append(r.Append(nil)[:2+16+16], 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
		"all ones":      bytes.Repeat([]byte{0xff}, 200),
		"long count":    append(head(0), 0x80, 0x00),
		"long time":     append(append([]byte{recordVersion, 0}, make([]byte, 16+16)...), 0x81, 0x00, 0, 0, 0, 0, 0),
		"empty trace":   append(head(hasTrace), 0, 0),
	} {
		var got Record
		if err := got.Decode(data); !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %v, want ErrRecord", name, err)
		}
	}
}

// TestRecordAppendRoom checks that what Decode gave out can be appended to without touching what stands behind it.
func TestRecordAppendRoom(t *testing.T) {
	r := sample()
	data := r.Append(nil)
	want := bytes.Clone(data)
	var got Record
	if err := got.Decode(data); err != nil {
		t.Fatal(err)
	}
	_ = append(got.Prev, 0xee)
	_ = append(got.Remarks, 0xee)
	_ = append(got.Events[0].Data, 0xee)
	if !bytes.Equal(data, want) {
		t.Fatal("an append wrote into the bytes behind")
	}
}

func TestDecodeAllocation(t *testing.T) {
	for name, data := range hostileCounts() {
		var r Record
		if err := r.Decode(data); err == nil {
			t.Errorf("%s was taken", name)
		}
		if n := cap(r.Events) + cap(r.Trace); n > len(data) {
			t.Errorf("%s: room for %d events and headers in %d bytes", name, n, len(data))
		}
	}
}

// head is a record of zeros up to where flags say what comes.
func head(flags byte) []byte {
	return append([]byte{recordVersion, flags}, make([]byte, 16+16+2+3)...)
}

// hostileCounts speak of more than there is.
func hostileCounts() map[string][]byte {
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}
	return map[string][]byte{
		"events":       append(head(0), huge...),
		"trace":        append(head(hasTrace), huge...),
		"long trace":   append(head(hasTrace), 0xff, 0xff, 0x3f, 0, 0),
		"remarks":      append(head(hasRemarks), huge...),
		"some events":  append(append(head(0), 100), make([]byte, 299)...),
		"first is bad": append(append(head(0), 100, 0xff, 0xff, 0xff), make([]byte, 300)...),
	}
}

func FuzzDecode(f *testing.F) {
	r, empty := sample(), Record{}
	f.Add(r.Append(nil))
	f.Add(empty.Append(nil))
	for _, data := range hostileCounts() {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var first, second Record
		if err := first.Decode(data); err != nil {
			if !errors.Is(err, ErrRecord) {
				t.Fatalf("%v is no ErrRecord", err)
			}
			return
		}
		again := first.Append(nil)
		if err := second.Decode(again); err != nil {
			t.Fatalf("what was taken does not come back: %v", err)
		}
		if !reflect.DeepEqual(first, second) || !bytes.Equal(again, data) {
			t.Fatalf("got %+v\nwant %+v\nfrom %x\n and %x", second, first, again, data)
		}
	})
}
