package sqlview

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOnlyReading(t *testing.T) {
	rt := world(t)
	db, _ := mustOpen(t, rt.View(), parcelsSQL, ownersSQL)
	dir := t.TempDir()
	file := filepath.Join(dir, "stolen.db")
	for _, row := range []struct{ text, why string }{
		{"INSERT INTO parcels (id) VALUES ('x')", "INSERT parcels"},
		{"UPDATE parcels SET weight = 0", "UPDATE parcels"},
		{"DELETE FROM parcels", "DELETE parcels"},
		{"REPLACE INTO owners VALUES ('', '')", "INSERT owners"},
		{"INSERT INTO parcels (id) VALUES ('x') RETURNING id", "INSERT parcels"},
		{"WITH x AS (SELECT 1) DELETE FROM parcels", "DELETE parcels"},
		{"SELECT 1; DELETE FROM parcels", "DELETE parcels"},
		{"DROP TABLE parcels", "DELETE sqlite_master"},
		{"ALTER TABLE parcels RENAME TO p", "a change of the schema"},
		{"CREATE TABLE x (a)", "INSERT sqlite_master"},
		{"CREATE TEMP TABLE x AS SELECT * FROM parcels", "INSERT sqlite_temp_master"},
		{"CREATE VIEW x AS SELECT 1", "INSERT sqlite_master"},
		{"CREATE TEMP TRIGGER x AFTER INSERT ON owners BEGIN SELECT 1; END", ""},
		{"CREATE VIRTUAL TABLE x USING cqrs_view(1, 0)", "INSERT sqlite_master"},
		{"CREATE VIRTUAL TABLE x USING fts5(a)", "INSERT sqlite_master"},
		{"CREATE INDEX x ON parcels (weight)", ""},
		{"ATTACH '" + file + "' AS f", "ATTACH " + file},
		{"ATTACH ? AS f", "ATTACH"},
		{"DETACH main", "DETACH main"},
		{"VACUUM INTO '" + file + "'", "ATTACH"},
		{"PRAGMA writable_schema = 1", "PRAGMA writable_schema"},
		{"PRAGMA temp_store_directory = '" + dir + "'", "PRAGMA temp_store_directory"},
		{"PRAGMA hard_heap_limit = 1", "PRAGMA hard_heap_limit"},
		{"PRAGMA database_list", "PRAGMA database_list"},
		{"SELECT * FROM pragma_database_list", ""},
		{"SELECT load_extension('x.so')", "the function load_extension"},
		{"SELECT * FROM dbstat", ""},
		{"SELECT * FROM sqlite_dbpage", ""},
		{"SELECT * FROM cqrs_view", ""},
		{"SELECT writefile('" + file + "', 'x')", ""},
		{"SELECT readfile('/etc/hostname')", ""},
		{"BEGIN", ""}, {"SAVEPOINT x", "SAVEPOINT"}, {"REINDEX", ""}, {"ANALYZE", ""},
	} {
		_, err := tryQuery(t.Context(), db, row.text, anyIf(strings.Contains(row.text, "?"), file)...)
		if row.text == "REINDEX" && err == nil {
			continue // there is nothing to do
		}
		_, err2 := db.Exec(row.text, anyIf(strings.Contains(row.text, "?"), file)...)
		if err == nil || err2 == nil {
			t.Errorf("%s: no error: %v, %v", row.text, err, err2)
			continue
		}
		if refused := errors.Is(err, ErrRefused) && errors.Is(err2, ErrRefused); row.why != "" && (!refused || !strings.Contains(err.Error(), row.why)) {
			t.Errorf("%s: %v", row.text, err)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Error("files were written:", files, err)
	}
	if got := query(t, db, "SELECT count(*) FROM parcels"); got[0] != "1000" {
		t.Error(got)
	}
}

func anyIf(b bool, x any) []any {
	if b {
		return []any{x}
	}
	return nil
}

func TestStatementErrors(t *testing.T) {
	db, _ := mustOpen(t, world(t).View(), parcelsSQL)
	for text, want := range map[string]string{
		`SELECT colour FROM parcels`:                      "no such column: colour",
		`SELECT count(*) FROM parcels WHERE "colour" = 1`: "no such column",
		`SELECT * FROM owners`:                            "no such table: owners",
		`SELEC 1`:                                         "syntax error",
		`SELECT count(*) FROM parcels WHERE id = ?`:       "missing",
	} {
		if _, err := tryQuery(t.Context(), db, text); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "sqlview: ") {
			t.Errorf("%s: %v", text, err)
		}
	}
	for text, want := range map[string]string{"": "", "-- nothing": "", "  ;": ""} {
		if got, err := tryQuery(t.Context(), db, text); err != nil || strings.Join(got, "") != want {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
}

func TestErrorsOfReading(t *testing.T) {
	rt := world(t)
	if _, err := Open(rt.AsOf(99), parcelsSQL); !errors.Is(err, cqrs.ErrFuture) {
		t.Error(err)
	}
	if _, err := Open(cqrs.View{}, parcelsSQL); err == nil {
		t.Error("a view that nobody made can be opened")
	}
	if _, err := Open(rt.View(), parcelsSQL, plainSQL); err == nil || err.Error() != "sqlview: two tables are called parcels" {
		t.Error(err)
	}
	db, _ := mustOpen(t, rt.View(), parcelsSQL)
	rows, err := db.Query("SELECT id FROM parcels")
	if err != nil || !rows.Next() {
		t.Fatal(err)
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
	}
	if err := rows.Err(); !errors.Is(err, cqrs.ErrClosed) {
		t.Errorf("amid the rows: %v", err)
	}
	if _, err := tryQuery(t.Context(), db, "SELECT count(*) FROM parcels"); !errors.Is(err, cqrs.ErrClosed) {
		t.Errorf("at the first: %v", err)
	}
	if _, err := Open(rt.View(), parcelsSQL); !errors.Is(err, cqrs.ErrClosed) {
		t.Error(err)
	}
}

// endless statements have far too much to do, each in another way.
var endless = []string{
	"SELECT count(*) FROM parcels a, parcels b, parcels c, parcels d",
	"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
	"SELECT a.id FROM parcels a, parcels b, parcels c WHERE a.weight + b.weight + c.weight = 0 AND a.id = b.id AND c.id > 'q'",
	"SELECT a.id FROM parcels a, parcels b, parcels c, parcels d WHERE a.id = 'p00000' AND (b.id = 'p00000' AND c.id = 'p00000' OR b.kind > 9)",
}

func TestContextEndsAStatement(t *testing.T) {
	db, _ := mustOpen(t, world(t).View(), parcelsSQL)
	for _, text := range endless {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		start := time.Now()
		_, err := tryQuery(ctx, db, text)
		cancel()
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s: it took %v to end", text, took)
		}
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", text, err)
		}
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tryQuery(done, db, "SELECT count(*) FROM parcels"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if got := query(t, db, "SELECT count(*) FROM parcels"); got[0] != "1000" {
		t.Error("afterwards:", got)
	}
}

func TestConcurrently(t *testing.T) {
	rt := world(t)
	db, _ := mustOpen(t, rt.View(), parcelsSQL, ownersSQL)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			mine, err := Open(rt.View(), ownersSQL, parcelsSQL)
			if err != nil {
				t.Error(err)
				return
			}
			defer mine.Close()
			for range 10 {
				for _, d := range []*sql.DB{db, mine} {
					got, err := tryQuery(t.Context(), d, "SELECT count(*) FROM parcels p JOIN owners o ON p.owner = o.id WHERE weight = ?", i)
					if err != nil || got[0] != "100" {
						t.Error(got, err)
					}
				}
			}
		})
	}
	for range 5 {
		send(t, rt, write{Parcels: many(3)})
	}
	all.Wait()
}

// Two results that are read in turns on one connection.
func TestInTurns(t *testing.T) {
	db, _ := mustOpen(t, world(t).View(), parcelsSQL)
	c, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a, err := c.QueryContext(t.Context(), "SELECT id FROM parcels WHERE weight = 3")
	if err != nil {
		t.Fatal(err)
	}
	b, err := c.QueryContext(t.Context(), "SELECT id FROM parcels WHERE weight = 3 OR id < 'p00100' ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	n, m := 0, 0
	for a.Next() {
		n++
		if b.Next() {
			m++
		}
	}
	for b.Next() {
		m++
	}
	if n != 100 || m != 190 {
		t.Error(n, m)
	}
	if err := errors.Join(a.Err(), b.Err(), a.Close(), b.Close()); err != nil {
		t.Error(err)
	}
}

func TestNothingIsLeft(t *testing.T) {
	rt := world(t)
	e, err := theEngine()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		db, err := Open(rt.View(), parcelsSQL)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := db.Query("SELECT id FROM parcels")
		if err != nil || !rows.Next() {
			t.Fatal(err)
		}
		if err := errors.Join(rows.Close(), db.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	}
	e.sessions.Range(func(token, _ any) bool {
		t.Error("session", token, "is left")
		return true
	})
}
