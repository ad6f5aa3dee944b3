package cqrs_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/cqrs-server/cqrs"
)

type sell struct{ City string }
type sold struct{ City string }

func (sell) CommandType() string { return "shop/sell" }
func (sold) EventType() string   { return "shop/sold" }

func (c sell) ProcessCommand(context.Context, *cqrs.Decision) ([]cqrs.Event, error) {
	return []cqrs.Event{sold(c)}, nil
}

// The first version counts what is sold in a city.
type cityV1 struct {
	City string
	Sold int
}

var citiesV1 = cqrs.NewTable("cities", func(c cityV1) string { return c.City })

type shopV1 struct{}

func (shopV1) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	c, _ := citiesV1.Get(tx, e.(sold).City)
	return citiesV1.Put(tx, cityV1{e.(sold).City, c.Sold + 1})
}

// The second one knows when the first was sold, too: also of what was sold long before.
type cityV2 struct {
	City  string
	Sold  int
	First uint64 // t
}

var (
	citiesV2 = cqrs.NewTable("cities", func(c cityV2) string { return c.City })
	byFirst  = cqrs.NewIndex(citiesV2, "first", func(c cityV2) uint64 { return c.First })
)

type shopV2 struct{}

func (shopV2) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	c, err := citiesV2.Get(tx, e.(sold).City)
	if err != nil {
		c = cityV2{City: e.(sold).City, First: tx.T()}
	}
	c.Sold++
	return citiesV2.Put(tx, c)
}

// The tables change. The old version serves while the next one is built from the stored events.
func ExampleConfig_next() {
	dir, _ := os.MkdirTemp("", "shop")
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cfg := cqrs.Config{
		Commands: []cqrs.Command{sell{}}, Events: []cqrs.Event{sold{}}, Log: slog.New(slog.DiscardHandler), NoSync: true,
		Version: "1", Aggregator: shopV1{}, Tables: []cqrs.AnyTable{citiesV1},
	}
	rt, _ := cqrs.Open(dir, cfg)
	go rt.Run(ctx)
	for _, city := range []string{"Chur", "Bern", "Bern"} {
		receipt, _ := rt.Send(ctx, sell{city})
		_, _ = receipt.Wait(ctx)
	}
	_ = rt.Close()

	cfg.Next = &cqrs.Aggregate{Version: "2", Aggregator: shopV2{}, Tables: []cqrs.AnyTable{citiesV2}}
	rt, err := cqrs.Open(dir, cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer rt.Close()
	before := rt.View()
	fmt.Println("version", rt.Shard(0).Version(), "serves, and is followed by", rt.Health()[0].Building.Version)
	go rt.Run(ctx)
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for rt.Health()[0].Building != nil && ctx.Err() == nil {
		<-look.C
	}
	fmt.Println("version", rt.Shard(0).Version(), "serves")
	for c := range byFirst.All(rt.View()) {
		fmt.Println(c.City, c.Sold, "since t", c.First)
	}
	bern, _ := citiesV1.Get(before, "Bern") // a view reads the version that it was taken from
	fmt.Println(bern.City, bern.Sold)
	// Output:
	// version 1 serves, and is followed by 2
	// version 2 serves
	// Chur 1 since t 1
	// Bern 2 since t 2
	// Bern 2
}
