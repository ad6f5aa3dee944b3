package sqlview_test

import (
	"log"
	"time"

	"github.com/cqrs-server/cqrs"
	sqlview "github.com/cqrs-server/cqrs/query/sql"
)

// The tables of a program, as in any other.
type (
	Customer struct{ Name, City string }
	Order    struct {
		Number   int
		Customer string
		Placed   time.Time
		Price    struct{ Amount, Tax float64 }
		Items    []string
	}
)

var (
	Customers  = cqrs.NewTable("customers", func(c Customer) string { return c.Name })
	Orders     = cqrs.NewTable("orders", func(o Order) int { return o.Number })
	ByCustomer = cqrs.NewIndex(Orders, "customer", func(o Order) string { return o.Customer })
)

// The same tables, as SQL sees them: which columns are the key, and which an index finds.
var (
	customersSQL = sqlview.Table("customers", Customers, sqlview.Key("name"))
	ordersSQL    = sqlview.Table("orders", Orders, sqlview.Key("number"), sqlview.Index(ByCustomer, "customer"))
)

func Example() {
	rt, t, stop := openShop()
	defer stop()

	db, err := sqlview.Open(rt.View(), customersSQL, ordersSQL)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	printRows(db.Query(`
		SELECT c.city, count(*), sum(o.price_amount), max(o.placed)
		FROM customers c JOIN orders o ON o.customer = c.name
		WHERE o.placed >= ? GROUP BY c.city ORDER BY c.city`, time.Date(2013, 1, 2, 0, 0, 0, 0, time.UTC)))
	printRows(db.Query(`SELECT date(placed), value FROM orders, json_each(items) WHERE customer = 'Bob'`))

	// What a statement reads, and how.
	printRows(db.Query(`EXPLAIN QUERY PLAN SELECT * FROM orders WHERE customer = 'Bob' AND number > 1`))

	// Another t is another database. It costs a row of each table to open one.
	before, err := sqlview.Open(rt.AsOf(t-1), customersSQL, ordersSQL)
	if err != nil {
		log.Fatal(err)
	}
	defer before.Close()
	printRows(before.Query(`SELECT count(*) FROM orders`))

	// Output:
	// Aachen 1 20 2013-01-03 12:00:00
	// Bonn 1 30 2013-01-02 12:00:00
	// 2013-01-02 desk
	// 2013-01-02 lamp
	// SCAN orders VIRTUAL TABLE INDEX 0:index(customer) (customer=?)
	// 2
}
