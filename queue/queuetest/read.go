package queuetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cqrs-server/cqrs/queue"
)

var reads = []check{
	{"ReadFromAnyOffset", nil, readFromAnyOffset},
	{"ReadGivesAtMostMax", nil, readGivesAtMostMax},
	{"ReadWaitsForAnAppend", nil, readWaitsForAnAppend},
	{"ReadIsNotWokenByOthers", nil, readIsNotWokenByOthers},
	{"ReadMissesNothing", nil, readMissesNothing},
	{"ReadEndsWithItsContext", nil, readEndsWithItsContext},
	{"ReadOutOfRange", nil, readOutOfRange},
	{"NoSuchPartition", nil, noSuchPartition},
}

func readFromAnyOffset(s *suite) {
	want := s.appendN(0, 30)
	for i := range want {
		var got []queue.Message
		for from := want[i].Offset; len(got) < len(want)-i; from = got[len(got)-1].Offset + 1 {
			part, err := s.q.Read(s.ctx, s.topic, 0, from, 100)
			s.must(err)
			got = append(got, part...)
		}
		s.same(got, want[i:])
	}
}

func readGivesAtMostMax(s *suite) {
	want := s.appendN(0, 10)
	for _, most := range []int{1, 3, 9} {
		got, err := s.q.Read(s.ctx, s.topic, 0, want[0].Offset, most)
		s.must(err)
		if len(got) < 1 || len(got) > most {
			s.Fatalf("%d messages, and at most %d were asked for", len(got), most)
		}
		s.same(got, want[:len(got)])
	}
}

func readWaitsForAnAppend(s *suite) {
	for round := range 3 {
		_, end := s.bounds(0)
		var readers []<-chan result
		for range 5 {
			readers = append(readers, s.reading(s.ctx, 0, end))
		}
		never(s, "a read at the end returned", readers[round])
		want := s.appendN(0, 1)
		for _, r := range readers {
			got := soon(s, "a read that waits", r)
			s.must(got.err)
			s.same(got.msgs, want)
		}
	}
}

func readIsNotWokenByOthers(s *suite) {
	_, end := s.bounds(0)
	read := s.reading(s.ctx, 0, end)
	topic := s.topic
	s.topic = s.Topic(s.T)
	s.appendN(0, 3)
	s.topic = topic
	for shard := 1; shard < s.Shards; shard++ {
		s.appendN(shard, 3)
	}
	never(s, "a read returned for a message in another partition", read)
	want := s.appendN(0, 1)
	got := soon(s, "the read", read)
	s.must(got.err)
	s.same(got.msgs, want)
}

// Readers that follow while others append see everything once, in order.
func readMissesNothing(s *suite) {
	const n = 300
	start, _ := s.bounds(0)
	var followers []<-chan result
	for range 3 {
		followers = append(followers, s.following(start, n))
	}
	var want []queue.Message
	for len(want) < n {
		want = append(want, s.appendN(0, 1+len(want)%2)...)
	}
	for _, f := range followers {
		got := soon(s, "a follower", f)
		s.must(got.err)
		s.same(got.msgs, want[:len(got.msgs)])
	}
}

func (s *suite) following(from int64, n int) <-chan result {
	c := make(chan result, 1)
	go func() {
		var r result
		for len(r.msgs) < n && r.err == nil {
			var part []queue.Message
			if part, r.err = s.q.Read(s.ctx, s.topic, 0, from, 7); r.err == nil {
				r.msgs = append(r.msgs, part...)
				from = part[len(part)-1].Offset + 1
			}
		}
		c <- r
	}()
	return c
}

func readEndsWithItsContext(s *suite) {
	_, end := s.bounds(0)
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	read := s.reading(ctx, 0, end)
	never(s, "a read at the end returned", read)
	cancelled := time.Now()
	cancel()
	if got := soon(s, "the cancelled read", read); !errors.Is(got.err, context.Canceled) || len(got.msgs) > 0 {
		s.Errorf("want ctx's error: %v", got.err)
	}
	ctx, cancel = context.WithTimeout(s.ctx, s.Quiet)
	defer cancel()
	if _, err := s.q.Read(ctx, s.topic, 0, end, 1); !errors.Is(err, context.DeadlineExceeded) {
		s.Errorf("want ctx's error: %v", err)
	}
	if took := time.Since(cancelled); took > s.Quiet+2*time.Second {
		s.Errorf("it took %v", took)
	}
	want := s.appendN(0, 1)
	s.same(s.all(0), want)
}

func readOutOfRange(s *suite) {
	for _, n := range []int{0, 4} {
		s.appendN(0, n)
		start, end := s.bounds(0)
		for _, from := range []int64{start - 1, -1, -1 << 62, end + 1, end + 1<<40} {
			_, err := s.q.Read(s.ctx, s.topic, 0, from, 10)
			s.checkRange(err, queue.RangeError{Topic: s.topic, Shard: 0, Want: from, Start: start, End: end})
		}
	}
}

func (s *suite) checkRange(err error, want queue.RangeError) {
	s.Helper()
	var got *queue.RangeError
	if !errors.As(err, &got) {
		s.Fatalf("offset %d in %d to %d: want a RangeError: %v", want.Want, want.Start, want.End, err)
	}
	if *got != want {
		s.Errorf("it says %+v, and it should be %+v", *got, want)
	}
}

func noSuchPartition(s *suite) {
	s.appendN(0, 1)
	for _, shard := range []int{-1, s.Shards, s.Shards + 1000} {
		for name, call := range s.calls(shard) {
			if err := call(); !errors.Is(err, queue.ErrNoTopic) {
				s.Errorf("%s of shard %d: want ErrNoTopic: %v", name, shard, err)
			}
		}
	}
}

// calls are the methods that take a partition.
func (s *suite) calls(shard int) map[string]func() error {
	calls := map[string]func() error{
		"Append":    func() error { return s.q.Append(s.ctx, s.topic, shard, []queue.Message{text("a")}) },
		"Read":      func() error { _, err := s.q.Read(s.ctx, s.topic, shard, 0, 1); return err },
		"Bounds":    func() error { _, _, err := s.q.Bounds(s.ctx, s.topic, shard); return err },
		"Commit":    func() error { return s.q.Commit(s.ctx, s.topic, shard, 0) },
		"Committed": func() error { _, err := s.q.Committed(s.ctx, s.topic, shard); return err },
	}
	if s.Trim {
		calls["Trim"] = func() error { _, err := s.trimmer().Trim(s.ctx, s.topic, shard, 1, 1); return err }
	}
	return calls
}

var bounds = []check{
	{"BoundsFollowAppends", nil, boundsFollowAppends},
	{"ShardsAndIdentity", nil, shardsAndIdentity},
	{"IdentityStaysOverReopen", needsReopen, identityStays},
}

func boundsFollowAppends(s *suite) {
	start, end := s.bounds(0)
	if start != end || s.DenseOffsets && end != 0 {
		s.Fatalf("a topic without messages has bounds %d, %d", start, end)
	}
	for range 3 {
		_, before := s.bounds(0)
		msgs := s.appendN(0, 3)
		now, end := s.bounds(0)
		first, last := msgs[0].Offset, msgs[2].Offset
		if now != start || first < before || end <= last || s.DenseOffsets && (first != before || end != last+1) {
			s.Fatalf("messages %d to %d were appended at %d, and the bounds are %d, %d", first, last, before, now, end)
		}
	}
	if got := s.all(0); got[0].Offset < start || s.DenseOffsets && got[0].Offset != start {
		s.Errorf("the first message has offset %d, and the bounds begin at %d", got[0].Offset, start)
	}
}

func shardsAndIdentity(s *suite) {
	other := s.Topic(s.T)
	ids := map[string]string{}
	for _, topic := range []string{s.topic, other, s.topic} {
		n, err := s.q.Shards(s.ctx, topic)
		s.must(err)
		id, err := s.q.Identity(s.ctx, topic)
		s.must(err)
		if n != s.Shards || id == "" || ids[topic] != "" && ids[topic] != id {
			s.Errorf("%s has %d shards and the identity %q (was %q)", topic, n, id, ids[topic])
		}
		ids[topic] = id
	}
	if ids[s.topic] == ids[other] {
		s.Errorf("two topics have the identity %q", ids[other])
	}
}

func identityStays(s *suite) {
	before, err := s.q.Identity(s.ctx, s.topic)
	s.must(err)
	s.appendN(0, 1)
	for i := range 2 {
		if after, err := s.q.Identity(s.ctx, s.topic); err != nil || after != before {
			s.Errorf("%s: the identity was %q and is %q (%v)", fmt.Sprint(i, " reopenings"), before, after, err)
		}
		s.reopen()
	}
}
