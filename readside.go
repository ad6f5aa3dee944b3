package cqrs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// ReadSide is an aggregate of one shard, to read from.
type ReadSide struct {
	serving atomic.Pointer[aggregate] // nil of a Sender

	mu    sync.Mutex
	moved chan struct{} // closed when t moves, or the runtime closes; nil when nobody waits
	shut  bool
}

// agg is the aggregate as it is read now: another version may take its place.
func (s *ReadSide) agg() *aggregate { return s.serving.Load() }

// View is the newest value.
func (s *ReadSide) View() View {
	a := s.agg()
	if a == nil { // of a Sender
		return View{}
	}
	return View{agg: a, t: a.position().t}
}

// AsOf is the value at t. A t that is still to come gives ErrFuture when the view is read.
func (s *ReadSide) AsOf(t uint64) View { return View{agg: s.agg(), t: t} }

// Version is the version that the aggregate was built as.
func (s *ReadSide) Version() string {
	if a := s.agg(); a != nil {
		return a.version
	}
	return ""
}

// Failed is the number of events whose fold failed: above 0 the aggregate is incomplete.
func (s *ReadSide) Failed() uint64 { return s.at().failed }

// at is the position of the newest value; of a Sender, the one before everything.
func (s *ReadSide) at() position {
	if a := s.agg(); a != nil {
		return *a.position()
	}
	return position{}
}

// Digest is the running digest of the accepted commits, and the t it belongs to. Aggregates with the same digest have folded the same
// commits.
func (s *ReadSide) Digest() (Digest, uint64) {
	p := s.at()
	return p.digest, p.t
}

// AtLeast waits until the aggregate has reached t, and gives its newest value.
func (s *ReadSide) AtLeast(ctx context.Context, t uint64) (View, error) {
	if s.agg() == nil {
		return View{}, errNoView
	}
	for {
		moved, shut := s.watch()
		if v := s.View(); v.t >= t {
			return v, nil
		}
		if shut {
			return View{}, ErrClosed
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return View{}, fmt.Errorf("cqrs: shard %d has not reached t %d: %w", s.agg().shard, t, ctx.Err())
		}
	}
}

var errNoView = errors.New("cqrs: this process can't read: its Role is Sender, or the View was made by no Runtime")

// watch gives a channel that is closed at the next move.
func (s *ReadSide) watch() (moved <-chan struct{}, shut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.moved == nil {
		s.moved = make(chan struct{})
		if s.shut {
			close(s.moved)
		}
	}
	return s.moved, s.shut
}

// publish makes a committed position visible.
func (s *ReadSide) publish(p position) {
	s.agg().at.Store(&p)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wakeAll()
}

func (s *ReadSide) closed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut = true
	s.wakeAll()
}

func (s *ReadSide) wakeAll() {
	if s.moved != nil {
		close(s.moved)
		s.moved = nil
	}
}
