package main

import (
	"context"
	"fmt"

	"github.com/cqrs-server/cqrs"
)

// findings is what the box office looks like when all is sold.
type findings struct {
	seats, sold, tickets int
	owners               map[string]int // seats by buyer, from the tickets
	twice                []string       // seats with more than one ticket; there must be none
	decidedTwice         int            // seats that more than one event of the log sells
	failedFolds          uint64
	deadLetters          int
	ticketsOf            map[string]int // tickets of each seat
}

// inspect reads the newest value, and the log, and does not rely on the unique index.
func inspect(ctx context.Context, rt *cqrs.Runtime) (*findings, error) {
	v := rt.View()
	f := &findings{owners: map[string]int{}, ticketsOf: map[string]int{}, failedFolds: rt.Shard(0).Failed()}
	for t, err := range Tickets.All(v) {
		if err != nil {
			return nil, err
		}
		f.tickets++
		f.owners[t.Buyer]++
		if f.ticketsOf[t.Seat]++; f.ticketsOf[t.Seat] == 2 {
			f.twice = append(f.twice, t.Seat)
		}
	}
	for s, err := range Seats.All(v) {
		if err != nil {
			return nil, err
		}
		if f.seats++; s.Sold {
			f.sold++
		}
	}
	letters, err := rt.DeadLetters(ctx)
	if err != nil {
		return nil, err
	}
	f.deadLetters = len(letters)
	return f, f.readLog(ctx, rt.Shard(0), v.T())
}

// readLog counts the seats that were decided to be sold more than once.
func (f *findings) readLog(ctx context.Context, shard *cqrs.Shard, to uint64) error {
	sales := map[string]int{}
	for c, err := range shard.Log(ctx, 1, to) {
		if err != nil {
			return err
		}
		for _, e := range c.Values {
			e, _ := e.(SeatsSold)
			for _, seat := range e.Seats {
				if sales[seat]++; sales[seat] == 2 {
					f.decidedTwice++
				}
			}
		}
	}
	return nil
}

// fault says what must not be, whatever the consistency; nil when all is well.
func (f *findings) fault() error {
	switch {
	case len(f.twice) > 0:
		return fmt.Errorf("seats with two owners: %v", f.twice)
	case f.tickets != f.sold:
		return fmt.Errorf("%d tickets for %d seats that are sold", f.tickets, f.sold)
	case f.sold != f.seats:
		return fmt.Errorf("%d of %d seats are sold, and nobody buys any more", f.sold, f.seats)
	case uint64(f.deadLetters) != f.failedFolds:
		return fmt.Errorf("%d folds failed, and there are %d dead letters", f.failedFolds, f.deadLetters)
	}
	return nil
}
