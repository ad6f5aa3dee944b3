package cqrs_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/cqrs-server/cqrs"
	"github.com/google/uuid"
)

// A bank of three accounts: concurrent clients read and transfer, and porcupine looks for an order of the log in which all of them saw
// what they must.

type account struct {
	Number, Balance int
}

var accounts = cqrs.NewTable("accounts", func(a account) int { return a.Number })

const (
	bankAccounts = 3
	bankBalance  = 10 // of each, in the beginning
)

type balances [bankAccounts]int

// transfer refuses to overdraw. A transfer of nothing from an account to itself only looks: it answers with the balances.
type transfer struct{ From, To, Amount int }

type (
	transferSerializable struct{ transfer }
	transferAsOfBasis    struct{ transfer }
	transferUnchanged    struct{ transfer }
)

func (transferSerializable) CommandType() string { return "bank/transfer" }
func (transferAsOfBasis) CommandType() string    { return "bank/transfer-as-of-basis" }
func (transferUnchanged) CommandType() string    { return "bank/transfer-unchanged" }

func (transferSerializable) Consistency() cqrs.Consistency { return cqrs.Serializable }
func (transferAsOfBasis) Consistency() cqrs.Consistency    { return cqrs.AsOfBasis }
func (transferUnchanged) Consistency() cqrs.Consistency    { return cqrs.Unchanged }

func (c transfer) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	if c.From == c.To {
		b, err := readBalances(d)
		return []cqrs.Event{moved{Balances: b}}, err
	}
	from, err := accounts.Get(d, c.From)
	to, err2 := accounts.Get(d, c.To)
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	if from.Balance < c.Amount {
		return nil, cqrs.Reject("account %d has %d", c.From, from.Balance)
	}
	// The event says how the accounts stand, so that a decision on an old value loses what came in between.
	from.Balance, to.Balance = from.Balance-c.Amount, to.Balance+c.Amount
	return []cqrs.Event{moved{Accounts: []account{from, to}}}, nil
}

type moved struct {
	Accounts []account
	Balances balances
}

func (moved) EventType() string { return "bank/moved" }

// opening sets all accounts.
type opening struct{}

func (opening) CommandType() string { return "bank/open" }

func (opening) ProcessCommand(context.Context, *cqrs.Decision) ([]cqrs.Event, error) {
	var all []account
	for n := range bankAccounts {
		all = append(all, account{n, bankBalance})
	}
	return []cqrs.Event{moved{Accounts: all}}, nil
}

type bankFold struct{}

func (bankFold) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	for _, a := range e.(moved).Accounts {
		if err := accounts.Put(tx, a); err != nil {
			return err
		}
	}
	return nil
}

func readBalances(r cqrs.Reader) (b balances, err error) {
	for n := range b {
		a, err := accounts.Get(r, n)
		if err != nil {
			return b, err
		}
		b[n] = a.Balance
	}
	return b, nil
}

// bankInput is what a client does: with seen, the value that its basis showed.
type bankInput struct {
	do       string // read, look, serializable, unchanged
	transfer transfer
	basis    uint64
	seen     balances
}

type bankOutput struct {
	end      string // accepted, rejected, conflict; of a read: nothing
	t        uint64
	balances balances
}

// bankState is the bank after t commits.
type bankState struct {
	t        uint64
	balances balances
	written  [bankAccounts]uint64
}

var bankModel = porcupine.Model{
	Init: func() any {
		s := bankState{t: 1}
		for n := range s.balances {
			s.balances[n], s.written[n] = bankBalance, 1
		}
		return s
	},
	Step: func(state, input, output any) (bool, any) {
		return state.(bankState).step(input.(bankInput), output.(bankOutput))
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}

func (s bankState) step(in bankInput, out bankOutput) (bool, bankState) {
	c := in.transfer
	changed := s.written[c.From] > in.basis || s.written[c.To] > in.basis
	switch {
	case in.do == "read":
		return out.t == s.t && out.balances == s.balances, s
	case in.do == "look":
		ok := out.t == s.t+1 && out.balances == s.balances
		s.t++
		return ok, s
	case out.end == "conflict":
		return in.do == "unchanged" && changed, s
	case out.end == "rejected" && in.do == "unchanged":
		return in.seen[c.From] < c.Amount, s
	case out.end == "rejected":
		return s.balances[c.From] < c.Amount, s
	}
	ok := out.t == s.t+1 && s.balances[c.From] >= c.Amount && !(in.do == "unchanged" && changed)
	return ok, s.move(c)
}

func (s bankState) move(c transfer) bankState {
	s.t++
	s.balances[c.From] -= c.Amount
	s.balances[c.To] += c.Amount
	s.written[c.From], s.written[c.To] = s.t, s.t
	return s
}

// bankClient does one thing after another, and notes when each began and ended.
type bankClient struct {
	id      int
	rt      *cqrs.Runtime
	rand    *rand.Rand
	since   time.Time
	seen    bankOutput // of its last read
	next    uuid.UUID  // of what it sends, when that is to be known
	history []porcupine.Operation
	err     error
}

func (c *bankClient) run(ctx context.Context, steps int) {
	c.note(ctx, bankInput{do: "read"})
	for range steps {
		in := bankInput{basis: c.seen.t, seen: c.seen.balances}
		in.do = []string{"read", "look", "serializable", "serializable", "unchanged", "unchanged"}[c.rand.IntN(6)]
		in.transfer = transfer{c.rand.IntN(bankAccounts), 0, 1 + c.rand.IntN(9)}
		in.transfer.To = (in.transfer.From + 1 + c.rand.IntN(bankAccounts-1)) % bankAccounts
		c.note(ctx, in)
	}
}

func (c *bankClient) note(ctx context.Context, in bankInput) {
	call := time.Since(c.since)
	out, err := c.do(ctx, in)
	c.err = errors.Join(c.err, err)
	c.history = append(c.history, porcupine.Operation{
		ClientId: c.id, Input: in, Call: int64(call), Output: out, Return: int64(time.Since(c.since)),
	})
}

func (c *bankClient) do(ctx context.Context, in bankInput) (out bankOutput, err error) {
	switch in.do {
	case "read":
		c.seen, err = c.read(ctx)
		return c.seen, err
	case "look":
		return c.send(ctx, in, transferSerializable{})
	case "serializable":
		return c.send(ctx, in, transferSerializable{in.transfer})
	case "unchanged":
		return c.send(ctx, in, transferUnchanged{in.transfer})
	}
	return c.send(ctx, in, transferAsOfBasis{in.transfer})
}

// read takes the newest value, or waits for the one it knows of.
func (c *bankClient) read(ctx context.Context) (out bankOutput, err error) {
	v := c.rt.View()
	if c.rand.IntN(2) == 0 {
		if v, err = c.rt.Shard(0).AtLeast(ctx, c.seen.t); err != nil {
			return out, err
		}
	}
	out.t = v.T()
	out.balances, err = readBalances(v)
	return out, err
}

func (c *bankClient) send(ctx context.Context, in bankInput, command cqrs.Command) (out bankOutput, err error) {
	r, err := c.rt.Send(ctx, command, cqrs.WithBasis(in.basis), cqrs.WithID(c.next))
	if err != nil {
		return out, err
	}
	outcome, err := r.Wait(ctx)
	if e, ok := errors.AsType[*cqrs.Error](err); ok && e.Level == cqrs.User {
		return bankOutput{end: e.Tag}, nil
	}
	if err != nil {
		return out, err
	}
	return bankOutput{"accepted", outcome.T, outcome.Events[0].Value.(moved).Balances}, nil
}

func startBank(t *testing.T) *cqrs.Runtime {
	rt, _, _ := start(t, t.TempDir(), accountsConfig())
	mustDo(t, rt, opening{})
	return rt
}

func newBankClient(rt *cqrs.Runtime, id int, since time.Time) *bankClient {
	return &bankClient{id: id, rt: rt, since: since, rand: rand.New(rand.NewPCG(7, uint64(id)))}
}

func TestHistoriesAreLinearizable(t *testing.T) {
	for round := range 4 {
		rt, since, ctx := startBank(t), time.Now(), patience(t)
		var clients []*bankClient
		var wg sync.WaitGroup
		for n := range 6 {
			c := newBankClient(rt, round*10+n, since)
			clients = append(clients, c)
			wg.Go(func() { c.run(ctx, 60) })
		}
		wg.Wait()
		checkHistory(t, clients)
	}
}

// checkHistory also wants that the clients met: an end of each kind.
func checkHistory(t *testing.T, clients []*bankClient) {
	t.Helper()
	var history []porcupine.Operation
	ends := map[string]int{}
	for i, c := range clients {
		if c.err != nil {
			t.Fatal(c.err)
		}
		for _, o := range c.history {
			o.ClientId = i
			history = append(history, o)
			ends[o.Input.(bankInput).do+" "+o.Output.(bankOutput).end]++
		}
	}
	if got := porcupine.CheckOperationsTimeout(bankModel, history, 30*time.Second); got != porcupine.Ok {
		t.Errorf("%d operations: %s", len(history), got)
	}
	for _, end := range []string{
		"serializable accepted", "serializable rejected", "unchanged accepted", "unchanged rejected", "unchanged conflict",
	} {
		if ends[end] == 0 {
			t.Errorf("no operation was %s: %v", end, ends)
		}
	}
}

// TestStaleDecisionsAreNotLinearizable shows that the test above can fail: by decisions as of an old basis, and by a lost update.
func TestStaleDecisionsAreNotLinearizable(t *testing.T) {
	for amount, lost := range map[int]string{bankBalance: "overdrawn", 1: "lost update"} {
		c, ctx := newBankClient(startBank(t), 0, time.Now()), patience(t)
		first := bankInput{do: "read"}
		c.note(ctx, first)
		for range 2 {
			c.note(ctx, bankInput{do: "as of basis", transfer: transfer{0, 1, amount}, basis: c.seen.t, seen: c.seen.balances})
		}
		c.note(ctx, first)
		if c.err != nil {
			t.Fatal(c.err)
		}
		if porcupine.CheckOperations(bankModel, c.history) {
			t.Errorf("%s: the history was taken for linearizable", lost)
		}
	}
}
