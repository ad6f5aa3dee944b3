package queuetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cqrs-server/cqrs/queue"
)

var appends = []check{
	{"AppendKeepsOrder", nil, appendKeepsOrder},
	{"AppendKeepsContents", nil, appendKeepsContents},
	{"AppendOfNothing", nil, appendOfNothing},
	{"AppendDoesNotKeepTheBytes", nil, appendDoesNotKeepTheBytes},
	{"AppendToOnePartitionOnly", nil, appendToOnePartitionOnly},
	{"AppendFromManyGoroutines", nil, appendFromManyGoroutines},
	{"AppendWithEndedContext", nil, appendWithEndedContext},
	{"AppendIsDurable", needsReopen, appendIsDurable},
}

func appendKeepsOrder(s *suite) {
	for shard := range s.Shards {
		var want []queue.Message
		for n := range 5 {
			want = append(want, s.appendN(shard, n*n+1)...)
		}
		s.checkOffsets(want)
		s.same(s.all(shard), want)
	}
}

// checkOffsets checks the offsets that messages of one partition got one after the other.
func (s *suite) checkOffsets(msgs []queue.Message) {
	s.Helper()
	for i, m := range msgs {
		if s.DenseOffsets && m.Offset != int64(i) {
			s.Fatalf("message %d has offset %d", i, m.Offset)
		}
		if i > 0 && m.Offset <= msgs[i-1].Offset {
			s.Fatalf("message %d has offset %d, after one with %d", i, m.Offset, msgs[i-1].Offset)
		}
	}
}

// same checks that what was read is what was appended.
func (s *suite) same(got, want []queue.Message) {
	s.Helper()
	if len(got) != len(want) {
		s.Fatalf("%d messages, and %d were expected", len(got), len(want))
	}
	for i := range got {
		if why := differs(got[i], want[i]); why != "" {
			s.Fatalf("message %d: %s", i, why)
		}
	}
}

// differs tells how two messages differ. Empty and nil bytes are the same.
func differs(got, want queue.Message) string {
	sameHeader := func(a, b queue.Header) bool { return a.Key == b.Key && bytes.Equal(a.Value, b.Value) }
	switch {
	case got.Offset != want.Offset:
		return fmt.Sprintf("offset %d instead of %d", got.Offset, want.Offset)
	case got.Time != want.Time:
		return fmt.Sprintf("time %d instead of %d", got.Time, want.Time)
	case !bytes.Equal(got.Key, want.Key):
		return fmt.Sprintf("key %.50q instead of %.50q", got.Key, want.Key)
	case !bytes.Equal(got.Value, want.Value):
		return fmt.Sprintf("value %.50q (%d bytes) instead of %.50q (%d bytes)", got.Value, len(got.Value), want.Value, len(want.Value))
	case !slices.EqualFunc(got.Headers, want.Headers, sameHeader):
		return fmt.Sprintf("headers %.200q instead of %.200q", got.Headers, want.Headers)
	}
	return ""
}

func appendKeepsContents(s *suite) {
	binary := make([]byte, 256)
	for i := range binary {
		binary[i] = byte(i)
	}
	want := s.append(0,
		queue.Message{Time: 1_700_000_000_001, Key: binary, Value: binary},
		queue.Message{Time: 1_700_000_000_000, Value: []byte("no key, and a time before the last one's")},
		queue.Message{Time: 1, Key: []byte("no value")},
		queue.Message{Time: 1_700_000_000_000, Key: []byte{}, Value: []byte{}},
		queue.Message{Time: 1_700_000_000_000},
		queue.Message{Time: 1_700_000_000_000, Key: []byte("k"), Value: []byte("v"), Headers: []queue.Header{
			{Key: "twice", Value: []byte("first")}, {Key: "", Value: []byte("empty key")}, {Key: "twice", Value: []byte("second")},
			{Key: "binary", Value: binary}, {Key: "empty", Value: []byte{}}, {Key: "nil"}, {Key: "twice", Value: []byte("first")}, {},
		}},
		queue.Message{Time: 1_700_000_000_000, Value: bytes.Repeat([]byte("long "), 40_000)},
	)
	s.same(s.all(0), want)
}

func appendOfNothing(s *suite) {
	s.append(0)
	if start, end := s.bounds(0); start != end {
		s.Errorf("bounds %d, %d", start, end)
	}
	s.appendN(0, 1)
	_, before := s.bounds(0)
	s.append(0)
	if _, end := s.bounds(0); end != before {
		s.Errorf("the end moved from %d to %d", before, end)
	}
}

func appendDoesNotKeepTheBytes(s *suite) {
	make3 := func() []queue.Message {
		return []queue.Message{text("one"), text("two"), {Time: 5, Key: []byte("k"), Value: []byte("three"),
			Headers: []queue.Header{{Key: "h", Value: []byte("header")}}}}
	}
	mine, want := make3(), make3()
	s.append(0, mine...)
	for i := range mine {
		want[i].Offset = mine[i].Offset
	}
	spoil(mine)
	got := s.all(0)
	s.same(got, want)
	spoil(got)
	s.same(s.all(0), want)
}

// spoil overwrites all bytes of the messages, and beyond their length.
func spoil(msgs []queue.Message) {
	zero := func(b []byte) { clear(b[:cap(b)]) }
	for _, m := range msgs {
		zero(m.Key)
		zero(m.Value)
		for i := range m.Headers {
			zero(m.Headers[i].Value)
			m.Headers[i].Key = "spoiled"
		}
	}
}

func appendToOnePartitionOnly(s *suite) {
	want := map[int][]queue.Message{}
	for shard := range s.Shards {
		want[shard] = s.appendN(shard, shard+1)
	}
	first, other := s.topic, s.Topic(s.T)
	s.topic = other
	s.appendN(0, 7)
	s.topic = first
	for shard := range s.Shards {
		s.same(s.all(shard), want[shard])
	}
}

func appendFromManyGoroutines(s *suite) {
	const appenders, rounds = 16, 25
	told := make([][]queue.Message, appenders)
	var all sync.WaitGroup
	for a := range appenders {
		all.Go(func() { told[a] = s.appendRounds(a, rounds) })
	}
	all.Wait()
	stored := map[int64]queue.Message{}
	got := s.all(0)
	for _, m := range got {
		stored[m.Offset] = m
	}
	n := 0
	for a, msgs := range told {
		n += len(msgs)
		for i, m := range msgs {
			if why := differs(stored[m.Offset], m); why != "" {
				s.Errorf("appender %d was told offset %d: %s", a, m.Offset, why)
			}
			if i > 0 && m.Offset <= msgs[i-1].Offset {
				s.Errorf("appender %d: offset %d after %d", a, m.Offset, msgs[i-1].Offset)
			}
		}
	}
	if len(got) != n || len(stored) != n {
		s.Errorf("%d messages with %d offsets were read, and %d appended", len(got), len(stored), n)
	}
}

func (s *suite) appendRounds(appender, rounds int) (told []queue.Message) {
	for r := range rounds {
		msgs := make([]queue.Message, r%3+1)
		for i := range msgs {
			msgs[i] = text(fmt.Sprint(appender, " ", r, " ", i))
		}
		if err := s.q.Append(s.ctx, s.topic, 0, msgs); err != nil {
			s.Error(err)
			return told
		}
		told = append(told, msgs...)
	}
	return told
}

func appendWithEndedContext(s *suite) {
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	err := s.q.Append(ctx, s.topic, 0, []queue.Message{text("a")})
	if !errors.Is(err, context.Canceled) {
		s.Fatalf("want ctx's error: %v", err)
	}
	if start, end := s.bounds(0); start != end && !errors.Is(err, queue.ErrUnknown) {
		s.Error("it was added, and the error does not say that it may have been")
	}
}

func appendIsDurable(s *suite) {
	want := map[int][]queue.Message{}
	for shard := range s.Shards {
		want[shard] = s.appendN(shard, 20)
	}
	start, end := s.bounds(0)
	s.reopen()
	if start2, end2 := s.bounds(0); start2 != start || end2 != end {
		s.Errorf("bounds were %d, %d and are %d, %d", start, end, start2, end2)
	}
	for shard := range s.Shards {
		s.same(s.all(shard), want[shard])
		want[shard] = append(want[shard], s.appendN(shard, 2)...)
		s.checkOffsets(want[shard])
		s.same(s.all(shard), want[shard])
	}
}
