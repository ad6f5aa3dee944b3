package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// What SQL counts is what the model counts, now and as of an instant, and the index finds it.
func TestSQL(t *testing.T) {
	dir, commands := filled(t), sliceCommands(t)
	const instant = "2013-01-02"
	at, _ := parseInstant(instant)
	for _, c := range []struct {
		past []modelCommand
		args []string
		head int
	}{{commands, nil, 0}, {until(commands, at), []string{"-asof", instant}, 1}} {
		var want []string
		for carrier, mine := range groups(where(modelFlights(t, c.past), func(f Flight) bool { return f.State == landed }, byKey), func(f Flight) string { return f.Carrier }) {
			want = append(want, fmt.Sprintf("%s %d", carrier, len(mine)))
		}
		slices.Sort(want)
		got := lines(ask(t, dir, append(c.args, "-sql", "SELECT carrier, count(*) AS n FROM flights WHERE state = 'landed' GROUP BY carrier ORDER BY carrier")...))[c.head:]
		if got[0] != "carrier n" || !slices.Equal(got[1:len(got)-1], want) || got[len(got)-1] != fmt.Sprintf("%d rows", len(want)) {
			t.Errorf("got %v, wanted %v", got, want)
		}
	}
	for statement, want := range map[string]string{
		"EXPLAIN QUERY PLAN SELECT * FROM flights WHERE carrier = 'UA'":                                                                 "index(carrier) (carrier=?)",
		"EXPLAIN QUERY PLAN SELECT * FROM flights WHERE origin = 'EWR' AND day = 15706":                                                 "index(origin, day) (origin=? AND day=?)",
		"EXPLAIN QUERY PLAN SELECT * FROM flights WHERE tail = 'N14228' ORDER BY departure":                                             "index(tail, departure_ms) (tail=?)",
		"SELECT departure, NULL FROM flights WHERE id = 'UA1545/2013-01-01/EWR'":                                                        "2013-01-01 05:15 NULL\n1 rows",
		"SELECT sum(f.state = 'landed') = max(c.landed) AS ok FROM flights f JOIN carriers c ON c.code = f.carrier WHERE c.code = 'UA'": "ok\n1\n1 rows",
	} {
		if got := strings.Join(lines(ask(t, dir, "-sql", statement)), "\n"); !strings.Contains(got, want) {
			t.Errorf("%s:\n%s\nwanted %s", statement, got, want)
		}
	}
}

func TestSQLErrors(t *testing.T) {
	dir := filled(t)
	for statement, want := range map[string]string{
		"DELETE FROM flights":        "a view can only be read: DELETE flights",
		"SELECT colour FROM flights": "no such column: colour",
	} {
		var out, errs bytes.Buffer
		err := run(context.Background(), []string{"-data", dir, "-sql", statement}, nil, &out, &errs)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, wanted %s", statement, err, want)
		}
	}
}
