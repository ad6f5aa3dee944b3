package main

import (
	"context"

	"github.com/cqrs-server/cqrs"
)

// The commands. An account's number is their key: an account is in one shard, and what is sent for it stays in order.
type (
	Open struct {
		Account string `json:"account" validate:"required,max=100"`
		Owner   string `json:"owner" validate:"required"`
	}
	Deposit struct {
		Account string `json:"account" validate:"required,max=100"`
		Cents   int64  `json:"cents" validate:"min=1"`
	}
	Withdraw struct {
		Account string `json:"account" validate:"required,max=100"`
		Cents   int64  `json:"cents" validate:"min=1"`
	}
	// Rename is refused when the account has changed since the basis that its sender has seen.
	Rename struct {
		Account string `json:"account" validate:"required,max=100"`
		Owner   string `json:"owner" validate:"required"`
	}
)

func (Open) CommandType() string     { return "account/open" }
func (Deposit) CommandType() string  { return "account/deposit" }
func (Withdraw) CommandType() string { return "account/withdraw" }
func (Rename) CommandType() string   { return "account/rename" }

func (Rename) Consistency() cqrs.Consistency { return cqrs.Unchanged }

// The events.
type (
	Opened    struct{ Account, Owner string }
	Deposited struct {
		Account string
		Cents   int64
	}
	Withdrawn struct {
		Account string
		Cents   int64
	}
	Renamed struct{ Account, Owner string }
)

func (Opened) EventType() string    { return "account/opened" }
func (Deposited) EventType() string { return "account/deposited" }
func (Withdrawn) EventType() string { return "account/withdrawn" }
func (Renamed) EventType() string   { return "account/renamed" }

func (c Open) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	if Accounts.Has(d, c.Account) {
		return nil, cqrs.Reject("account %s is open already", c.Account)
	}
	return []cqrs.Event{Opened{c.Account, c.Owner}}, nil
}

func (c Deposit) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	if !Accounts.Has(d, c.Account) {
		return nil, noAccount(c.Account)
	}
	return []cqrs.Event{Deposited{c.Account, c.Cents}}, nil
}

func (c Withdraw) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	account, err := Accounts.Get(d, c.Account)
	if err != nil {
		return nil, noAccount(c.Account)
	}
	if account.Cents < c.Cents {
		return nil, cqrs.Reject("account %s has %d cents, and %d were asked for", c.Account, account.Cents, c.Cents).With("cents", account.Cents)
	}
	return []cqrs.Event{Withdrawn{c.Account, c.Cents}}, nil
}

func (c Rename) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	if !Accounts.Has(d, c.Account) {
		return nil, noAccount(c.Account)
	}
	return []cqrs.Event{Renamed{c.Account, c.Owner}}, nil
}

func noAccount(number string) error { return cqrs.Reject("there is no account %s", number) }

// Account is a row of the read side.
type Account struct {
	Number    string `json:"account"`
	Owner     string `json:"owner"`
	Cents     int64  `json:"cents"`
	Movements int    `json:"movements"`
}

// Accounts is the table.
var Accounts = cqrs.NewTable("accounts", func(a Account) string { return a.Number })

// Ledger folds the events into the table.
type Ledger struct{}

func (Ledger) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	switch e := e.(type) {
	case Opened:
		return Accounts.Put(tx, Account{Number: e.Account, Owner: e.Owner})
	case Deposited:
		return change(tx, e.Account, func(a *Account) { a.Cents += e.Cents; a.Movements++ })
	case Withdrawn:
		return change(tx, e.Account, func(a *Account) { a.Cents -= e.Cents; a.Movements++ })
	case Renamed:
		return change(tx, e.Account, func(a *Account) { a.Owner = e.Owner })
	}
	return nil
}

func change(tx *cqrs.Tx, number string, fn func(*Account)) error {
	a, err := Accounts.Get(tx, number)
	if err != nil {
		return err
	}
	fn(&a)
	return Accounts.Put(tx, a)
}

func config() cqrs.Config {
	return cqrs.Config{
		Commands:   []cqrs.Command{Open{}, Deposit{}, Withdraw{}, Rename{}},
		Events:     []cqrs.Event{Opened{}, Deposited{}, Withdrawn{}, Renamed{}},
		Aggregator: Ledger{},
		Tables:     []cqrs.AnyTable{Accounts},
	}
}
