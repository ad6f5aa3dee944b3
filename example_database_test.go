package cqrs_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
)

type (
	Deposit struct {
		Owner, City string
		Amount      int
	}
	Deposited struct {
		Owner, City string
		Amount      int
	}
	Account struct {
		Owner, City string
		Balance     int
	}
	Town struct {
		City string
		Sum  int
	}
)

var (
	Accounts  = cqrs.NewTable("accounts", func(a Account) string { return a.Owner })
	ByCity    = cqrs.NewIndex(Accounts, "city", func(a Account) string { return a.City })
	ByBalance = cqrs.NewIndex(Accounts, "balance", func(a Account) int { return a.Balance })
	Towns     = cqrs.NewTable("towns", func(t Town) string { return t.City })
)

func (Deposit) CommandType() string { return "bank/deposit" }
func (Deposited) EventType() string { return "bank/deposited" }

func (d Deposit) ProcessCommand(context.Context, *cqrs.Decision) ([]cqrs.Event, error) {
	if d.Amount <= 0 {
		return nil, cqrs.Reject("%d is no amount", d.Amount)
	}
	return []cqrs.Event{Deposited(d)}, nil
}

type Bank struct{}

func (Bank) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	d := e.(Deposited)
	a, _ := Accounts.Get(tx, d.Owner)
	return Accounts.Put(tx, Account{d.Owner, d.City, a.Balance + d.Amount})
}

type Sums struct{}

func (Sums) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	d := e.(Deposited)
	t, _ := Towns.Get(tx, d.City)
	return Towns.Put(tx, Town{d.City, t.Sum + d.Amount})
}

// The README's section of that name, line by line.
func Example_database() {
	dir, _ := os.MkdirTemp("", "bank")
	defer os.RemoveAll(dir)
	rt, err := cqrs.Open(filepath.Join(dir, "data"), cqrs.Config{
		Commands: []cqrs.Command{Deposit{}}, Events: []cqrs.Event{Deposited{}},
		Aggregator: Bank{}, Tables: []cqrs.AnyTable{Accounts}, Version: "1", // another one has Open build the tables anew
		Aggregates: []cqrs.Aggregate{{Name: "towns", Version: "1", Aggregator: Sums{}, Tables: []cqrs.AnyTable{Towns}}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer rt.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	go rt.Run(ctx)
	for _, d := range []Deposit{{"Ann", "Bern", 100}, {"Bob", "Bern", 30}, {"Cy", "Chur", 70}, {"Ann", "Chur", 20}} {
		receipt, err := rt.Send(ctx, d)
		if err != nil {
			fmt.Println(err)
			return
		}
		if _, err := receipt.Wait(ctx); err != nil {
			fmt.Println(err)
			return
		}
	}

	// README: begin
	view := rt.View()                           // the newest value; it never changes
	ann, _ := Accounts.Get(view, "Ann")         // a row
	bern, _ := ByCity.Equal("Bern").Count(view) // an index
	fmt.Println(ann, bern)
	for account := range ByBalance.From(50).Backward(view) { // a range, backward; each range can be read in pages, too
		fmt.Println(account)
	}
	page, next, _ := Accounts.Whole().Page(view, 2, "") // next is a text for the client, and begins the next page
	fmt.Println(len(page), next != "")

	old := rt.AsOf(2)                                                       // the value at a t of the past; so at an instant:
	monday, _ := rt.Shard(0).AsOfTime(ctx, time.Now().Add(-24*7*time.Hour)) // what somebody who looked then could have seen
	fmt.Println(old.T(), monday.T())
	for version := range Accounts.History(view, "Ann") { // all versions of a row
		fmt.Println(version.T, version.Row)
	}
	for change := range Accounts.Diff(old, view) { // the rows that differ between two values
		fmt.Println(change.Before, change.After)
	}
	for commit := range rt.Shard(0).Log(ctx, 3, view.T()) { // why: the commits with their events
		fmt.Println(commit.T, commit.Values)
	}

	what, outcomes, _ := view.With(ctx, cqrs.IfSent(Deposit{"Bob", "Bern", 5})) // what would be, if; it is never kept
	bob, _ := Accounts.Get(what, "Bob")
	fmt.Println(bob, outcomes[0].Events[0].Value, rt.View().T())

	basis := view.Basis()                                      // names the value: send it along, or use it as an ETag
	seen, _ := rt.AtLeast(ctx, basis)                          // another process waits until it has come there
	towns, _ := rt.Shard(0).Aggregate("towns").AtLeast(ctx, 4) // an aggregate of its own, which may be added at any time
	chur, _ := Towns.Get(towns, "Chur")
	fmt.Println(basis, seen.T(), chur.Sum)

	var backup bytes.Buffer
	fmt.Println(rt.Snapshot(ctx, &backup), rt.Compact(ctx))                 // while everything goes on
	fmt.Println(cqrs.Restore(ctx, filepath.Join(dir, "restored"), &backup)) // makes a folder of it
	// README: end

	// Output:
	// {Ann Chur 120} 1
	// {Ann Chur 120}
	// {Cy Chur 70}
	// 2 true
	// 2 0
	// 4 {Ann Chur 120}
	// 1 {Ann Bern 100}
	// {Ann Bern 100} {Ann Chur 120}
	// {  0} {Cy Chur 70}
	// 3 [{Cy Chur 70}]
	// 4 [{Ann Chur 20}]
	// {Bob Bern 35} {Bob Bern 5} 4
	// 0-4 4 90
	// <nil> <nil>
	// <nil>
}

// TestReadmeIsTheExample: the code of the README's section is that of the example, which is compiled and run.
func TestReadmeIsTheExample(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("example_database_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "## The aggregate as a database\n")
	_, section, _ = strings.Cut(section, "```go\n")
	got, _, _ := strings.Cut(section, "```\n")
	_, code, _ := strings.Cut(string(example), "\t// README: begin\n")
	code, _, _ = strings.Cut(code, "\t// README: end\n")
	if want := strings.TrimPrefix(strings.ReplaceAll("\n"+code, "\n\t", "\n"), "\n"); got == "" || got != want {
		t.Errorf("the README has\n%s\nand the example\n%s", got, want)
	}
}
