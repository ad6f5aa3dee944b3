package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	sqlview "github.com/cqrs-server/cqrs/query/sql"
)

// The tables as SQL sees them. The rows keep times as milliseconds, which are no times to SQL: two columns are computed, and so is the day
// that an index is made of.
var (
	flightsSQL = sqlview.Table("flights", Flights,
		sqlview.Column("departure", func(f Flight) time.Time { return time.UnixMilli(f.Departure) }),
		sqlview.Column("departure_ms", func(f Flight) int64 { return f.Departure }),
		sqlview.Column("day", func(f Flight) int64 { return dayOf(f.Departure) }), // since 1970
		sqlview.Column("state", func(f Flight) string { return f.State.String() }),
		sqlview.Key("id"),
		sqlview.Index(ByCarrier, "carrier"),
		sqlview.Index(ByTail, "tail", "departure_ms"),
		sqlview.Index(ByOriginDay, "origin", "day"),
	)
	carriersSQL = sqlview.Table("carriers", Carriers, sqlview.Key("code"))
)

// printSQL runs a statement, and prints its rows as a table.
func printSQL(ctx context.Context, out io.Writer, w world, statement string) error {
	if len(w) != 1 {
		return fmt.Errorf("-sql: there are %d shards, and each is a database of its own: SQL is for a folder with one", len(w))
	}
	db, err := sqlview.Open(w[0], flightsSQL, carriersSQL)
	if err != nil {
		return err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, statement)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, strings.Join(columns, "\t")+"\t")
	values, to := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		to[i] = &values[i]
	}
	n := 0
	for ; rows.Next(); n++ {
		if err := rows.Scan(to...); err != nil {
			return err
		}
		printRow(table, values)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	fmt.Fprintf(table, "%d rows\n", n)
	return table.Flush()
}

func printRow(w io.Writer, values []any) {
	for _, v := range values {
		switch v := v.(type) {
		case nil:
			fmt.Fprint(w, "NULL\t")
		case time.Time:
			fmt.Fprint(w, minute(v.UnixMilli()), "\t")
		default:
			fmt.Fprint(w, v, "\t")
		}
	}
	fmt.Fprintln(w)
}
