package cqrs_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/cqrs-server/cqrs"
)

// Two tables, and an index that leads from the one to the other.
type (
	customer struct{ Name, City string }
	order    struct {
		Number   int
		Customer string
		Item     string
	}
)

var (
	customers   = cqrs.NewTable("customers", func(c customer) string { return c.Name })
	orders      = cqrs.NewTable("orders", func(o order) int { return o.Number })
	ordersByWho = cqrs.NewIndex(orders, "customer", func(o order) string { return o.Customer })
)

type (
	placeOrder  struct{ Order order }
	orderPlaced struct{ Order order }
	shop        struct{}
)

func (placeOrder) CommandType() string { return "shop/order" }
func (orderPlaced) EventType() string  { return "shop/ordered" }

func (c placeOrder) ProcessCommand(context.Context, *cqrs.Decision) ([]cqrs.Event, error) {
	return []cqrs.Event{orderPlaced(c)}, nil
}

func (shop) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	o := e.(orderPlaced).Order
	if err := customers.Put(tx, customer{Name: o.Customer, City: map[string]string{"Ann": "Aachen", "Bob": "Bonn"}[o.Customer]}); err != nil {
		return err
	}
	return orders.Put(tx, o)
}

// A join is a loop within a loop: a View never changes, so both see the same t, and the index reads only the rows that belong together.
func Example_join() {
	rt, stop := openShop()
	defer stop()
	v := rt.View()
	for c, err := range customers.All(v) {
		if err != nil {
			log.Fatal(err)
		}
		for o, err := range ordersByWho.Find(v, c.Name) {
			if err != nil {
				log.Fatal(err)
			}
			fmt.Printf("%s in %s: order %d, %s\n", c.Name, c.City, o.Number, o.Item)
		}
	}
	// Output:
	// Ann in Aachen: order 1, a lamp
	// Ann in Aachen: order 3, a chair
	// Bob in Bonn: order 2, a desk
}

// openShop opens a runtime, and places three orders.
func openShop() (rt *cqrs.Runtime, stop func()) {
	dir, err := os.MkdirTemp("", "shop")
	if err != nil {
		log.Fatal(err)
	}
	rt, err = cqrs.Open(dir, cqrs.Config{
		Commands: []cqrs.Command{placeOrder{}}, Events: []cqrs.Event{orderPlaced{}},
		Aggregator: shop{}, Tables: []cqrs.AnyTable{customers, orders},
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	ended := make(chan error, 1)
	go func() { ended <- rt.Run(ctx) }()
	for i, o := range []order{{Customer: "Ann", Item: "a lamp"}, {Customer: "Bob", Item: "a desk"}, {Customer: "Ann", Item: "a chair"}} {
		o.Number = i + 1
		receipt, err := rt.Send(ctx, placeOrder{o})
		if err != nil {
			log.Fatal(err)
		}
		if _, err := receipt.Wait(ctx); err != nil {
			log.Fatal(err)
		}
	}
	return rt, func() {
		rt.Close()
		<-ended
		os.RemoveAll(dir)
	}
}
