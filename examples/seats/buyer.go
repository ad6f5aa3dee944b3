package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/cqrs-server/cqrs"
)

// buyer is somebody who looks at the seats that are free and orders some, until none is left.
type buyer struct {
	name   string
	random *rand.Rand

	seats     int // sold to this buyer, as the outcomes say
	orders    int
	conflicts int // refused: what the order was based on had changed
	refused   int // refused: a seat was sold already
	failed    int // decided, and kept out of the tables by the unique index
}

// sell lets n buyers buy at the same time, until all seats are sold.
func sell(ctx context.Context, rt *cqrs.Runtime, n int, seed uint64) ([]*buyer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	buyers, errs := make([]*buyer, n), make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		b := &buyer{name: fmt.Sprintf("buyer-%02d", i+1), random: rand.New(rand.NewPCG(seed, uint64(i)))}
		buyers[i] = b
		all.Go(func() {
			if errs[i] = b.buy(ctx, rt); errs[i] != nil {
				cancel()
			}
		})
	}
	all.Wait()
	return buyers, errors.Join(errs...)
}

// buy orders seats again and again, until a view shows that none is free.
func (b *buyer) buy(ctx context.Context, rt *cqrs.Runtime) error {
	view := rt.View()
	for {
		seats, err := b.choose(view)
		if err != nil || len(seats) == 0 {
			return err
		}
		t, err := b.order(ctx, rt, view, seats)
		if err != nil {
			return err
		}
		if view, err = rt.Shard(0).AtLeast(ctx, t); err != nil {
			return err
		}
	}
}

const (
	mostSeats = 4  // of an order
	bestSeats = 40 // of those that are free; a buyer wants some of these
)

// choose gives some of the best free seats: few are left to others, so buyers get in each other's way.
func (b *buyer) choose(v cqrs.View) ([]string, error) {
	best, _, err := Free.Whole().Page(v, bestSeats, "")
	if err != nil || len(best) == 0 {
		return nil, err
	}
	seats := make([]string, 0, mostSeats)
	for _, i := range b.random.Perm(len(best))[:min(1+b.random.IntN(mostSeats), len(best))] {
		seats = append(seats, best[i].Name)
	}
	return seats, nil
}

// order sends one order, based on what the buyer saw, and gives the t from which on it makes sense to look again.
func (b *buyer) order(ctx context.Context, rt *cqrs.Runtime, seen cqrs.View, seats []string) (t uint64, err error) {
	b.orders++
	receipt, err := rt.Send(ctx, Buy{Buyer: b.name, Seats: seats}, cqrs.WithBasis(seen.T()))
	if err != nil {
		return 0, err
	}
	outcome, err := receipt.Wait(ctx)
	refusal, refused := errors.AsType[*cqrs.Error](err)
	switch {
	case refused && refusal.Level == cqrs.User && refusal.Tag == "conflict":
		b.conflicts++
		return conflictT(refusal)
	case refused && refusal.Level == cqrs.User && refusal.Tag == "rejected":
		b.refused++
		return rt.View().T(), nil
	case err != nil:
		return 0, err
	case len(outcome.Remarks) > 0:
		b.failed++
		return outcome.T, nil
	}
	b.seats += len(seats)
	return outcome.T, nil
}

// conflictT is the newest t at which something changed that the order was based on.
func conflictT(e *cqrs.Error) (t uint64, err error) {
	var changes []cqrs.Change
	b, err := json.Marshal(e.Data["changes"]) // the facts are JSON when the refusal comes from the files
	if err == nil {
		err = json.Unmarshal(b, &changes)
	}
	for _, c := range changes {
		t = max(t, c.T)
	}
	if err != nil || t == 0 {
		return 0, fmt.Errorf("a conflict that does not say what changed: %w", errors.Join(e, err))
	}
	return t, nil
}
