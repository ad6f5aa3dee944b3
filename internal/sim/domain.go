package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/google/uuid"
)

// The program that histories run: accounts whose money must not be made nor lost, mails that belong to one account, counters. What a
// command decides and what an event changes is written once, against what it may read and write, so that the library and the model
// run the same program on values of their own.

// Account is a row.
type Account struct {
	Name    string
	Mail    string
	Balance int
	Note    string
	Rev     int
}

// Counter is a row.
type Counter struct {
	Name string
	N    int
}

// value is what a decision reads.
type value interface {
	account(name string) (Account, bool)
	byMail(mail string) (Account, bool)
	accounts() []Account
	counter(name string) int
}

// fresh is what a decision may have beside it.
type fresh interface {
	NewID() uuid.UUID
	Rand() *rand.Rand
	Time() time.Time
	T() uint64
	Remark(*cqrs.Error)
}

// writable is what a fold reads and writes.
type writable interface {
	value
	put(Account) error
	set(name string, n int) error
}

// decider is what all commands are.
type decider interface {
	cqrs.Command
	decide(value, fresh) ([]cqrs.Event, error)
}

type (
	opened struct {
		Name, Mail string
		Amount     int
	}
	taken struct {
		Name         string
		Amount, Left int
	}
	given struct {
		Name   string
		Amount int
	}
	counted struct {
		Name    string
		By, Saw int
		At      uint64
	}
	edited struct {
		Name, Note string
		Rev        int
	}
	spoiled struct{ Name string }
	made    struct {
		ID   uuid.UUID
		R    int
		When time.Time
	}
)

func (opened) EventType() string  { return "opened" }
func (taken) EventType() string   { return "taken" }
func (given) EventType() string   { return "given" }
func (counted) EventType() string { return "counted" }
func (edited) EventType() string  { return "edited" }
func (spoiled) EventType() string { return "spoiled" }
func (made) EventType() string    { return "made" }

func allEvents() []cqrs.Event {
	return []cqrs.Event{opened{}, taken{}, given{}, counted{}, edited{}, spoiled{}, made{}}
}

var (
	errNoAccount = errors.New("there is no such account")
	errSpoiled   = errors.New("this fold fails")
)

// foldEvent is what an event changes.
func foldEvent(w writable, e cqrs.Event) error {
	switch e := e.(type) {
	case opened:
		return w.put(Account{Name: e.Name, Mail: e.Mail, Balance: e.Amount})
	case taken:
		return foldAmount(w, e.Name, -e.Amount)
	case given:
		return foldAmount(w, e.Name, e.Amount)
	case counted:
		return w.set(e.Name, w.counter(e.Name)+e.By)
	case edited:
		a, ok := w.account(e.Name)
		if !ok {
			return errNoAccount
		}
		a.Note, a.Rev = e.Note, a.Rev+1
		return w.put(a)
	case made:
		return w.set("made", w.counter("made")+e.R)
	case spoiled:
		return foldSpoiled(w, e)
	}
	return nil
}

func foldAmount(w writable, name string, by int) error {
	a, ok := w.account(name)
	if !ok {
		return errNoAccount
	}
	a.Balance += by
	a.Rev++
	return w.put(a)
}

// foldSpoiled writes, and then fails, depending on the value: of what it wrote nothing may stay.
func foldSpoiled(w writable, e spoiled) error {
	n := w.counter(e.Name)
	for _, a := range w.accounts() {
		a.Note = "spoiled"
		if err := w.put(a); err != nil {
			return err
		}
	}
	if err := w.set(e.Name, n+1000); err != nil {
		return err
	}
	switch n % 4 {
	case 0, 1:
		return errSpoiled
	case 2:
		panic("this fold panics")
	}
	return nil
}

type (
	open struct {
		Name   string `json:"name"`
		Mail   string `json:"mail"`
		Amount int    `json:"amount"`
	}
	move struct {
		From   string `json:"from"`
		To     string `json:"to"`
		Amount int    `json:"amount"`
	}
	// pair takes from one account what both of them together must have.
	pair struct {
		A      string `json:"a"`
		B      string `json:"b"`
		Amount int    `json:"amount"`
	}
	count struct {
		Name string `json:"name"`
		By   int    `json:"by"`
	}
	edit struct {
		Name string `json:"name"`
		Note string `json:"note"`
	}
	sweep   struct{}
	nothing struct{}
	odd     struct {
		Name string `json:"name"`
	}
	boom struct {
		Name string `json:"name"`
	}
	spoil struct {
		Name string `json:"name"`
	}
	invent struct{}
	tell   struct {
		Name string `json:"name"`
	}
	// What fee and fare decide depends on the version of the code.
	fee1 struct {
		Name string `json:"name"`
	}
	fee2  fee1
	fare1 fee1
	fare2 fee1
	// bounds wants data that fits.
	bounded struct {
		N int `json:"n" validate:"min=0,max=9"`
	}
)

func (open) CommandType() string    { return "open" }
func (move) CommandType() string    { return "move" }
func (pair) CommandType() string    { return "pair" }
func (count) CommandType() string   { return "count" }
func (edit) CommandType() string    { return "edit" }
func (sweep) CommandType() string   { return "sweep" }
func (nothing) CommandType() string { return "nothing" }
func (odd) CommandType() string     { return "odd" }
func (boom) CommandType() string    { return "boom" }
func (spoil) CommandType() string   { return "spoil" }
func (invent) CommandType() string  { return "invent" }
func (tell) CommandType() string    { return "tell" }
func (fee1) CommandType() string    { return "fee" }
func (fee2) CommandType() string    { return "fee" }
func (fare1) CommandType() string   { return "fare" }
func (fare2) CommandType() string   { return "fare" }
func (bounded) CommandType() string { return "bounded" }

func (count) Consistency() cqrs.Consistency { return cqrs.AsOfBasis }
func (fare1) Consistency() cqrs.Consistency { return cqrs.AsOfBasis }
func (fare2) Consistency() cqrs.Consistency { return cqrs.AsOfBasis }
func (edit) Consistency() cqrs.Consistency  { return cqrs.Unchanged }
func (sweep) Consistency() cqrs.Consistency { return cqrs.Unchanged }

// allCommands are those of a version of the code.
func allCommands(code string) []cqrs.Command {
	list := []cqrs.Command{open{}, move{}, pair{}, count{}, edit{}, sweep{}, nothing{}, odd{}, boom{}, spoil{}, invent{}, tell{}, bounded{}}
	if code == "2" {
		return append(list, fee2{}, fare2{})
	}
	return append(list, fee1{}, fare1{})
}

func (c open) decide(v value, _ fresh) ([]cqrs.Event, error) {
	if _, there := v.account(c.Name); there {
		return nil, cqrs.Reject("the account %s is open", c.Name)
	}
	if a, is := v.byMail(c.Mail); is {
		return nil, cqrs.Reject("the mail %s belongs to %s", c.Mail, a.Name)
	}
	return []cqrs.Event{opened(c)}, nil
}

func (c move) decide(v value, _ fresh) ([]cqrs.Event, error) {
	from, ok := v.account(c.From)
	_, ok2 := v.account(c.To)
	if !ok || !ok2 || from.Balance < c.Amount {
		return nil, cqrs.Reject("%s can't give %d to %s", c.From, c.Amount, c.To)
	}
	return []cqrs.Event{taken{c.From, c.Amount, from.Balance - c.Amount}, given{c.To, c.Amount}}, nil
}

func (c pair) decide(v value, _ fresh) ([]cqrs.Event, error) {
	a, ok := v.account(c.A)
	b, ok2 := v.account(c.B)
	if !ok || !ok2 || c.A == c.B || a.Balance+b.Balance < c.Amount {
		return nil, cqrs.Reject("%s and %s do not have %d", c.A, c.B, c.Amount)
	}
	return []cqrs.Event{taken{c.A, c.Amount, a.Balance - c.Amount}, given{"bank", c.Amount}}, nil
}

func (c count) decide(v value, f fresh) ([]cqrs.Event, error) {
	return []cqrs.Event{counted{c.Name, c.By, v.counter(c.Name), f.T()}}, nil
}

func (c edit) decide(v value, _ fresh) ([]cqrs.Event, error) {
	a, ok := v.account(c.Name)
	if !ok {
		return nil, cqrs.Reject("there is no account %s", c.Name)
	}
	return []cqrs.Event{edited{c.Name, c.Note, a.Rev}}, nil
}

func (sweep) decide(v value, f fresh) ([]cqrs.Event, error) {
	sum := 0
	for _, a := range v.accounts() {
		sum += a.Balance
	}
	return []cqrs.Event{counted{"swept", 1, sum, f.T()}}, nil
}

func (nothing) decide(value, fresh) ([]cqrs.Event, error) { return nil, nil }

func (c odd) decide(v value, f fresh) ([]cqrs.Event, error) {
	if n := v.counter(c.Name); n%2 != 0 {
		return nil, cqrs.Reject("counter %s is odd: %d", c.Name, n)
	}
	return []cqrs.Event{counted{c.Name, 1, v.counter(c.Name), f.T()}}, nil
}

func (c boom) decide(v value, f fresh) ([]cqrs.Event, error) {
	if n := v.counter(c.Name); n%3 == 0 {
		panic(fmt.Sprintf("counter %s is %d", c.Name, n))
	}
	return []cqrs.Event{counted{c.Name, 1, v.counter(c.Name), f.T()}}, nil
}

func (c spoil) decide(value, fresh) ([]cqrs.Event, error) {
	return []cqrs.Event{counted{c.Name, 1, 0, 0}, spoiled{c.Name}, counted{c.Name, 1, 0, 0}}, nil
}

func (invent) decide(_ value, f fresh) ([]cqrs.Event, error) {
	f.NewID()
	return []cqrs.Event{made{f.NewID(), f.Rand().IntN(10), f.Time()}}, nil
}

func (c tell) decide(v value, f fresh) ([]cqrs.Event, error) {
	f.Remark(cqrs.Reject("counter %s was %d", c.Name, v.counter(c.Name)))
	return []cqrs.Event{counted{c.Name, 1, 0, f.T()}}, nil
}

func (c fee1) decide(v value, f fresh) ([]cqrs.Event, error)  { return charge(c, v, f, 10), nil }
func (c fee2) decide(v value, f fresh) ([]cqrs.Event, error)  { return charge(fee1(c), v, f, 1000), nil }
func (c fare1) decide(v value, f fresh) ([]cqrs.Event, error) { return charge(fee1(c), v, f, 7), nil }
func (c fare2) decide(v value, f fresh) ([]cqrs.Event, error) { return charge(fee1(c), v, f, 700), nil }

func charge(c fee1, v value, f fresh, by int) []cqrs.Event {
	return []cqrs.Event{counted{c.Name, by, v.counter(c.Name), f.T()}}
}

func (c bounded) decide(_ value, f fresh) ([]cqrs.Event, error) {
	return []cqrs.Event{counted{"bounded", c.N, 0, f.T()}}, nil
}
