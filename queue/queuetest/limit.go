package queuetest

import (
	"context"
	"errors"

	"github.com/cqrs-server/cqrs/queue"
)

var limits = []check{
	{"LimitIsTaken", nil, limitIsTaken},
	{"OverLimitIsRefused", nil, overLimitIsRefused},
}

// ofSize is a message of that size, of which key and headers are a part.
func ofSize(size int) queue.Message {
	m := queue.Message{Time: 1_700_000_000_000, Key: []byte("key"), Headers: []queue.Header{{Key: "h", Value: []byte("header")}}}
	m.Value = make([]byte, size-m.Size())
	m.Value[len(m.Value)-1] = 7
	return m
}

func limitIsTaken(s *suite) {
	want := s.append(0, ofSize(s.q.Limit()))
	want = append(want, s.append(0, text("after"))...)
	s.same(s.all(0), want)
}

func overLimitIsRefused(s *suite) {
	limit := s.q.Limit()
	inHeader := queue.Message{Time: 1, Headers: []queue.Header{{Key: "h", Value: make([]byte, limit)}}}
	inKey := queue.Message{Time: 1, Key: make([]byte, limit), Value: []byte{1}}
	for _, large := range []queue.Message{ofSize(limit + 1), inHeader, inKey} {
		err := s.q.Append(s.ctx, s.topic, 0, []queue.Message{text("before"), large, text("after")})
		var tooLarge *queue.TooLargeError
		if !errors.As(err, &tooLarge) {
			s.Fatalf("want a TooLargeError: %v", err)
		}
		if want := (queue.TooLargeError{Topic: s.topic, Size: limit + 1, Limit: limit}); *tooLarge != want {
			s.Errorf("it says %+v, and it should be %+v", *tooLarge, want)
		}
	}
	if start, end := s.bounds(0); start != end {
		s.Errorf("something was added: bounds %d, %d", start, end)
	}
}

var endings = []check{
	{"CloseEndsWhatWaits", nil, closeEndsWhatWaits},
	{"CallsAfterClose", nil, callsAfterClose},
}

func closeEndsWhatWaits(s *suite) {
	_, end := s.bounds(0)
	reads := []<-chan result{s.reading(s.ctx, 0, end), s.reading(s.ctx, s.Shards-1, end)}
	started := make(chan int, 100)
	owned := s.owning(s.ctx, func(ctx context.Context, shard int) error {
		started <- shard
		<-ctx.Done()
		return ctx.Err()
	})
	for range s.Shards {
		soon(s, "work", started)
	}
	s.must(s.q.Close())
	for _, r := range reads {
		if got := soon(s, "a read that waited", r); !errors.Is(got.err, queue.ErrClosed) {
			s.Errorf("Read: want ErrClosed: %v", got.err)
		}
	}
	if err := soon(s, "Own to return", owned); !errors.Is(err, queue.ErrClosed) {
		s.Errorf("Own: want ErrClosed: %v", err)
	}
}

func callsAfterClose(s *suite) {
	s.appendN(0, 1)
	s.must(s.q.Close())
	s.must(s.q.Close())
	calls := s.calls(0)
	calls["Shards"] = func() error { _, err := s.q.Shards(s.ctx, s.topic); return err }
	calls["Identity"] = func() error { _, err := s.q.Identity(s.ctx, s.topic); return err }
	calls["Own"] = func() error {
		return s.q.Own(s.ctx, s.topic, func(context.Context, int) error { return errors.New("work was called") })
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, queue.ErrClosed) {
			s.Errorf("%s: want ErrClosed: %v", name, err)
		}
	}
}
