package sqlview_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/cqrs-server/cqrs"
)

// What the example needs beside the tables.

type (
	PlaceOrder  struct{ Order Order }
	OrderPlaced struct{ Order Order }
	Shop        struct{}
)

func (PlaceOrder) CommandType() string { return "shop/order" }
func (OrderPlaced) EventType() string  { return "shop/ordered" }

func (c PlaceOrder) ProcessCommand(context.Context, *cqrs.Decision) ([]cqrs.Event, error) {
	return []cqrs.Event{OrderPlaced(c)}, nil
}

var cities = map[string]string{"Ann": "Aachen", "Bob": "Bonn"}

func (Shop) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	o := e.(OrderPlaced).Order
	if err := Customers.Put(tx, Customer{o.Customer, cities[o.Customer]}); err != nil {
		return err
	}
	return Orders.Put(tx, o)
}

// openShop opens a runtime, places three orders, and gives the t of the last.
func openShop() (rt *cqrs.Runtime, t uint64, stop func()) {
	dir, err := os.MkdirTemp("", "shop")
	if err != nil {
		log.Fatal(err)
	}
	rt, err = cqrs.Open(dir, cqrs.Config{
		Commands: []cqrs.Command{PlaceOrder{}}, Events: []cqrs.Event{OrderPlaced{}},
		Aggregator: Shop{}, Tables: []cqrs.AnyTable{Customers, Orders},
	})
	if err != nil {
		log.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- rt.Run(context.Background()) }()
	for i, who := range []string{"Ann", "Bob", "Ann"} {
		o := Order{Number: i + 1, Customer: who, Placed: time.Date(2013, 1, i+1, 12, 0, 0, 0, time.UTC)}
		if o.Price.Amount = []float64{10, 30, 20}[i]; who == "Bob" {
			o.Items = []string{"desk", "lamp"}
		}
		t = place(rt, o)
	}
	return rt, t, func() {
		rt.Close()
		<-ended
		os.RemoveAll(dir)
	}
}

func place(rt *cqrs.Runtime, o Order) (t uint64) {
	receipt, err := rt.Send(context.Background(), PlaceOrder{o})
	if err != nil {
		log.Fatal(err)
	}
	out, err := receipt.Wait(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	return out.T
}

// printRows prints a result; of a plan, what it says.
func printRows(rows *sql.Rows, err error) {
	if err != nil {
		log.Fatal(err)
	}
	defer rows.Close()
	columns, _ := rows.Columns()
	values, to := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		to[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(to...); err != nil {
			log.Fatal(err)
		}
		if columns[len(columns)-1] == "detail" {
			fmt.Println(values[len(values)-1])
			continue
		}
		fmt.Println(strings.Trim(fmt.Sprint(values), "[]"))
	}
	if err := rows.Err(); err != nil {
		log.Fatal(err)
	}
}
