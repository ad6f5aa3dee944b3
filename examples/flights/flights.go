package main

import (
	"context"
	"time"

	"github.com/cqrs-server/cqrs"
)

// The commands. In the stream numbers are strings, and times come in several forms: they are coerced.
type (
	Schedule struct {
		Flight    string    `json:"flight" validate:"required"`
		Number    string    `json:"number"`
		Carrier   string    `json:"carrier" validate:"required"`
		Origin    string    `json:"origin" validate:"required"`
		Dest      string    `json:"dest" validate:"required"`
		Departure time.Time `json:"departure"`
		Distance  int       `json:"distance" validate:"min=0"`
		Tail      string    `json:"tail,omitempty"`
	}
	Depart struct {
		Flight string    `json:"flight" validate:"required"`
		At     time.Time `json:"at"`
		Delay  int       `json:"delay"` // minutes; negative when it left early
	}
	Land struct {
		Flight  string    `json:"flight" validate:"required"`
		At      time.Time `json:"at"`
		AirTime int       `json:"air_time" validate:"min=0"` // minutes
	}
	Cancel struct {
		Flight string `json:"flight" validate:"required"`
	}
)

func (Schedule) CommandType() string { return "flight/schedule" }
func (Depart) CommandType() string   { return "flight/depart" }
func (Land) CommandType() string     { return "flight/land" }
func (Cancel) CommandType() string   { return "flight/cancel" }

// The events.
type (
	Scheduled struct {
		Flight, Number, Carrier, Origin, Dest, Tail string
		Departure                                   int64 // Unix milliseconds
		Distance                                    int
	}
	Departed struct {
		Flight, Carrier string
		At              int64
		Delay           int
	}
	Landed struct {
		Flight, Carrier string
		At              int64
		AirTime         int
	}
	Cancelled struct{ Flight, Carrier string }
)

func (Scheduled) EventType() string { return "flight/scheduled" }
func (Departed) EventType() string  { return "flight/departed" }
func (Landed) EventType() string    { return "flight/landed" }
func (Cancelled) EventType() string { return "flight/cancelled" }

func (c Schedule) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	if Flights.Has(d, c.Flight) {
		return nil, cqrs.Reject("flight %s is scheduled already", c.Flight)
	}
	return []cqrs.Event{Scheduled{
		Flight: c.Flight, Number: c.Number, Carrier: c.Carrier, Origin: c.Origin, Dest: c.Dest, Tail: c.Tail,
		Departure: c.Departure.UnixMilli(), Distance: c.Distance,
	}}, nil
}

func (c Depart) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	f, err := Flights.Get(d, c.Flight)
	if err != nil || f.State != scheduled {
		return nil, cqrs.Reject("flight %s can't depart: it is %s", c.Flight, f.State)
	}
	return []cqrs.Event{Departed{Flight: c.Flight, Carrier: f.Carrier, At: c.At.UnixMilli(), Delay: c.Delay}}, nil
}

func (c Land) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	f, err := Flights.Get(d, c.Flight)
	if err != nil || f.State != departed {
		return nil, cqrs.Reject("flight %s can't land: it is %s", c.Flight, f.State)
	}
	return []cqrs.Event{Landed{Flight: c.Flight, Carrier: f.Carrier, At: c.At.UnixMilli(), AirTime: c.AirTime}}, nil
}

func (c Cancel) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	f, err := Flights.Get(d, c.Flight)
	if err != nil || f.State != scheduled {
		return nil, cqrs.Reject("flight %s can't be cancelled: it is %s", c.Flight, f.State)
	}
	return []cqrs.Event{Cancelled{Flight: c.Flight, Carrier: f.Carrier}}, nil
}

// State is how far a flight has come.
type State uint8

const (
	unknown State = iota
	scheduled
	departed
	landed
	cancelled
)

func (s State) String() string {
	return [...]string{"unknown", "scheduled", "under way", "landed", "cancelled"}[s]
}

// Flight and Carrier are the rows of the read side.
type (
	Flight struct {
		ID, Carrier, Origin, Dest, Tail string
		Departure                       int64
		State                           State
		Delay                           int
	}
	Carrier struct {
		Code                                               string
		Scheduled, Departed, Landed, Cancelled             int
		Late, DelayMinutes /* of departures */, AirMinutes int
		Miles                                              int // of scheduled flights
	}
)

var (
	Flights  = cqrs.NewTable("flights", func(f Flight) string { return f.ID })
	Carriers = cqrs.NewTable("carriers", func(c Carrier) string { return c.Code })
)

// The indexes find flights by other values than their keys, in the order of these values. No fold mentions them: a table
// keeps its indexes itself, and they can be read as of the past like the table.
var (
	ByCarrier   = cqrs.NewIndex(Flights, "carrier", func(f Flight) string { return f.Carrier })
	ByTail      = cqrs.NewMultiIndex(Flights, "tail", tailsOf)
	ByOriginDay = cqrs.NewIndex(Flights, "origin-day", func(f Flight) OriginDay { return OriginDay{f.Origin, dayOf(f.Departure)} })
)

// TailTime sorts the flights of an aircraft by their departure.
type TailTime struct {
	Tail      string
	Departure int64
}

// OriginDay is the flights of an airport on a day, counted from 1970 on.
type OriginDay struct {
	Origin string
	Day    int64
}

// tailsOf leaves flights out of which no aircraft is known.
func tailsOf(f Flight) []TailTime {
	if f.Tail == "" {
		return nil
	}
	return []TailTime{{f.Tail, f.Departure}}
}

const dayMillis = 24 * 60 * 60 * 1000

func dayOf(ms int64) int64 { return ms / dayMillis }

const lateAfter = 15 // minutes

// Board folds the events into the two tables.
type Board struct{}

func (Board) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	switch e := e.(type) {
	case Scheduled:
		row := Flight{ID: e.Flight, Carrier: e.Carrier, Origin: e.Origin, Dest: e.Dest, Tail: e.Tail,
			Departure: e.Departure, State: scheduled}
		if err := Flights.Put(tx, row); err != nil {
			return err
		}
		return count(tx, e.Carrier, func(c *Carrier) { c.Scheduled++; c.Miles += e.Distance })
	case Departed:
		return step(tx, e.Flight, func(f *Flight) { f.State, f.Delay = departed, e.Delay }, func(c *Carrier) {
			c.Departed++
			c.DelayMinutes += e.Delay
			if e.Delay > lateAfter {
				c.Late++
			}
		})
	case Landed:
		return step(tx, e.Flight, func(f *Flight) { f.State = landed }, func(c *Carrier) { c.Landed++; c.AirMinutes += e.AirTime })
	case Cancelled:
		return step(tx, e.Flight, func(f *Flight) { f.State = cancelled }, func(c *Carrier) { c.Cancelled++ })
	}
	return nil
}

// step changes a flight and its carrier.
func step(tx *cqrs.Tx, id string, change func(*Flight), counting func(*Carrier)) error {
	f, err := Flights.Get(tx, id)
	if err != nil {
		return err
	}
	change(&f)
	if err := Flights.Put(tx, f); err != nil {
		return err
	}
	return count(tx, f.Carrier, counting)
}

func count(tx *cqrs.Tx, code string, change func(*Carrier)) error {
	c, _ := Carriers.Get(tx, code)
	c.Code = code
	change(&c)
	return Carriers.Put(tx, c)
}

func config() cqrs.Config {
	return cqrs.Config{
		Commands:   []cqrs.Command{Schedule{}, Depart{}, Land{}, Cancel{}},
		Events:     []cqrs.Event{Scheduled{}, Departed{}, Landed{}, Cancelled{}},
		Aggregator: Board{}, Batch: 5000,
		Tables: []cqrs.AnyTable{Flights, Carriers},
	}
}
