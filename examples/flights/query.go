package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/cqrs-server/cqrs"
)

// The questions are put to a world: the newest one, or with -asof the one of that instant. All of them are answered alike.

// printTail lists the flights of an aircraft, in the order of their departure.
func printTail(out io.Writer, w world, tail string) error {
	fmt.Fprintf(out, "the flights of %s\n", tail)
	flights, err := w.flights(flightsOf(tail).Rows, func(a, b Flight) int {
		return cmp.Or(cmp.Compare(a.Departure, b.Departure), cmp.Compare(a.ID, b.ID))
	})
	return printFlights(out, flights, err)
}

func flightsOf(tail string) cqrs.Range[Flight] {
	return ByTail.Between(TailTime{tail, math.MinInt64}, TailTime{tail, math.MaxInt64})
}

// printDay lists the flights from an airport on a day, in the order of their keys.
func printDay(out io.Writer, w world, origin string, day time.Time) error {
	fmt.Fprintf(out, "the flights from %s on %s\n", origin, day.Format(time.DateOnly))
	flights, err := w.flights(ByOriginDay.Equal(OriginDay{origin, dayOf(day.UnixMilli())}).Rows, func(a, b Flight) int {
		return cmp.Compare(a.ID, b.ID)
	})
	return printFlights(out, flights, err)
}

func printFlights(out io.Writer, flights []Flight, err error) error {
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "departure\tflight\tfrom\tto\tcarrier\ttail\tstate\tdelay min\t")
	for _, f := range flights {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t\n", minute(f.Departure), f.ID, f.Origin, f.Dest, f.Carrier, f.Tail, f.State, f.Delay)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%d flights\n", len(flights))
	return err
}

// printCarrier counts the flights of a carrier by how far they have come.
func printCarrier(out io.Writer, w world, carrier string) error {
	var count [cancelled + 1]int
	flights, err := w.flights(ByCarrier.Equal(carrier).Rows, nil)
	if err != nil {
		return err
	}
	for _, f := range flights {
		count[f.State]++
	}
	_, err = fmt.Fprintf(out, "the flights of %s: %d (still to depart %d, under way %d, landed %d, cancelled %d)\n",
		carrier, len(flights), count[scheduled], count[departed], count[landed], count[cancelled])
	return err
}

// printHistory lists all versions of a flight, the oldest first, each with what brought it about.
func printHistory(ctx context.Context, out io.Writer, shard *cqrs.Shard, v cqrs.View, id string) error {
	versions, err := historyOf(v, id)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "the history of %s\n", id)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "t\ttime\tevent\tstate\tdelay min\t")
	for _, version := range versions {
		commit, err := shard.Commit(ctx, version.T)
		if err != nil {
			return fmt.Errorf("the commit of t %d: %w", version.T, err)
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t\n", version.T, minute(commit.Time), eventTypes(commit), version.Row.State, version.Row.Delay)
	}
	return w.Flush()
}

// historyOf gives the versions of a flight, the oldest first.
func historyOf(v cqrs.View, id string) ([]cqrs.Version[Flight], error) {
	var versions []cqrs.Version[Flight]
	for version, err := range Flights.History(v, id) {
		if err != nil {
			return nil, err
		}
		versions = append(versions, version)
	}
	if len(versions) == 0 {
		return nil, fmt.Errorf("there is no flight %q: a key looks like UA1545/2013-01-01/EWR", id)
	}
	slices.Reverse(versions)
	return versions, nil
}

func eventTypes(c *cqrs.Commit) string {
	types := make([]string, len(c.Events))
	for i, e := range c.Events {
		types[i] = e.Type
	}
	return strings.Join(types, ", ")
}

// minute shows an instant. The stream gives local times as if they were UTC, and so they are shown.
func minute(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04") }

var errInstant = errors.New("write it like 2013-01-10 (its beginning), 2013-01-10 15:04 or 2013-01-10T15:04:05Z")

func parseInstant(s string) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, "2006-01-02 15:04", time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no instant: %w", s, errInstant)
}
