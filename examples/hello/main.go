// Command hello is the smallest program: a command, its event, a table, and reads of now and of before.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/cqrs-server/cqrs"
)

type Greet struct{ Name string }   // a command: a request
type Greeted struct{ Name string } // an event: a fact
type Guest struct {                // a row of the read side
	Name  string
	Times int
}

var Guests = cqrs.NewTable("guests", func(g Guest) string { return g.Name })

func (Greet) CommandType() string { return "hello/greet" }
func (Greeted) EventType() string { return "hello/greeted" }

func (c Greet) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	return []cqrs.Event{Greeted{c.Name}}, nil // or refuse: return nil, cqrs.Reject("...")
}

type GuestBook struct{}

func (GuestBook) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	guest, _ := Guests.Get(tx, e.(Greeted).Name)
	return Guests.Put(tx, Guest{e.(Greeted).Name, guest.Times + 1})
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

	receipt, err := rt.Send(ctx, Greet{"Bob"}) // durable when it returns
	if err != nil {
		log.Fatal(err)
	}
	outcome, err := receipt.Wait(ctx) // the events, and the t from which on reads show them
	if err != nil {
		log.Fatal(err)
	}
	now, _ := Guests.Get(rt.View(), "Bob")
	before, _ := Guests.Get(rt.AsOf(outcome.T-1), "Bob")
	fmt.Printf("t %d: Bob was greeted %d times; one t before: %d times\n", outcome.T, now.Times, before.Times)
}
