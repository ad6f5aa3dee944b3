package cqrs_test

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/store"
)

// mending folds like counting, and fails what is to fail until it is mended.
type mending struct{ mended *bool }

func (f mending) AggregateEvent(ctx context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	a, _ := e.(added)
	if a.Mode == "flawed" && !*f.mended {
		return errors.New("a flaw")
	}
	return counting{}.AggregateEvent(ctx, tx, e)
}

// foldAgain has the one fold that failed, of the first commit, be tried again.
func foldAgain(t *testing.T, rt *cqrs.Runtime) {
	t.Helper()
	letters, err := rt.DeadLetters(t.Context())
	if err == nil {
		err = rt.Resend(t.Context(), letters...)
	}
	if err != nil || len(letters) != 1 {
		t.Fatal(letters, err)
	}
	if _, err := rt.Shard(0).AtLeast(patience(t), 2); err != nil {
		t.Fatal(err)
	}
}

// What was folded again because a version had failed to fold it is not folded twice by a version that does not fail.
func TestFoldedAgainOnlyWhereItHadFailed(t *testing.T) {
	dir, cfg, mended := t.TempDir(), counterConfig(), false
	cfg.Version, cfg.Aggregator = "1", mending{&mended}
	rt, _, stop := start(t, dir, cfg)
	mustDo(t, rt, add{Name: "a", By: 1, Mode: "flawed"})
	stop()
	mended = true
	rt, _, stop = start(t, dir, cfg)
	foldAgain(t, rt)
	if got := value(t, rt.View(), "a"); got != 1 || value(t, rt.AsOf(1), "a") != 0 {
		t.Errorf("a is %d", got)
	}
	stop()
	cfg.Version = "2"
	rt, _, _ = start(t, dir, cfg)
	if got := value(t, rt.View(), "a"); got != 1 || value(t, rt.AsOf(1), "a") != 1 {
		t.Errorf("built anew, a is %d", got)
	}
}

// placed notes where the events of mode 1 stand in their commands, and fails at first.
type placed struct {
	mended *bool
	place  *store.Event
}

func (f placed) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	if a, _ := e.(added); a.Mode != "1" {
		return nil
	}
	if !*f.mended {
		return errors.New("a flaw")
	}
	*f.place = tx.Recorded().Event
	return nil
}

// An event that is folded again has the place that it had.
func TestFoldedAgainAtItsPlace(t *testing.T) {
	cfg, mended, place := counterConfig(), false, store.Event{}
	cfg.Aggregator = placed{&mended, &place}
	dir := t.TempDir()
	rt, _, stop := start(t, dir, cfg)
	want := mustDo(t, rt, add{Name: "a", By: 3, Mode: "many"}).Events[1].Event
	stop()
	mended = true
	rt, _, stop = start(t, dir, cfg)
	foldAgain(t, rt)
	stop()
	if !reflect.DeepEqual(place, want) || want.Index != 1 {
		t.Errorf("got %+v, wanted %+v", place, want)
	}
}
