package sqlview

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

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
	list, err := tryQuery(t, db, text, args...)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return list
}

func tryQuery(t testing.TB, db *sql.DB, text string, args ...any) (list []string, err error) {
	rows, err := db.QueryContext(t.Context(), text, args...)
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

func TestSmoke(t *testing.T) {
	rt := start(t)
	send(t, rt, write{Parcels: many(1000), Owners: []owner{{someone(0), "Ann"}, {someone(1), "Bob"}, {someone(2), "Cy"}}})
	db, d := mustOpen(t, rt.View(), parcelsSQL, ownersSQL)
	for _, q := range []string{
		"SELECT count(*) FROM parcels",
		"SELECT * FROM parcels LIMIT 2",
		"SELECT id, sent FROM parcels WHERE id = 'p00007'",
		"SELECT id FROM parcels WHERE id BETWEEN 'p00007' AND 'p00009'",
		"SELECT id FROM parcels WHERE weight = 3 LIMIT 3",
		"SELECT count(*) FROM parcels WHERE from_city = 'Bonn' AND sent >= '2013-01-03' AND sent < '2013-01-05'",
		"SELECT o.name, count(*) FROM owners o JOIN parcels p ON p.owner = o.id GROUP BY o.name",
		"SELECT id FROM parcels ORDER BY id DESC LIMIT 2",
		"SELECT id FROM parcels WHERE from_city='Bonn' ORDER BY sent DESC LIMIT 2",
		"SELECT id FROM parcels WHERE weight IN (1,2) AND id < 'p00020'",
		"SELECT id FROM parcels WHERE weight = 3 OR id < 'p00005'",
		"SELECT id FROM parcels WHERE id = 5 ORDER BY weight",
		"SELECT strftime('%Y', max(sent)) FROM parcels",
	} {
		d.read.Store(0)
		out, err := tryQuery(t, db, q)
		n := d.read.Load()
		plan, _ := tryQuery(t, db, "EXPLAIN QUERY PLAN "+q)
		t.Logf("%s\n  %v %v\n read %d\n plan %v", q, out, err, n, plan)
	}
}
