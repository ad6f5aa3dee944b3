// Package sqlview reads the tables of a view with SQL: all of SQLite's SELECT, over the typed tables of an aggregate, as of any t.
//
//	flights := sqlview.Table("flights", Flights, sqlview.Key("id"), sqlview.Index(ByCarrier, "carrier"))
//
//	db, err := sqlview.Open(rt.AsOf(t), flights, carriers)
//	defer db.Close()
//	rows, err := db.QueryContext(ctx, "SELECT origin, count(*) FROM flights WHERE carrier = ? GROUP BY origin", "UA")
//
// Nothing is copied: SQLite runs in the process, and the tables are virtual tables that read the view's rows when a statement asks for them.
// Comparisons of the columns of keys and indexes (=, IN, <, <=, >, >=, BETWEEN) read only the rows they are true for, an ORDER BY of them
// sorts nothing, and a LIMIT ends the reading. EXPLAIN QUERY PLAN shows what is used; without a key or index all rows are read, and what comes
// out is the same. A statement with a COLLATE in it uses neither.
//
// What SQL can do here is read: everything else fails with ErrRefused, and there is no file that SQLite could open. How long a statement runs,
// and how much memory it takes, is bounded by its context only: a statement by a stranger can make a long text or sort all
// there is. When the context ends the statement does, before its first row at any time, and behind it at the next row that is
// read of a table.
//
// The package is outside of the root's dependencies: a program that does not import it does not carry SQLite.
package sqlview
