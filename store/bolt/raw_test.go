package bolt

import (
	"bytes"
	"testing"

	"github.com/cqrs-server/cqrs/store"
)

// RawLog gives what Log does, before it is decoded: over many pages, from any t, and beside another shard. The bytes stay as they
// are.
func TestRawLog(t *testing.T) {
	f := openFile(t)
	s := On(f, f)
	const n = 3*pageRecords + 7
	var put []store.Record
	for i := range uint64(n) {
		put = append(put, record(0, i+1, []string{"x", "y"}[i%2]), record(1, i+1, "z"))
		put[2*i].Events[0].Data = bytes.Repeat([]byte{byte(i)}, int(i%50)*20)
	}
	put[100].Events[0].Data = make([]byte, 2*rawBlock)
	if err := s.Put(t.Context(), put); err != nil {
		t.Fatal(err)
	}
	for _, from := range []uint64{0, 1, 2, pageRecords, n, n + 1} {
		raw := all(t, s.RawLog(t.Context(), 0, from))
		records := all(t, s.Log(t.Context(), 0, from))
		if len(raw) != len(records) || from <= 1 && len(raw) != n {
			t.Fatalf("from %d: %d raw records, and %d", from, len(raw), len(records))
		}
		for i, r := range raw {
			if r.T != records[i].T || !bytes.Equal(r.Data, records[i].Append(nil)) {
				t.Fatalf("from %d: t %d: %x, wanted that of t %d", from, r.T, r.Data, records[i].T)
			}
		}
	}
}

func TestRawLogTellsOfAGap(t *testing.T) {
	s := On(openFile(t))
	if err := s.Put(t.Context(), []store.Record{record(0, 1, "x"), record(0, 3, "x")}); err != nil {
		t.Fatal(err)
	}
	n := 0
	var last error
	for _, err := range s.RawLog(t.Context(), 0, 1) {
		if last = err; err == nil {
			n++
		}
	}
	if n != 1 || last == nil {
		t.Errorf("%d records, then %v", n, last)
	}
}
