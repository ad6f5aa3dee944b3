package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/cqrstest"
	"github.com/cqrs-server/cqrs/examples/internal/servers"
)

func patience(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// hall is a runtime with a hall that is open.
func hall(t *testing.T, mode cqrs.Consistency, rows, width int) *cqrs.Runtime {
	t.Helper()
	rt := cqrstest.Runtime(t, config(mode))
	if err := openHall(patience(t), rt, options{rows: rows, width: width}); err != nil {
		t.Fatal(err)
	}
	return rt
}

// buys sends an order based on t and waits for its end.
func buys(t *testing.T, rt *cqrs.Runtime, basis uint64, name string, seats ...string) (cqrs.Outcome, error) {
	t.Helper()
	receipt, err := rt.Send(patience(t), Buy{name, seats}, cqrs.WithBasis(basis))
	if err != nil {
		t.Fatal(err)
	}
	return receipt.Wait(patience(t))
}

func ownerOf(t *testing.T, rt *cqrs.Runtime, seat string) string {
	t.Helper()
	ticket, err := BySeat.Get(rt.View(), seat)
	if err != nil && !errors.Is(err, cqrs.ErrNotFound) {
		t.Fatal(err)
	}
	if row, err := Seats.Get(rt.View(), seat); err != nil || row.Sold != (ticket.Buyer != "") {
		t.Errorf("seat %+v %v, and its ticket is %q's", row, err, ticket.Buyer)
	}
	return ticket.Buyer
}

// Two buyers saw the same free seat. The second one's order ends as the consistency says, and the seat stays the first one's; the
// other seat of the order is not sold either.
func TestTooLate(t *testing.T) {
	for _, c := range []struct {
		name   string
		mode   cqrs.Consistency
		tag    string // of the refusal; "": it is decided
		failed uint64
	}{
		{"serializable", cqrs.Serializable, "rejected", 0},
		{"unchanged", cqrs.Unchanged, "conflict", 0},
		{"asofbasis", cqrs.AsOfBasis, "", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			rt := hall(t, c.mode, 2, 3)
			basis := rt.View().T()
			first, err := buys(t, rt, basis, "ann", "A01")
			if err != nil || len(first.Remarks) > 0 {
				t.Fatal(err, first.Remarks)
			}
			second, err := buys(t, rt, basis, "bob", "A02", "A01")
			checkTooLate(t, c.tag, first, second, err)
			if a, b := ownerOf(t, rt, "A01"), ownerOf(t, rt, "A02"); a != "ann" || b != "" {
				t.Errorf("A01 is %q's, A02 is %q's", a, b)
			}
			if got := rt.Shard(0).Failed(); got != c.failed {
				t.Errorf("%d failed folds, wanted %d", got, c.failed)
			}
			if _, err := buys(t, rt, rt.View().T(), "eve", "A02"); err != nil || ownerOf(t, rt, "A02") != "eve" {
				t.Errorf("the seat that was left can't be bought: %v", err)
			}
		})
	}
}

func checkTooLate(t *testing.T, tag string, first, second cqrs.Outcome, err error) {
	t.Helper()
	if tag == "" {
		if err != nil || len(second.Remarks) != 1 || !errors.Is(second.Remarks[0], cqrs.ErrTaken) {
			t.Errorf("the unique index did not stand in the way: %v %+v", err, second)
		}
		return
	}
	e, ok := errors.AsType[*cqrs.Error](err)
	if !ok || e.Level != cqrs.User || e.Tag != tag {
		t.Fatalf("wanted a refusal with tag %s: %v", tag, err)
	}
	if tag == "conflict" {
		if at, err := conflictT(e); err != nil || at != first.T {
			t.Errorf("the conflict is with t %d (%v), wanted %d", at, err, first.T)
		}
	}
}

// Somebody who bought another seat meanwhile is in nobody's way.
func TestOtherSeatsDoNotConflict(t *testing.T) {
	for name, mode := range modes {
		rt := hall(t, mode, 1, 3)
		basis := rt.View().T()
		for buyer, seat := range map[string]string{"ann": "A01", "bob": "A02", "eve": "A03"} {
			if out, err := buys(t, rt, basis, buyer, seat); err != nil || len(out.Remarks) > 0 || ownerOf(t, rt, seat) != buyer {
				t.Errorf("%s: %s can't buy %s: %v %v", name, buyer, seat, err, out.Remarks)
			}
		}
	}
}

func TestOrdersThatMakeNoSense(t *testing.T) {
	rt := hall(t, cqrs.Serializable, 1, 2)
	for _, seats := range [][]string{{"Z99"}, {"A01", "A01"}, {}} {
		if _, err := buys(t, rt, rt.View().T(), "ann", seats...); err == nil {
			t.Errorf("order of %v was accepted", seats)
		}
	}
	if n, err := Free.Whole().Count(rt.View()); err != nil || n != 2 {
		t.Errorf("%d seats are free %v", n, err)
	}
}

// Fifty buyers at the same time sell the hall out, and no seat twice.
func TestSoldOut(t *testing.T) {
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			rt := hall(t, mode, 8, 20)
			buyers, err := sell(patience(t), rt, 50, 1)
			if err != nil {
				t.Fatal(err)
			}
			f, err := inspect(patience(t), rt)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.fault(); err != nil || f.seats != 160 || f.tickets != 160 {
				t.Errorf("%v %+v", err, f)
			}
			checkBuyers(t, mode, buyers, f)
		})
	}
}

// checkBuyers: everybody has the seats that the outcomes said, and who was too late heard of it in the way of the consistency.
func checkBuyers(t *testing.T, mode cqrs.Consistency, buyers []*buyer, f *findings) {
	t.Helper()
	told, sum := map[string]int{}, buyer{}
	for _, b := range buyers {
		if b.seats > 0 {
			told[b.name] = b.seats
		}
		sum.conflicts, sum.refused, sum.failed = sum.conflicts+b.conflicts, sum.refused+b.refused, sum.failed+b.failed
	}
	if !maps.Equal(told, f.owners) {
		t.Errorf("the buyers were told %v, and the tickets say %v", told, f.owners)
	}
	if mode != cqrs.Unchanged && sum.conflicts > 0 || mode != cqrs.Serializable && sum.refused > 0 || mode != cqrs.AsOfBasis && sum.failed > 0 {
		t.Errorf("%d conflicts, %d refused, %d failed", sum.conflicts, sum.refused, sum.failed)
	}
	if mode != cqrs.AsOfBasis && f.decidedTwice > 0 || f.failedFolds != uint64(sum.failed) {
		t.Errorf("%d seats were decided twice, %d folds failed", f.decidedTwice, f.failedFolds)
	}
}

// The check finds what must not be.
func TestFault(t *testing.T) {
	good := findings{seats: 2, sold: 2, tickets: 2}
	if err := good.fault(); err != nil {
		t.Error(err)
	}
	for want, f := range map[string]findings{
		"two owners":     {seats: 2, sold: 2, tickets: 3, twice: []string{"A01"}},
		"3 tickets for":  {seats: 2, sold: 2, tickets: 3},
		"1 of 2 seats":   {seats: 2, sold: 1, tickets: 1},
		"0 dead letters": {seats: 2, sold: 2, tickets: 2, failedFolds: 1},
	} {
		if err := f.fault(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("wanted %q: %v", want, err)
		}
	}
}

// The whole command, and again on the same folder: all is sold already.
func TestCommand(t *testing.T) {
	for name := range modes {
		args := []string{"-consistency", name, "-data", t.TempDir(), "-rows", "4", "-width", "10", "-buyers", "12"}
		for _, first := range []string{"40 seats are free; 12 buyers, each order is " + name, "0 seats are free"} {
			var out bytes.Buffer
			if err := run(patience(t), args, &out, io.Discard); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, out.String())
			}
			for _, want := range []string{first, "the check: 40 seats, 40 sold, 40 tickets of", "more than one owner:                         0\n"} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%s does not say %q:\n%s", name, want, out.String())
				}
			}
		}
	}
}

// On Kafka and DynamoDB it is the same sale.
func TestCommandOnServers(t *testing.T) {
	args := append(servers.ForTest(t).Args(), "-data", t.TempDir(), "-rows", "4", "-width", "10", "-buyers", "12")
	var out strings.Builder
	if err := run(patience(t), args, &out, io.Discard); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"40 seats are free; 12 buyers, each order is unchanged", "the check: 40 seats, 40 sold, 40 tickets of",
		"more than one owner:                         0\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
}

func TestBadUse(t *testing.T) {
	for want, args := range map[string][]string{
		"write serializable":     {"-consistency", "none"},
		"at least 1":             {"-buyers", "0"},
		"nothing but flags":      {"more"},
		"does not fit":           {"-rows", "27"},
		"flag provided but not ": {"-nope"},
	} {
		if err := run(patience(t), args, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", args, err)
		}
	}
}
