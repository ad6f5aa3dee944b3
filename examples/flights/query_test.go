package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
)

// ask runs the command on a folder that holds the slice already.
func ask(t *testing.T, dir string, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if err := run(context.Background(), append([]string{"-data", dir}, args...), nil, &out, &errs); err != nil {
		t.Fatalf("%v: %v\n%s%s", args, err, out.String(), errs.String())
	}
	if strings.Contains(errs.String(), "refused") {
		t.Errorf("%v sent something: %s", args, errs.String())
	}
	return out.String()
}

// original is a folder into which the slice was sent, when the first test asks for it.
var original struct {
	sync.Once
	dir string
	err error
}

// withFilled runs the tests, and removes that folder behind them.
func withFilled(m *testing.M) int {
	dir, err := os.MkdirTemp("", "flights")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	original.dir = dir
	return m.Run()
}

// filled gives a copy of that folder.
func filled(t *testing.T) string {
	t.Helper()
	original.Do(func() {
		original.err = run(context.Background(), []string{"-data", original.dir, slice}, nil, io.Discard, io.Discard)
	})
	dir := t.TempDir()
	if err := errors.Join(original.err, os.CopyFS(dir, os.DirFS(original.dir))); err != nil {
		t.Fatal(err)
	}
	return dir
}

func open(t *testing.T, dir string, cfg cqrs.Config) *cqrs.Runtime {
	t.Helper()
	rt, err := cqrs.Open(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rt.Close() })
	return rt
}

func rows[V any](t *testing.T, seq iter.Seq2[V, error]) (list []V) {
	t.Helper()
	for row, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, row)
	}
	return list
}

// instants are moments of the slice: before it, between two commands, at one exactly, after it.
func instants(commands []modelCommand) []time.Time {
	at := func(i int, plus int64) time.Time { return time.UnixMilli(commands[i].Time + plus).UTC() }
	n := len(commands)
	return []time.Time{at(0, -1), at(0, 0), at(n/3, 0), at(n/2, -1), at(n/2, 1), at(n-1, -1), at(n-1, 0), at(n-1, 1)}
}

// As of any instant, tables and indexes show what a plain model shows that knows only the commands until then.
func TestIndexesAsOfAnyInstant(t *testing.T) {
	commands := sliceCommands(t)
	rt := open(t, filled(t), config())
	for _, instant := range instants(commands) {
		v, err := rt.Shard(0).AsOfTime(t.Context(), instant)
		if err != nil {
			t.Fatal(err)
		}
		past := until(commands, instant)
		if v.T() != uint64(len(past)) {
			t.Fatalf("as of %s: t %d, wanted %d", instant, v.T(), len(past))
		}
		checkIndexes(t, v, modelFlights(t, past))
	}
}

func checkIndexes(t *testing.T, v cqrs.View, want map[string]Flight) {
	t.Helper()
	all := where(want, func(Flight) bool { return true }, byKey)
	checkSame(t, v, "all", rows(t, Flights.All(v)), all)
	for carrier, mine := range groups(all, func(f Flight) string { return f.Carrier }) {
		checkSame(t, v, carrier, rows(t, ByCarrier.Find(v, carrier)), mine)
	}
	for day, mine := range groups(all, func(f Flight) OriginDay { return OriginDay{f.Origin, dayOf(f.Departure)} }) {
		checkSame(t, v, fmt.Sprint(day), rows(t, ByOriginDay.Find(v, day)), mine)
	}
	byTime := where(want, func(f Flight) bool { return f.Tail != "" }, func(f Flight) int64 { return f.Departure })
	for tail, mine := range groups(byTime, func(f Flight) string { return f.Tail }) {
		checkSame(t, v, tail, rows(t, flightsOf(tail).Rows(v)), mine)
	}
	if n, err := ByTail.Whole().Count(v); err != nil || n != len(byTime) {
		t.Errorf("t %d: %d flights in the index of the aircraft, wanted %d (%v)", v.T(), n, len(byTime), err)
	}
}

func checkSame(t *testing.T, v cqrs.View, what string, got, want []Flight) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("t %d, %s: %d flights, wanted %d: %+v, wanted %+v", v.T(), what, len(got), len(want), got, want)
	}
}

func byKey(Flight) int64 { return 0 }

// groups sorts flights into lists, which keep their order.
func groups[K comparable](flights []Flight, by func(Flight) K) map[K][]Flight {
	all := map[K][]Flight{}
	for _, f := range flights {
		all[by(f)] = append(all[by(f)], f)
	}
	return all
}

// lines splits the text into lines of single-spaced fields.
func lines(s string) (list []string) {
	for line := range strings.Lines(s) {
		list = append(list, strings.Join(strings.Fields(line), " "))
	}
	return list
}

func flightLine(f Flight) string {
	return strings.Join(strings.Fields(fmt.Sprint(minute(f.Departure), " ", f.ID, " ", f.Origin, " ", f.Dest, " ", f.Carrier, " ", f.Tail, " ",
		f.State, " ", f.Delay)), " ")
}

// What is printed is what the model says, without a FILE, now and as of an instant.
func TestQuestions(t *testing.T) {
	dir, commands := filled(t), sliceCommands(t)
	const instant, tail, origin, day = "2013-01-02", "N14228", "EWR", "2013-01-01"
	at, _ := parseInstant(instant)
	for _, c := range []struct {
		past []modelCommand
		args []string
		head int
	}{{commands, nil, 0}, {until(commands, at), []string{"-asof", instant}, 1}} {
		flights := modelFlights(t, c.past)
		mine := where(flights, func(f Flight) bool { return f.Tail == tail }, func(f Flight) int64 { return f.Departure })
		checkFlights(t, ask(t, dir, append(c.args, "-tail", tail)...), c.head, mine)
		on, _ := parseInstant(day)
		mine = where(flights, func(f Flight) bool { return f.Origin == origin && dayOf(f.Departure) == dayOf(on.UnixMilli()) },
			byKey)
		checkFlights(t, ask(t, dir, append(c.args, "-origin", origin, "-day", day)...), c.head, mine)
	}
	if got := ask(t, dir, "-tail", "N0"); !strings.Contains(got, "\n0 flights\n") {
		t.Errorf("an aircraft that nobody knows: %s", got)
	}
}

func checkFlights(t *testing.T, out string, head int, want []Flight) {
	t.Helper()
	got := lines(out)
	if len(want) == 0 || len(got) != head+2+len(want)+1 {
		t.Fatalf("%d lines for %d flights:\n%s", len(got), len(want), out)
	}
	for i, f := range want {
		if got[head+2+i] != flightLine(f) {
			t.Errorf("line %d is %q, wanted %q", i, got[head+2+i], flightLine(f))
		}
	}
}

func TestCarriersAsOf(t *testing.T) {
	dir, commands := filled(t), sliceCommands(t)
	at, _ := parseInstant("2013-01-02 12:30")
	past := until(commands, at)
	got := ask(t, dir, "-asof", "2013-01-02 12:30")
	if want := fmt.Sprintf("as of 2013-01-02 12:30, which is t %d of 6000\n", len(past)); !strings.HasPrefix(got, want) {
		t.Errorf("%s\nwanted %s", got, want)
	}
	count := map[State]int{}
	for _, f := range modelFlights(t, past) {
		if f.Carrier == "UA" {
			count[f.State]++
		}
	}
	n := count[scheduled] + count[departed] + count[landed] + count[cancelled]
	row := fmt.Sprintf("\nUA %d %d %d %d ", n, n-count[scheduled]-count[cancelled], count[landed], count[cancelled])
	if !strings.Contains("\n"+strings.Join(lines(got), "\n"), row) {
		t.Errorf("wanted %q in\n%s", row, got)
	}
	want := fmt.Sprintf("the flights of UA: %d (still to depart %d, under way %d, landed %d, cancelled %d)", n,
		count[scheduled], count[departed], count[landed], count[cancelled])
	if got := ask(t, dir, "-carrier", "UA", "-asof", "2013-01-02 12:30"); !strings.Contains(got, want) {
		t.Errorf("%s\nwanted %s", got, want)
	}
}

// The history of each flight is the commands that it had.
func TestHistory(t *testing.T) {
	dir, commands := filled(t), sliceCommands(t)
	byFlight, order := map[string][]string{}, []string{}
	names := map[string]string{"flight/schedule": "flight/scheduled scheduled", "flight/depart": "flight/departed under way",
		"flight/land": "flight/landed landed", "flight/cancel": "flight/cancelled cancelled"}
	for i, c := range commands {
		id := c.Data["flight"]
		if byFlight[id] == nil {
			order = append(order, id)
		}
		byFlight[id] = append(byFlight[id], fmt.Sprintf("%d %s %s", i+1, minute(c.Time), names[c.Type]))
	}
	for i := 0; i < len(order); i += len(order)/10 + 1 {
		got := lines(ask(t, dir, "-history", order[i]))[2:]
		if !slices.EqualFunc(got, byFlight[order[i]], strings.HasPrefix) {
			t.Errorf("%s: %q, wanted %q", order[i], got, byFlight[order[i]])
		}
	}
}

func TestBadQuestions(t *testing.T) {
	dir := filled(t)
	for want, args := range map[string][]string{
		"there are no flights in": {"-data", t.TempDir(), "-tail", "N14228"},
		"go together":             {"-data", dir, "-origin", "EWR"},
		"write it like":           {"-data", dir, "-asof", "yesterday"},
		`there is no flight "x"`:  {"-data", dir, "-history", "x"},
		"flags stand before":      {"-data", dir, slice, "-delays"},
	} {
		if err := run(context.Background(), args, nil, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", args, err)
		}
	}
}
