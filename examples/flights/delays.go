package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/cqrs-server/cqrs"
)

// A second read side, which was thought of when the flights had long been stored: the chains of delay of each aircraft. No command
// reads it, so it is an aggregate of its own: it is built from the stored events as if it had always been there.

// Chain is consecutive departures of one aircraft that were all late.
type Chain struct {
	Length   int
	Minutes  int    // of delay, together
	Where    string // the airport where it began
	From, To int64  // its first and its last departure, Unix milliseconds
}

// Plane is an aircraft's row.
type Plane struct {
	Tail       string
	Departures int
	Current    Chain // it is empty when the last departure was not late
	Longest    Chain
}

// plan is a flight that is still to depart: a departure does not name its aircraft.
type plan struct{ Flight, Tail, Origin string }

// rank sorts the longest chain first; of two of the same length, the one with more minutes.
type rank struct{ Length, Minutes int }

// The tables of the second aggregate.
var (
	Planes = cqrs.NewTable("planes", func(p Plane) string { return p.Tail })
	plans  = cqrs.NewTable("plans", func(p plan) string { return p.Flight })

	ByLongest = cqrs.NewMultiIndex(Planes, "longest", func(p Plane) []rank {
		if p.Longest.Length == 0 {
			return nil
		}
		return []rank{{-p.Longest.Length, -p.Longest.Minutes}}
	})
)

const delaysName = "delays"

// withDelays adds the second aggregate.
func withDelays(c cqrs.Config, progress func(cqrs.Progress)) cqrs.Config {
	c.Aggregates = append(c.Aggregates, cqrs.Aggregate{
		Name: delaysName, Aggregator: Delays{}, Tables: []cqrs.AnyTable{Planes, plans},
	})
	c.Progress = progress
	return c
}

// Delays folds the events into the chains.
type Delays struct{}

func (Delays) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	switch e := e.(type) {
	case Scheduled:
		if e.Tail != "" {
			return plans.Put(tx, plan{e.Flight, e.Tail, e.Origin})
		}
	case Departed:
		return departs(tx, e)
	case Cancelled:
		return plans.Delete(tx, e.Flight)
	}
	return nil
}

func departs(tx *cqrs.Tx, e Departed) error {
	flight, err := plans.Get(tx, e.Flight)
	if errors.Is(err, cqrs.ErrNotFound) {
		return nil // nobody knows the aircraft
	}
	if err != nil {
		return err
	}
	plane, err := Planes.Get(tx, flight.Tail)
	if err != nil && !errors.Is(err, cqrs.ErrNotFound) {
		return err
	}
	plane.Tail = flight.Tail
	plane.depart(flight.Origin, e)
	if err := Planes.Put(tx, plane); err != nil {
		return err
	}
	return plans.Delete(tx, e.Flight)
}

// depart makes the current chain longer, or ends it.
func (p *Plane) depart(origin string, e Departed) {
	p.Departures++
	if e.Delay <= lateAfter {
		p.Current = Chain{}
		return
	}
	if p.Current.Length == 0 {
		p.Current = Chain{Where: origin, From: e.At}
	}
	p.Current.Length++
	p.Current.Minutes += e.Delay
	p.Current.To = e.At
	if p.Current.Length > p.Longest.Length {
		p.Longest = p.Current
	}
}

// longestChains gives the n longest chains, at most one of an aircraft.
func longestChains(v cqrs.View, n int) ([]Plane, error) {
	planes, _, err := ByLongest.Whole().Page(v, n, "")
	return planes, err
}

func printChains(out io.Writer, v cqrs.View) error {
	planes, err := longestChains(v, 10)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "the longest chains of departures that were each more than %d minutes late\n", lateAfter)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "tail\tin a row\tof\tdelay min\tfrom\tat\tto\t")
	for _, p := range planes {
		c := p.Longest
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\t%s\t%s\t\n", p.Tail, c.Length, p.Departures, c.Minutes, minute(c.From), c.Where, minute(c.To))
	}
	return w.Flush()
}
