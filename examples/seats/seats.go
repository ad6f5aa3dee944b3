package main

import (
	"context"
	"fmt"

	"github.com/cqrs-server/cqrs"
	"github.com/google/uuid"
)

// The commands.
type (
	// OpenHall puts the seats of a hall on sale.
	OpenHall struct {
		Rows  int `json:"rows" validate:"min=1,max=26"`
		Width int `json:"width" validate:"min=1,max=99"`
	}
	// Buy is an order of seats: all of them, or none.
	Buy struct {
		Buyer string   `json:"buyer" validate:"required"`
		Seats []string `json:"seats" validate:"min=1,max=20"`
	}
)

func (OpenHall) CommandType() string { return "seats/open-hall" }
func (Buy) CommandType() string      { return "seats/buy" }

// The events.
type (
	HallOpened struct{ Rows, Width int }
	SeatsSold  struct {
		Order uuid.UUID
		Buyer string
		Seats []string
	}
)

func (HallOpened) EventType() string { return "seats/hall-opened" }
func (SeatsSold) EventType() string  { return "seats/sold" }

func (c OpenHall) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	if Seats.Has(d, seatName(0, 1)) {
		return nil, cqrs.Reject("the hall is open already")
	}
	return []cqrs.Event{HallOpened{c.Rows, c.Width}}, nil
}

// ProcessCommand is the same in all three consistencies: what differs is which value it looks at, and what is checked afterwards.
func (c Buy) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	wanted := map[string]bool{}
	for _, name := range c.Seats {
		seat, err := Seats.Get(d, name)
		if err != nil || wanted[name] {
			return nil, cqrs.Reject("there is no seat %s, or it is named twice", name)
		}
		if seat.Sold {
			return nil, cqrs.Reject("seat %s is sold", name)
		}
		wanted[name] = true
	}
	return []cqrs.Event{SeatsSold{Order: d.NewID(), Buyer: c.Buyer, Seats: c.Seats}}, nil
}

// Seat, Ticket and their keys are the read side.
type (
	Seat struct {
		Name string
		Sold bool
	}
	Ticket struct {
		TicketKey
		Buyer string
	}
	TicketKey struct {
		Order uuid.UUID
		Seat  string
	}
)

var (
	Seats   = cqrs.NewTable("seats", func(s Seat) string { return s.Name })
	Tickets = cqrs.NewTable("tickets", func(t Ticket) TicketKey { return t.TicketKey })

	// Free finds the seats that are not sold.
	Free = cqrs.NewMultiIndex(Seats, "free", func(s Seat) []string {
		if s.Sold {
			return nil
		}
		return []string{s.Name}
	})
	// BySeat is the last line of defence: whatever was decided, no seat has two tickets.
	BySeat = cqrs.NewUniqueIndex(Tickets, "seat", func(t Ticket) []string { return []string{t.Seat} })
)

func seatName(row, number int) string { return fmt.Sprintf("%c%02d", 'A'+row, number) }

// BoxOffice folds the events into the tables. The fold of an order for a seat that has a ticket fails, and leaves
// nothing behind: none of its tickets either.
type BoxOffice struct{}

func (BoxOffice) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	switch e := e.(type) {
	case HallOpened:
		return putSeats(tx, e)
	case SeatsSold:
		for _, seat := range e.Seats {
			if err := Tickets.Put(tx, Ticket{TicketKey{e.Order, seat}, e.Buyer}); err != nil {
				return err
			}
			if err := Seats.Put(tx, Seat{seat, true}); err != nil {
				return err
			}
		}
	}
	return nil
}

func putSeats(tx *cqrs.Tx, hall HallOpened) error {
	for row := range hall.Rows {
		for number := range hall.Width {
			if err := Seats.Put(tx, Seat{Name: seatName(row, number+1)}); err != nil {
				return err
			}
		}
	}
	return nil
}

func config(c cqrs.Consistency) cqrs.Config {
	return cqrs.Config{
		Commands:    []cqrs.Command{OpenHall{}, Buy{}},
		Events:      []cqrs.Event{HallOpened{}, SeatsSold{}},
		Aggregator:  BoxOffice{},
		Tables:      []cqrs.AnyTable{Seats, Tickets},
		Consistency: c,
	}
}
