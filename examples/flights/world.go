package main

import (
	"context"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/cqrs-server/cqrs"
)

// world is a view of each shard. A flight is in one of them, by its key; a carrier's flights are in all.
type world []cqrs.View

// newestOf waits until this process has read what the others have done.
func newestOf(ctx context.Context, rt *cqrs.Runtime) (w world, err error) {
	for n := range rt.Shards() {
		v, err := rt.Shard(n).Sync(ctx)
		if err != nil {
			return nil, err
		}
		w = append(w, v)
	}
	return w, nil
}

func asOf(ctx context.Context, rt *cqrs.Runtime, shards int, instant time.Time) (w world, err error) {
	for n := range shards {
		v, err := rt.Shard(n).AsOfTime(ctx, instant)
		if err != nil {
			return nil, err
		}
		w = append(w, v)
	}
	return w, nil
}

// t is how many commits there were, all in all.
func (w world) t() (sum uint64) {
	for _, v := range w {
		sum += v.T()
	}
	return sum
}

// carriers gives the carriers with what all shards have counted, in the order of their codes.
func (w world) carriers() ([]Carrier, error) {
	sums := map[string]Carrier{}
	for _, v := range w {
		for c, err := range Carriers.All(v) {
			if err != nil {
				return nil, err
			}
			sums[c.Code] = sums[c.Code].plus(c)
		}
	}
	list := make([]Carrier, 0, len(sums))
	for _, code := range slices.Sorted(maps.Keys(sums)) {
		list = append(list, sums[code])
	}
	return list, nil
}

func (c Carrier) plus(d Carrier) Carrier {
	return Carrier{
		d.Code, c.Scheduled + d.Scheduled, c.Departed + d.Departed, c.Landed + d.Landed, c.Cancelled + d.Cancelled,
		c.Late + d.Late, c.DelayMinutes + d.DelayMinutes, c.AirMinutes + d.AirMinutes, c.Miles + d.Miles,
	}
}

// flights gives what a question finds in all shards, sorted; without order as it comes.
func (w world) flights(find func(cqrs.Reader) iter.Seq2[Flight, error], order func(a, b Flight) int) (list []Flight, err error) {
	for _, v := range w {
		for f, err := range find(v) {
			if err != nil {
				return nil, err
			}
			list = append(list, f)
		}
	}
	if order != nil {
		slices.SortFunc(list, order)
	}
	return list, nil
}
