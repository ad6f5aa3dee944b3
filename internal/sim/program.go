package sim

import (
	"context"

	"github.com/cqrs-server/cqrs"
)

// The program as the library runs it.

var (
	accounts = cqrs.NewTable("accounts", func(a Account) string { return a.Name })
	counters = cqrs.NewTable("counters", func(c Counter) string { return c.Name })
	mails    = cqrs.NewUniqueIndex(accounts, "mail", func(a Account) []string {
		if a.Mail == "" {
			return nil
		}
		return []string{a.Mail}
	})
)

func allTables() []cqrs.AnyTable { return []cqrs.AnyTable{accounts, counters} }

// tables read through anything that tables can be read through.
type tables struct{ r cqrs.Reader }

func (t tables) account(name string) (Account, bool) {
	a, err := accounts.Get(t.r, name)
	return a, err == nil
}

func (t tables) byMail(mail string) (Account, bool) {
	a, err := mails.Get(t.r, mail)
	return a, err == nil
}

func (t tables) accounts() (list []Account) {
	for a, err := range accounts.All(t.r) {
		if err == nil {
			list = append(list, a)
		}
	}
	return list
}

func (t tables) counter(name string) int {
	c, _ := counters.Get(t.r, name)
	return c.N
}

// folding writes too.
type folding struct {
	tables
	tx *cqrs.Tx
}

func (f folding) put(a Account) error          { return accounts.Put(f.tx, a) }
func (f folding) set(name string, n int) error { return counters.Put(f.tx, Counter{name, n}) }

type aggregator struct{}

func (aggregator) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	return foldEvent(folding{tables{tx}, tx}, e)
}

func process(c decider, d *cqrs.Decision) ([]cqrs.Event, error) { return c.decide(tables{d}, d) }

func (c open) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	return process(c, d)
}
func (c move) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	return process(c, d)
}
func (c pair) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	return process(c, d)
}
func (c count) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	return process(c, d)
}
func (c edit) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	return process(c, d)
}
func (c sweep) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	return process(c, d)
}
func (c nothing) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	return process(c, d)
}
func (c odd) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	return process(c, d)
}
func (c boom) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	return process(c, d)
}
func (c spoil) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	return process(c, d)
}
func (c invent) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	return process(c, d)
}
func (c tell) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	return process(c, d)
}
func (c fee1) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	return process(c, d)
}
func (c fee2) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	return process(c, d)
}
func (c fare1) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	return process(c, d)
}
func (c fare2) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	return process(c, d)
}
func (c bounded) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	return process(c, d)
}
