package storetest

import (
	"errors"

	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
)

var findTests = map[string]func(*suite){
	"find/no such event":      findNoEvent,
	"find/no such command":    findNoCommand,
	"find/commit without any": findEmptyCommit,
	"find/other segments":     findOtherSegments,
	"find/ids of any version": findAnyVersion,
	"find/extreme values":     findExtremes,
}

func findNoEvent(s *suite) {
	r := s.record("a")
	s.put(r)
	for _, id := range []uuid.UUID{uuid.New(), uuid.Nil, r.Command} {
		if _, err := s.s.Event(s.Context(), id); !errors.Is(err, store.ErrNotFound) {
			s.Fatalf("Event(%s) gave %v, want ErrNotFound", id, err)
		}
	}
	near := r.Events[0].ID
	near[15] ^= 1
	if _, err := s.s.Event(s.Context(), near); !errors.Is(err, store.ErrNotFound) {
		s.Fatalf("Event of an id that differs in the last bit gave %v, want ErrNotFound", err)
	}
}

func findNoCommand(s *suite) {
	r := s.record("a")
	s.put(r)
	for _, id := range []uuid.UUID{uuid.New(), uuid.Nil, r.Events[0].ID} {
		if _, err := s.s.Commit(s.Context(), id); !errors.Is(err, store.ErrNotFound) {
			s.Fatalf("Commit(%s) gave %v, want ErrNotFound", id, err)
		}
	}
}

func findEmptyCommit(s *suite) {
	r := s.record()
	r.Prev, r.Trace, r.Remarks = nil, nil, nil
	s.put(r)
	s.holds(r)
	s.logIs(1, r)
	s.queryIs(store.Query{Type: s.kind})
}

func findOtherSegments(s *suite) {
	r := s.record("a", "b", "c")
	r.Events[1].Segment, r.Events[2].Segment = "", ":ok"
	r = named(r)
	s.put(r)
	s.holds(r)
}

func findAnyVersion(s *suite) {
	for _, id := range []uuid.UUID{uuid.New(), uuid.NewSHA1(uuid.New(), nil), uuid.Max} {
		r := s.record("a")
		if r.Command = id; id == uuid.Max {
			r.Command[0] = byte(s.shard) // a shared store may hold the greatest id already
			r.Command[1], r.Command[2], r.Command[3] = byte(s.shard>>8), byte(s.shard>>16), byte(s.shard>>24)
		}
		r = named(r)
		s.put(r)
		s.holds(r)
	}
}

func findExtremes(s *suite) {
	r := s.record("a")
	r.Basis = 1<<64 - 1
	s.put(r)
	s.holds(r)
}
