package storetest

import (
	"context"
	"errors"

	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
)

var faultTests = map[string]func(*suite){
	"fault/context ended":      contextEnded,
	"fault/context ends later": contextEndsLater,
	"fault/closed":             closed,
	"fault/place is taken":     placeTaken,
	"fault/bad records":        badRecords,
}

// calls are all calls that take a context, each with its error.
func calls(s *suite, ctx context.Context) map[string]error {
	_, event := s.s.Event(ctx, uuid.New())
	_, commit := s.s.Commit(ctx, uuid.New())
	_, last := s.s.Last(ctx, s.shard)
	errs := map[string]error{
		"Put": s.s.Put(ctx, s.records(1)), "Event": event, "Commit": commit, "Last": last,
	}
	for _, err := range s.s.Log(ctx, s.shard, 1) {
		errs["Log"] = err
	}
	for _, err := range s.s.Query(ctx, store.Query{Type: s.kind}) {
		errs["Query"] = err
	}
	return errs
}

func (s *suite) allFail(ctx context.Context, want error) {
	s.Helper()
	errs := calls(s, ctx)
	for _, name := range []string{"Put", "Event", "Commit", "Last", "Log", "Query"} {
		if !errors.Is(errs[name], want) {
			s.Errorf("%s gave %v, want %v", name, errs[name], want)
		}
	}
}

func contextEnded(s *suite) {
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	s.allFail(ctx, context.Canceled)
	s.logIs(1)
}

// contextEndsLater is an end in the middle of an iteration.
func contextEndsLater(s *suite) {
	rs := s.records(3)
	s.put(rs...)
	s.queryIs(store.Query{Type: s.kind}, entries(rs...)...)

	if err := endOf(s, func(ctx context.Context, seen func()) (last error) {
		for _, last = range s.s.Log(ctx, s.shard, 1) {
			seen()
		}
		return last
	}); !errors.Is(err, context.Canceled) {
		s.Errorf("Log ended with %v, want %v", err, context.Canceled)
	}
	if err := endOf(s, func(ctx context.Context, seen func()) (last error) {
		for _, last = range s.s.Query(ctx, store.Query{Type: s.kind}) {
			seen()
		}
		return last
	}); !errors.Is(err, context.Canceled) {
		s.Errorf("Query ended with %v, want %v", err, context.Canceled)
	}
}

// endOf ends the context when the iteration has seen something, and gives its last error.
func endOf(s *suite, iterate func(ctx context.Context, seen func()) error) error {
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	return iterate(ctx, cancel)
}

func closed(s *suite) {
	for range 2 {
		if err := s.s.Close(); err != nil {
			s.Fatalf("Close: %v", err)
		}
	}
	s.allFail(s.Context(), store.ErrClosed)
}

func placeTaken(s *suite) {
	first, next := s.record("a"), s.record("b")
	s.put(first)
	second := s.record("c")
	second.T = first.T
	if err := s.s.Put(s.Context(), []store.Record{second, next}); err == nil {
		s.Fatal("Put took a second record for one t")
	}
	if _, err := s.s.Commit(s.Context(), second.Command); !errors.Is(err, store.ErrNotFound) {
		s.Fatalf("the record that was refused: %v, want ErrNotFound", err)
	}
	if _, err := s.s.Event(s.Context(), second.Events[0].ID); !errors.Is(err, store.ErrNotFound) {
		s.Fatalf("the event that was refused: %v, want ErrNotFound", err)
	}
	s.holds(first)
	s.put(next)
	s.logIs(1, first, next)
}

func badRecords(s *suite) {
	for name, change := range map[string]func(*store.Record){
		"t 0":            func(r *store.Record) { r.T = 0 },
		"negative shard": func(r *store.Record) { r.Shard = -1 },
		"short prev":     func(r *store.Record) { r.Prev = r.Prev[:5:5] },
	} {
		r := s.record("a")
		change(&r)
		if err := s.s.Put(s.Context(), []store.Record{r}); err == nil {
			s.Errorf("Put took a record with %s", name)
		}
	}
	s.logIs(1)
}
