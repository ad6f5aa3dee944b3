// Command hello is the smallest program: a command, an event, a table, and a read.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/cqrs-server/cqrs"
)

type Greet struct {
	Name string `json:"name" validate:"required"`
}

func (Greet) CommandType() string { return "hello/greet" }
func (c Greet) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	return []cqrs.Event{Greeted{Name: c.Name}}, nil
}

type Greeted struct{ Name string }

func (Greeted) EventType() string { return "hello/greeted" }

type Guest struct {
	Name  string
	Times int
}

var Guests = cqrs.NewTable("guests", func(g Guest) string { return g.Name })

type GuestBook struct{}

func (GuestBook) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	guest, _ := Guests.Get(tx, e.(Greeted).Name)
	return Guests.Put(tx, Guest{Name: e.(Greeted).Name, Times: guest.Times + 1})
}

func main() {
	ctx := context.Background()
	rt, err := cqrs.Open("data/hello", cqrs.Config{
		Commands: []cqrs.Command{Greet{}}, Events: []cqrs.Event{Greeted{}},
		Aggregator: GuestBook{}, Tables: []cqrs.AnyTable{Guests},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close()
	go rt.Run(ctx)

	receipt, err := rt.Send(ctx, Greet{Name: "Bob"}) // durable when it returns
	if err != nil {
		log.Fatal(err)
	}
	outcome, err := receipt.Wait(ctx) // the events, and the t after which reads show them
	if err != nil {
		log.Fatal(err)
	}
	now, _ := Guests.Get(rt.View(), "Bob")
	before, err := Guests.Get(rt.AsOf(outcome.T-1), "Bob")
	fmt.Printf("t %d: %+v; one t before: %+v %v\n", outcome.T, now, before, err)
}
