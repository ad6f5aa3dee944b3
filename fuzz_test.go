package cqrs

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
)

// Invariant 25: what comes from outside, or from a file that something else has written, gives an error at worst.

func FuzzEnvelope(f *testing.F) {
	basis := uint64(300)
	whole := Envelope{ID: uuid.Max, Type: "a/b", Key: "k", Time: time.UnixMilli(-5).UTC(), Basis: &basis, Code: "v1", Data: []byte(`{}`),
		Trace: []store.Trace{{Key: "traceparent", Value: "00"}}}
	for _, e := range []Envelope{whole, {}, {Data: []byte("{")}} {
		m := e.encode()
		f.Add(m.Key, m.Value)
		f.Add(m.Key, m.Value[:len(m.Value)/2])
	}
	f.Add([]byte("\xff"), []byte{commandMagic, commandVersion, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		var e, again Envelope
		if err := decodeEnvelope(&queue.Message{Key: key, Value: value}, &e, newInterner()); err != nil {
			return
		}
		m := e.encode()
		if err := decodeEnvelope(&m, &again, newInterner()); err != nil {
			t.Fatalf("%+v can't be read again: %v", e, err)
		}
		if second := again.encode(); !bytes.Equal(second.Value, m.Value) || !bytes.Equal(second.Key, m.Key) {
			t.Errorf("%x was read, and written as %x", value, second.Value)
		}
		_ = e.check(1 << 20)
	})
}

func FuzzFeedback(f *testing.F) {
	for _, fb := range []Feedback{{Command: uuid.Max, T: 1 << 40}, {Err: Reject("no").With("n", 1)}, {Err: devError("x", errors.New("y"))}} {
		f.Add(fb.append(nil))
	}
	f.Add([]byte{feedbackVersion, 1, 2})
	f.Add(append(make([]byte, 18), `{"message":1}`...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var fb, again Feedback
		if fb.decode(b) != nil {
			return
		}
		if err := again.decode(fb.append(nil)); err != nil || again.Command != fb.Command || again.T != fb.T || (again.Err == nil) != (fb.Err == nil) {
			t.Errorf("%x: %+v became %+v (%v)", b, fb, again, err)
		}
		if fb.Err != nil {
			_ = fb.Err.Error()
		}
	})
}

func FuzzDeadLetter(f *testing.F) {
	e := Reject("no").With("n", 1)
	f.Add(LetterOf(e, []byte{commandMagic, commandVersion}))
	e.fold = &failedFold{ID: uuid.Max, T: 7, Type: "x", Data: json.RawMessage(`{}`)}
	f.Add(LetterOf(e, nil))
	for _, s := range []string{"", "null", "{}", `{"handled":[1]}`, `{"error":{"data":{"a":1e999}}}`, `{"fold":{}}`} {
		f.Add([]byte(s))
	}
	s := &Shard{rt: &Runtime{types: &registry{names: newInterner()}}}
	f.Fuzz(func(t *testing.T, b []byte) {
		l := decodeLetter(b)
		if l.Handled != nil {
			return
		}
		d := l.open(s, queue.Message{Value: b})
		if d.Err == nil {
			t.Fatal("a letter without an error")
		}
		_ = d.Err.Error()
		if d.Command != nil {
			_ = d.Command.check(1 << 20)
		}
	})
}

func FuzzMark(f *testing.F) {
	accepted, refused := mark{t: 1}, mark{turn: 1, refusal: []byte("{")}
	f.Add(accepted.append(nil))
	f.Add(refused.append(nil))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var m mark
		if err := m.decode(b); err != nil {
			if !errors.Is(err, errMark) {
				t.Error(err)
			}
			return
		}
		if !bytes.Equal(m.append(nil), b) {
			t.Errorf("%x became %x", b, m.append(nil))
		}
		_ = decodeError(m.refusal).Error()
	})
}

func FuzzVersion(f *testing.F) {
	v := version{n: 3, ts: [groupSize]uint64{9, 5, 2}, older: true}
	f.Add(v.append(nil, []byte("row")), uint64(4))
	f.Add([]byte{0xff, 1, 2, 3, 4, 5, 6, 7, 8}, uint64(1))
	f.Add([]byte{}, uint64(0))
	f.Add([]byte{7 << countAt, 9, 1}, uint64(8))
	f.Fuzz(func(t *testing.T, b []byte, at uint64) {
		var v, again version
		if err := v.decode(b); err != nil {
			if !errors.Is(err, errVersion) {
				t.Error(err)
			}
			return
		}
		if len(b) < 1+v.n {
			t.Errorf("%x holds %d t's", b, v.n)
		}
		replacedAt(v.ts[:v.n], at)
		if err := again.decode(v.append(nil, v.row)); err != nil || again.ts != v.ts || again.deleted != v.deleted || !bytes.Equal(again.row, v.row) {
			t.Errorf("%x: %+v became %+v (%v)", b, v, again, err)
		}
	})
}

// fuzzRows are the counters "b" to "m" of a table, in a runtime for Page to read.
type fuzzRow struct{ Name string }

var fuzzRows = NewTable("fuzzed", func(r fuzzRow) string { return r.Name })

type fuzzFold struct{}

func FuzzPageCursor(f *testing.F) {
	read := fuzzReader(f)
	for _, c := range []string{"", "!", "YQ", "Yg", base64.RawURLEncoding.EncodeToString([]byte("zzz")), "AA", "____", "YgA="} {
		f.Add(c, 3)
	}
	q := fuzzRows.Between("d", "k")
	f.Fuzz(func(t *testing.T, c string, n int) {
		rows, next, err := q.Page(read, n%100, Cursor(c))
		if err != nil {
			return
		}
		last := ""
		for _, r := range rows {
			if r.Name < "d" || r.Name >= "k" || r.Name <= last {
				t.Errorf("cursor %q gives %q", c, rows)
			}
			last = r.Name
		}
		if next == Cursor(c) && c != "" && len(rows) > 0 {
			t.Errorf("cursor %q leads to itself", c)
		}
	})
}

func (fuzzRow) EventType() string { return "fuzz/row" }

func (fuzzFold) AggregateEvent(_ context.Context, tx *Tx, e Event) error {
	return fuzzRows.Put(tx, e.(fuzzRow))
}

type fuzzPut struct{ Name string }

func (fuzzPut) CommandType() string { return "fuzz/put" }
func (c fuzzPut) ProcessCommand(context.Context, *Decision) ([]Event, error) {
	return []Event{fuzzRow{c.Name}}, nil
}

// fuzzReader gives a view of a table with the rows "a" to "n".
func fuzzReader(f *testing.F) View {
	f.Helper()
	rt, err := Open(f.TempDir(), Config{Commands: []Command{fuzzPut{}}, Events: []Event{fuzzRow{}}, Aggregator: fuzzFold{},
		Tables: []AnyTable{fuzzRows}, NoSync: true})
	if err != nil {
		f.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- rt.Run(context.Background()) }()
	f.Cleanup(func() {
		if err := errors.Join(rt.Close(), <-ended); err != nil {
			f.Error(err)
		}
	})
	for name := 'a'; name < 'o'; name++ {
		if _, err := rt.Send(f.Context(), fuzzPut{string(name)}); err != nil {
			f.Fatal(err)
		}
	}
	v, err := rt.Shard(0).AtLeast(f.Context(), 14)
	if err != nil {
		f.Fatal(err)
	}
	return v
}
