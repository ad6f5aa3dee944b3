package sqlview

import (
	"context"
	"database/sql"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
)

func mustOpen(t testing.TB, v cqrs.View, tables ...*Source) (*sql.DB, *database) {
	t.Helper()
	db, d, err := open(v, tables)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db, d
}

// query gives all rows of a statement, each as text.
func query(t testing.TB, db *sql.DB, text string, args ...any) (list []string) {
	t.Helper()
	list, err := tryQuery(t.Context(), db, text, args...)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return list
}

func tryQuery(ctx context.Context, db *sql.DB, text string, args ...any) (list []string, err error) {
	rows, err := db.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		values, to := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			to[i] = &values[i]
		}
		if err := rows.Scan(to...); err != nil {
			return nil, err
		}
		list = append(list, strings.Trim(fmt.Sprint(values), "[]"))
	}
	return list, rows.Err()
}

// world is a thousand parcels, and three owners.
func world(t testing.TB) *cqrs.Runtime {
	rt := start(t)
	send(t, rt, write{Parcels: many(1000), Owners: []owner{{someone(0), "Ann"}, {someone(1), "Bob"}, {someone(2), "Cy"}}})
	return rt
}

func TestPlansReadOnlyWhatIsNeeded(t *testing.T) {
	db, d := mustOpen(t, world(t).View(), parcelsSQL, ownersSQL)
	for _, row := range []struct {
		text, plan string
		read       int64
		want       string
	}{
		{"SELECT count(*) FROM parcels", "all rows", 1000, "1000"},
		{"SELECT weight FROM parcels WHERE id = 'p00007'", "key(id) (id=?)", 1, "7"},
		{"SELECT weight FROM parcels WHERE id IN ('p00007', 'p00009', 'x')", "key(id) (id=?)", 2, "7 9"},
		{"SELECT weight FROM parcels WHERE id BETWEEN 'p00007' AND 'p00009'", "key(id) (id>=? AND id<=?)", 3, "7 8 9"},
		{"SELECT weight FROM parcels WHERE id > 'p00990' AND id < 'p00993'", "key(id) (id>? AND id<?)", 2, "1 2"},
		{"SELECT count(*) FROM parcels WHERE weight = 3", "index(weight) (weight=?)", 100, "100"},
		{"SELECT count(*) FROM parcels WHERE weight > 7.5", "index(weight) (weight>?)", 200, "200"},
		{"SELECT id FROM parcels WHERE weight = 3 LIMIT 3", "index(weight) (weight=?)", 3, "p00003 p00013 p00023"},
		{"SELECT id FROM parcels LIMIT 2", "all rows", 2, "p00000 p00001"},
		{"SELECT id FROM parcels ORDER BY id DESC LIMIT 2", "key(id) in the order of id backward", 2, "p00999 p00998"},
		{"SELECT id FROM parcels ORDER BY weight, id LIMIT 2", "index(weight) in the order of weight, id", 2, "p00000 p00010"},
		{"SELECT max(id) FROM parcels", "key(id) in the order of id backward", 1, "p00999"},
		{"SELECT count(*) FROM parcels WHERE from_city = 'Bonn'", "index(from_city, sent) (from_city=?)", 250, "250"},
		{"SELECT count(*) FROM parcels WHERE from_city = 'Bonn' AND sent >= '2013-01-03' AND sent < '2013-01-05'",
			"index(from_city, sent) (from_city=? AND sent>=? AND sent<?)", 12, "12"},
		{"SELECT id FROM parcels WHERE from_city = 'Bonn' ORDER BY sent DESC LIMIT 2",
			"index(from_city, sent) (from_city=?) in the order of sent backward", 2, "p00997 p00993"},
		{"SELECT count(*) FROM parcels WHERE day = 15707", "index(day) (day=?)", 24, "24"},
		{"SELECT count(*) FROM parcels WHERE weight = 3 OR id < 'p00005'", "index(weight) (weight=?)", 105, "104"},
		{"SELECT count(*) FROM parcels WHERE weight = NULL", "index(weight) (weight=?)", 0, "0"},
		{"SELECT count(*) FROM owners o JOIN parcels p ON p.owner = o.id WHERE o.name = 'Bob'", "index(owner) (owner=?)", 334, "333"},
		{"SELECT o.name FROM parcels p JOIN owners o ON p.owner = o.id WHERE p.id = 'p00002'", "key(id) (id=?)", 2, "Cy"},
		{"SELECT count(*) FROM parcels WHERE id = 'P00007' COLLATE NOCASE", "all rows", 1000, "1"},
	} {
		d.read.Store(0)
		if got := strings.Join(query(t, db, row.text), " "); got != row.want {
			t.Errorf("%s\ngot  %s\nwant %s", row.text, got, row.want)
		}
		if n := d.read.Load(); n != row.read {
			t.Errorf("%s\nreads %d rows, and %d are needed", row.text, n, row.read)
		}
		if plan := strings.Join(query(t, db, "EXPLAIN QUERY PLAN "+row.text), "; "); !strings.Contains(plan, ":"+row.plan) {
			t.Errorf("%s\nplan %s\nwant %s", row.text, plan, row.plan)
		}
	}
}

// A number that is no literal makes SQLite compare texts as numbers, and then several texts are equal to it.
func TestNumbersAgainstTexts(t *testing.T) {
	rt := start(t)
	var list []parcel
	for i, id := range []string{"05", "5", "5.0", "6", "x"} {
		list = append(list, parcel{ID: id, From: place{City: id}, Sent: epoch.Add(-time.Duration(i) * time.Hour)})
	}
	send(t, rt, write{Parcels: list})
	db, _ := mustOpen(t, rt.View(), parcelsSQL, ownersSQL)
	for text, want := range map[string]string{
		"SELECT id FROM parcels WHERE id = CAST('5' AS INTEGER) ORDER BY sent":                                   "5.0 5 05",
		"SELECT id FROM parcels WHERE id = 5":                                                                    "5",
		"SELECT id FROM parcels WHERE id = CAST('5' AS INTEGER) ORDER BY id DESC":                                "5.0 5 05",
		"SELECT id FROM parcels WHERE from_city = CAST('5' AS INTEGER) ORDER BY sent":                            "5.0 5 05",
		"SELECT count(*) FROM parcels a, parcels b WHERE b.id = 5 + a.weight AND a.id=5":                         "1",
		"SELECT b.id FROM (SELECT CAST('5' AS INTEGER) AS n) a CROSS JOIN parcels b ON b.id = a.n ORDER BY b.id": "05 5 5.0",
		"SELECT id FROM parcels WHERE from_city >= CAST('5' AS INTEGER) ORDER BY from_city":                      "05 5 5.0 6 x",
	} {
		if got := strings.Join(query(t, db, text), " "); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

func TestTimesCompareAsTexts(t *testing.T) {
	rt := start(t)
	send(t, rt, write{Parcels: []parcel{{ID: "a", Sent: epoch}, {ID: "b", Sent: epoch.Add(1250 * time.Millisecond)}, {ID: "c", Sent: epoch.Add(24 * time.Hour)}}})
	for _, s := range []*Source{parcelsSQL, plainSQL} {
		db, _ := mustOpen(t, rt.View(), s)
		for where, want := range map[string]string{
			"sent < '2013-01-01 00:00:01.250'":                             "a b",
			"sent <= '2013-01-01 00:00:01.25'":                             "a b",
			"sent < '2013-01-01 00:00:01.25'":                              "a",
			"sent > '2013-01-01'":                                          "a b c",
			"sent = '2013-01-01'":                                          "",
			"sent > '2013-01-01 00:00:00'":                                 "b c",
			"sent = datetime('2013-01-02T01:00:00+01:00')":                 "c",
			"sent >= datetime('2013-01-02', '-1 day')":                     "a b c",
			"julianday(sent) - julianday('2013-01-01') > 0.5":              "c",
			"strftime('%S', sent) = '01'":                                  "b",
			"sent >= '2013-01-01T00:00:00Z'":                               "c", // T comes behind the space
			"date(sent) = '2013-01-01' AND sent BETWEEN '2013' AND '2014'": "a b",
		} {
			if got := strings.Join(query(t, db, "SELECT id FROM parcels WHERE "+where+" ORDER BY id"), " "); got != want {
				t.Errorf("%s: got %s, want %s", where, got, want)
			}
		}
	}
}

func TestValuesComeBack(t *testing.T) {
	rt := start(t)
	note, at := "hi", time.Date(2013, 1, 1, 12, 0, 0, 250, time.FixedZone("", 3600))
	full := parcel{
		ID: "full", Owner: someone(1), Sent: at, Weight: -7, Price: 1.5, Express: true, From: place{"Bonn", 50.7}, To: &place{"Celle", 52.6}, Note: &note,
		Tags: []string{"x", "y"}, Scans: map[string]int{"a": 1}, Raw: []byte{0, 1}, Kind: 3, Internal: 9,
	}
	send(t, rt, write{Parcels: []parcel{full, {ID: "none"}}})
	db, _ := mustOpen(t, rt.View(), parcelsSQL)

	var got parcel
	var tags, scans string
	var lat sql.NullFloat64
	got.To, got.Note = new(place), new(string)
	err := db.QueryRow(`SELECT id, owner, sent, weight, price_eur, express, from_city, from_lat, to_city, to_lat, note, tags, scans, raw, kind FROM parcels
		WHERE sent = ?`, at).Scan(&got.ID, &got.Owner, &got.Sent, &got.Weight, &got.Price, &got.Express, &got.From.City, &got.From.Lat, &got.To.City, &lat,
		got.Note, &tags, &scans, &got.Raw, &got.Kind)
	if err != nil || !got.Sent.Equal(at) || got.Sent.Location() != time.UTC || tags != `["x","y"]` || scans != `{"a":1}` || lat.Float64 != 52.6 {
		t.Fatal(got, tags, scans, lat, err)
	}
	got.Sent, got.To.Lat, got.Tags, got.Scans, got.Internal = at, 52.6, full.Tags, full.Scans, 9
	if !reflect.DeepEqual(got, full) {
		t.Errorf("got  %+v\nwant %+v", got, full)
	}
	want := "none 00000000-0000-0000-0000-000000000000 0001-01-01 00:00:00 +0000 UTC 0 0 0  0 <nil> <nil> <nil> <nil> <nil> <nil> 0 -719162"
	if row := query(t, db, "SELECT * FROM parcels WHERE id = 'none'"); len(row) != 1 || row[0] != want {
		t.Errorf("got  %v\nwant %s", row, want)
	}
	if got := query(t, db, "SELECT value FROM parcels, json_each(tags) WHERE parcels.id = 'full'"); strings.Join(got, " ") != "x y" {
		t.Error(got)
	}
	checkTypes(t, db)
}

func checkTypes(t *testing.T, db *sql.DB) {
	t.Helper()
	rows, err := db.Query("SELECT id, sent, weight FROM parcels")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil || types[1].ScanType() != goTime || types[0].DatabaseTypeName() != "TEXT" || types[2].DatabaseTypeName() != "INTEGER" {
		t.Error(types, err)
	}
	want := "id TEXT, owner UUID TEXT, sent TIMESTAMP TEXT, weight INTEGER, price_eur REAL, express BOOLEAN, from_city TEXT, from_lat REAL, to_city TEXT, " +
		"to_lat REAL, note TEXT, tags JSON TEXT, scans JSON TEXT, raw BLOB, kind INTEGER, day INTEGER"
	if got := query(t, db, "SELECT group_concat(name || ' ' || type, ', ') FROM pragma_table_info('parcels')"); got[0] != want {
		t.Errorf("got  %s\nwant %s", got[0], want)
	}
}

func TestAsOf(t *testing.T) {
	rt := start(t)
	before, _ := mustOpen(t, rt.View(), parcelsSQL)
	first := send(t, rt, write{Parcels: many(10)})
	second := send(t, rt, write{Parcels: []parcel{{ID: "p00003", Weight: 99}}, Gone: []string{"p00004"}})
	old, _ := mustOpen(t, rt.AsOf(first), parcelsSQL)
	now, _ := mustOpen(t, rt.AsOf(second), parcelsSQL)
	send(t, rt, write{Parcels: many(20)})
	for db, want := range map[*sql.DB]string{
		before: "0 0 <nil>", old: "10 0 3", now: "9 1 99",
	} {
		text := "SELECT count(*), (SELECT count(*) FROM parcels WHERE weight = 99), (SELECT weight FROM parcels WHERE id = 'p00003') FROM parcels"
		if got := query(t, db, text); got[0] != want {
			t.Errorf("got %s, want %s", got[0], want)
		}
	}
}

func TestPrepared(t *testing.T) {
	db, _ := mustOpen(t, world(t).View(), parcelsSQL)
	s, err := db.Prepare("SELECT count(*) FROM parcels WHERE weight = ? AND id >= ?")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 3 {
		var n int
		if err := s.QueryRow(i, "p00500").Scan(&n); err != nil || n != 50 {
			t.Error(n, err)
		}
	}
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := tx.QueryRow("SELECT count(*) FROM parcels WHERE express = ?", true).Scan(&n); err != nil || n != 500 {
		t.Error(n, err)
	}
	if err := tx.Commit(); err != nil {
		t.Error(err)
	}
}
