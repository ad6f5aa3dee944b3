package queuetest

import (
	"math"

	"github.com/cqrs-server/cqrs/queue"
)

var trims = []check{
	{"TrimDropsWhatIsBelow", needsTrim, trimDropsWhatIsBelow},
	{"TrimInSteps", needsTrim, trimInSteps},
	{"TrimAllKeepsTheOffsets", needsTrim, trimAllKeepsTheOffsets},
	{"TrimStaysOverReopen", func(f Features) bool { return f.Trim && f.Reopen != nil }, trimStays},
}

func (s *suite) trimmer() queue.Trimmer {
	s.Helper()
	t, ok := s.q.(queue.Trimmer)
	if !ok {
		s.Fatal("Features says that it trims, and it is no queue.Trimmer")
	}
	return t
}

func (s *suite) trim(before int64, most, want int) {
	s.Helper()
	n, err := s.trimmer().Trim(s.ctx, s.topic, 0, before, most)
	s.must(err)
	if n != want {
		s.Fatalf("Trim(%d, %d) dropped %d messages, and %d were expected", before, most, n, want)
	}
}

// checkHas checks that the partition holds just these.
func (s *suite) checkHas(want []queue.Message, end int64) {
	s.Helper()
	start := end
	if len(want) > 0 {
		start = want[0].Offset
	}
	gotStart, gotEnd := s.bounds(0)
	if gotStart != start || gotEnd != end {
		s.Fatalf("bounds %d, %d, and %d, %d were expected", gotStart, gotEnd, start, end)
	}
	s.same(s.all(0), want)
	if start > 0 {
		_, err := s.q.Read(s.ctx, s.topic, 0, start-1, 10)
		s.checkRange(err, queue.RangeError{Topic: s.topic, Shard: 0, Want: start - 1, Start: start, End: end})
	}
}

func trimDropsWhatIsBelow(s *suite) {
	s.trim(math.MaxInt64, 10, 0)
	msgs := s.appendN(0, 10)
	_, end := s.bounds(0)
	last := s.Shards - 1
	elsewhere := s.all(last)
	for _, c := range []struct {
		before int64
		most   int
		want   int
	}{
		{msgs[0].Offset, 10, 0}, {-5, 10, 0}, {msgs[4].Offset, 10, 4}, {msgs[4].Offset, 10, 0}, {msgs[2].Offset, 10, 0},
		{msgs[6].Offset, 0, 0}, {msgs[6].Offset, -1, 0}, {msgs[5].Offset, math.MaxInt, 1},
	} {
		s.trim(c.before, c.most, c.want)
		msgs = msgs[c.want:]
		s.checkHas(msgs, end)
	}
	if last > 0 {
		s.same(s.all(last), elsewhere)
	}
}

func trimInSteps(s *suite) {
	msgs := s.appendN(0, 1000)
	_, end := s.bounds(0)
	for n := 1; len(msgs) > 750; n += 50 {
		s.trim(msgs[600].Offset, n, n)
		msgs = msgs[n:]
		s.checkHas(msgs, end)
	}
}

func trimAllKeepsTheOffsets(s *suite) {
	s.appendN(0, 5)
	_, end := s.bounds(0)
	s.trim(math.MaxInt64, math.MaxInt, 5)
	s.checkHas(nil, end)
	read := s.reading(s.ctx, 0, end)
	never(s, "a read at the end returned", read)
	msgs := s.appendN(0, 2)
	if msgs[0].Offset != end {
		s.Errorf("the next message has offset %d, and the end was %d", msgs[0].Offset, end)
	}
	s.must(soon(s, "the read", read).err)
	s.checkHas(msgs, end+2)
}

func trimStays(s *suite) {
	msgs := s.appendN(0, 5)
	_, end := s.bounds(0)
	s.trim(msgs[2].Offset, 10, 2)
	s.reopen()
	s.checkHas(msgs[2:], end)
	s.trim(end, 10, 3)
	s.reopen()
	s.checkHas(nil, end)
	if more := s.appendN(0, 1); more[0].Offset != end {
		s.Errorf("the next message has offset %d, and the end was %d", more[0].Offset, end)
	}
}
