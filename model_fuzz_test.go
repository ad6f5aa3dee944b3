package cqrs_test

import (
	"context"
	"slices"
	"testing"

	"github.com/cqrs-server/cqrs"
	"pgregory.net/rapid"
)

// openModel runs the model's program for a fuzz target or a benchmark, with some folds done, one commit each.
func openModel(tb interface {
	rapid.TB
	TempDir() string
	Cleanup(func())
}, folds ...[]op) *cqrs.Runtime {
	m := &modelRun{dir: tb.TempDir()}
	m.open(tb)
	tb.Cleanup(func() {
		if err := m.close(); err != nil {
			tb.Error(err)
		}
	})
	submitAll(tb, m.rt, folds...)
	return m.rt
}

func submitAll(tb rapid.TB, rt *cqrs.Runtime, folds ...[]op) {
	for chunk := range slices.Chunk(folds, 1000) {
		var envelopes []cqrs.Envelope
		for _, ops := range chunk {
			envelopes = append(envelopes, changeOf(ops))
		}
		receipts, err := rt.Submit(context.Background(), envelopes...)
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := receipts[len(receipts)-1].Wait(context.Background()); err != nil {
			tb.Fatal(err)
		}
	}
}

// FuzzCursor gives Page cursors that no Page gave: whatever a client sends, it sees rows of the range only, in order and without a gap, and the
// next cursor goes on where they ended.
func FuzzCursor(f *testing.F) {
	var rows []item
	for _, name := range someNames[1:] {
		rows = append(rows, named(name, "g"+name[:1], "", "p", name))
	}
	rt := openModel(f, puts("names", rows...))
	spans := []cqrs.Range[item]{
		names.Whole(), names.From("a"), names.Between("a", "b"), names.Prefix("a", 0),
		namesByTag.Equal("p"), namesByGroup.Between("ga", "gb"), namesByMail.Whole(),
	}
	f.Add("", 1)
	f.Add("no base64!", 2)
	f.Add("YQ", 3)
	f.Add("____", 4)
	for _, span := range spans {
		_, next, _ := span.Page(rt.View(), 2, "")
		f.Add(string(next), 2)
	}
	f.Fuzz(func(t *testing.T, cursor string, n int) {
		for i, span := range spans {
			checkPages(t, i, span, rt.View(), cqrs.Cursor(cursor), n)
		}
	})
}

func checkPages(t *testing.T, i int, span cqrs.Range[item], v cqrs.View, cursor cqrs.Cursor, n int) {
	rows, next, err := span.Page(v, n, cursor)
	if err != nil || n <= 0 {
		if len(rows) > 0 || next != "" {
			t.Fatalf("span %d: %d rows and cursor %q beside the error %v", i, len(rows), next, err)
		}
		return
	}
	for page := rows; next != ""; rows = append(rows, page...) {
		if len(page) != n {
			t.Fatalf("span %d: a page of %d rows in the middle, wanted %d", i, len(page), n)
		}
		if page, next, err = span.Page(v, n, next); err != nil {
			t.Fatal(err)
		}
	}
	if want := keysOf(t, span, v); !isEnd(want, rows) {
		t.Fatalf("span %d: cursor %q gave %v, which is no end of %q", i, cursor, rows, want)
	}
}

// isEnd tells whether rows are the last ones of keys.
func isEnd(keys string, rows []item) bool {
	end := ""
	for _, row := range rows {
		end += " " + row.name()
	}
	return len(end) <= len(keys)+1 && (" " + keys)[len(keys)+1-len(end):] == end
}
