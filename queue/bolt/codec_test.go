package bolt

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/cqrs-server/cqrs/queue"
)

var samples = []queue.Message{
	{},
	{Time: -1, Key: []byte{}, Value: []byte{}},
	{Time: 1 << 62, Key: []byte("key"), Value: []byte("value")},
	{Time: -1 << 63, Value: make([]byte, 300)},
	{Headers: []queue.Header{{}, {Key: "k"}, {Key: "k", Value: []byte{}}, {Value: []byte("v\x00")}}, Key: []byte{0}},
}

func TestCodecRoundTrip(t *testing.T) {
	for i := range samples {
		b := encode(&samples[i])
		got, err := decode(b)
		if err != nil || !reflect.DeepEqual(got, samples[i]) {
			t.Errorf("sample %d: %+v, %v", i, got, err)
		}
		if cap(b) > len(b)+120 {
			t.Errorf("sample %d: %d bytes in %d", i, len(b), cap(b))
		}
	}
}

// A caller may append to a part of a message that it has read.
func TestDecodedPartsAreSeparate(t *testing.T) {
	want := queue.Message{Headers: []queue.Header{{Key: "h", Value: []byte("header")}}, Key: []byte("key"), Value: []byte("value")}
	m, err := decode(encode(&want))
	must(t, err)
	for _, part := range [][]byte{m.Headers[0].Value, m.Key, m.Value} {
		_ = append(part, "overwritten?"...)
	}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("%+v", m)
	}
}

// The format is on disks: bytes written once must be read for ever.
func TestCodecFormat(t *testing.T) {
	m := queue.Message{Time: 300, Key: []byte("k"), Value: nil, Headers: []queue.Header{{Key: "h", Value: []byte("v")}}}
	want := []byte{1, 0xd8, 0x04, 1, 2, 'h', 2, 'v', 2, 'k', 0}
	if got := encode(&m); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, and it was %v", got, want)
	}
}

func TestDecodeRefusesGarbage(t *testing.T) {
	for i := range samples {
		b := encode(&samples[i])
		for n := range b {
			if _, err := decode(b[:n]); err == nil {
				t.Errorf("sample %d, cut off at %d: want an error", i, n)
			}
		}
		if _, err := decode(append(b, 0)); !errors.Is(err, errTooLong) {
			t.Errorf("sample %d with another byte: %v", i, err)
		}
	}
	for name, b := range map[string][]byte{
		"nil": nil, "version 0": {0, 0, 0, 0, 0}, "version 2": {2, 0, 0, 0, 0}, "time": {1, 0x80}, "long time": append([]byte{1}, ff(11)...),
		"headers":   append(append([]byte{1, 0}, ff(9)...), 1, 0, 0),
		"key":       append(append([]byte{1, 0, 0}, ff(9)...), 1, 0),
		"value":     {1, 0, 0, 0, 0x80},
		"long size": append([]byte{1, 0, 0}, ff(11)...),
	} {
		if m, err := decode(b); err == nil {
			t.Errorf("%s: want an error: %+v", name, m)
		}
	}
}

func ff(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 0xff
	}
	return b
}

func FuzzDecode(f *testing.F) {
	for i := range samples {
		f.Add(encode(&samples[i]))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode(b)
		if err != nil {
			return
		}
		again, err := decode(encode(&m))
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Errorf("%+v became %+v, %v", m, again, err)
		}
	})
}

// ownChunk puts the last message, number i, into a chunk of its own.
func ownChunk(b *bbolt.Bucket, i int) error {
	if i == 0 {
		return nil
	}
	k, v := b.Cursor().Last()
	both := bytes.Clone(v)
	size := len(both) / 2 // the messages are of one size
	if err := b.Put(bytes.Clone(k), both[:size]); err != nil {
		return err
	}
	return b.Put(offsetKey(uint64(i)), both[size:])
}

// A damaged message is told by its offset, and those before and behind it can be read.
func TestReadDamagedMessage(t *testing.T) {
	ctx := context.Background()
	for name, damage := range map[string]func(*bbolt.Bucket) error{
		"garbage": func(b *bbolt.Bucket) error { return b.Put(offsetKey(2), []byte{9, 9}) },
		"missing": func(b *bbolt.Bucket) error { return b.Delete(offsetKey(2)) },
	} {
		t.Run(name, func(t *testing.T) {
			q := On(openFor(t, "a.db"))
			for i, text := range []string{"0", "1", "2", "3"} {
				appendTo(t, q, "a", text)
				must(t, q.File(0).Update(ctx, func(tx *bbolt.Tx) error { return ownChunk(tx.Bucket([]byte("queue/a")), i) }))
			}
			must(t, q.File(0).Update(ctx, func(tx *bbolt.Tx) error { return damage(tx.Bucket([]byte("queue/a"))) }))
			msgs, err := q.Read(ctx, "a", 0, 0, 10)
			if err != nil || len(msgs) != 2 {
				t.Fatalf("%d messages, %v", len(msgs), err)
			}
			var got *DamagedError
			if _, err = q.Read(ctx, "a", 0, 2, 10); !errors.As(err, &got) {
				t.Fatalf("want a DamagedError: %v", err)
			}
			if got.Topic != "a" || got.Shard != 0 || got.Offset != 2 || got.Reason == "" {
				t.Errorf("%+v", got)
			}
			if msgs, err = q.Read(ctx, "a", 0, 3, 10); err != nil || string(msgs[0].Value) != "3" {
				t.Errorf("%d messages, %v", len(msgs), err)
			}
		})
	}
}
