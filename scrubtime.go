package cqrs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cqrs-server/cqrs/store"

	boltstore "github.com/cqrs-server/cqrs/store/bolt"
)

// The events in the order of the log and the events by type and time are compared without holding either of them: by sums of digests, of
// some thousand groups. Only of groups whose sums differ the events are gathered.

const timeGroups = 4096

type timeSums [timeGroups]timeSum

// timeSum is the number of events, and the sum of their digests: it does not depend on their order.
type timeSum struct {
	n    uint64
	sums [4]uint64
}

// groupOf is a number made of the event's id, which is random.
func groupOf(e *store.Entry) int { return int(binary.BigEndian.Uint16(e.ID[:]) % timeGroups) }

func (s *timeSums) add(e *store.Entry) {
	g, h := &s[groupOf(e)], hashOf(e)
	g.n++
	for i := range g.sums {
		g.sums[i] += binary.BigEndian.Uint64(h[8*i:])
	}
}

// hashOf is a digest of all that a store says of an event.
func hashOf(e *store.Entry) [32]byte {
	b := make([]byte, 0, 256)
	b = append(append(b, e.ID[:]...), e.Command[:]...)
	for _, n := range []uint64{uint64(e.Shard), e.T, uint64(e.Index), uint64(e.Time), e.Basis} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	for _, s := range []string{e.Event.Type, e.CommandType, e.Key, e.Code, e.Segment} {
		b = appendString(b, s)
	}
	return sha256.Sum256(append(b, e.Data...))
}

// counts tells whether an event is one of those that the scrub looks at.
func (s *scrub) counts(e *store.Entry) bool {
	return e.Shard >= 0 && e.Shard < len(s.upTo) && e.T <= s.upTo[e.Shard].t
}

// byTime compares the events that were found in the log with those that are found by type and time.
func (s *scrub) byTime(ctx context.Context) error {
	bad, err := s.badGroups(ctx)
	if err != nil || len(bad) == 0 {
		return err
	}
	if _, never := s.rt.store.(*boltstore.Store); !never { // its queries may lag behind what it holds: look again a little later
		sleep(ctx, lag)
		if bad, err = s.badGroups(ctx); err != nil || len(bad) == 0 {
			return err
		}
	}
	logged, found := map[eventPlace]*timed{}, map[eventPlace]*timed{}
	for shard := range s.upTo {
		if err := s.gatherLog(ctx, shard, logged, bad); err != nil {
			return err
		}
	}
	for e, err := range s.rt.store.Query(ctx, store.Query{}) {
		if err != nil && stops(ctx, err) {
			return err
		}
		if err == nil && s.counts(&e) {
			gather(found, bad, &e)
		}
	}
	s.compareTimes(logged, found)
	return nil
}

const lag = 2e9 // nanoseconds

// badGroups are those whose events by type and time are not those of the log.
func (s *scrub) badGroups(ctx context.Context) (map[int]bool, error) {
	var sums timeSums
	n := 0
	for e, err := range s.rt.store.Query(ctx, store.Query{}) {
		if err != nil && stops(ctx, err) {
			return nil, err
		}
		if err != nil {
			s.differs(Difference{Event: -1, What: "the events by type and time can't be read any further: " + err.Error()})
			return nil, nil // all that comes behind would seem to be missing
		}
		if s.counts(&e) {
			sums.add(&e)
		}
		if n++; n == s.step() {
			s.of += uint64(n)
			if err := s.went(ctx, n); err != nil {
				return nil, err
			}
			n = 0
		}
	}
	bad := map[int]bool{}
	for i := range sums {
		if sums[i] != s.times[i] {
			bad[i] = true
		}
	}
	return bad, nil
}

type eventPlace struct {
	shard int
	t     uint64
	index int
}

func (p eventPlace) compare(o eventPlace) int {
	return cmp.Or(cmp.Compare(p.shard, o.shard), cmp.Compare(p.t, o.t), cmp.Compare(p.index, o.index))
}

// timed is an event of a bad group.
type timed struct {
	entry store.Entry
	hash  [32]byte
	times int
}

func gather(into map[eventPlace]*timed, groups map[int]bool, e *store.Entry) {
	if !groups[groupOf(e)] {
		return
	}
	p := eventPlace{e.Shard, e.T, e.Index}
	if into[p] == nil {
		into[p] = &timed{entry: *e, hash: hashOf(e)}
	}
	into[p].times++
}

func (s *scrub) gatherLog(ctx context.Context, shard int, into map[eventPlace]*timed, groups map[int]bool) error {
	cursor := logCursor{store: s.rt.store, shard: shard}
	defer cursor.close()
	for t := uint64(1); t <= s.upTo[shard].t; t++ {
		r, found, err := cursor.at(ctx, t)
		if err != nil && stops(ctx, err) {
			return err
		}
		for i := 0; found && i < len(r.Events); i++ {
			gather(into, groups, &store.Entry{Envelope: r.Envelope, Event: r.Events[i]})
		}
	}
	return nil
}

// compareTimes names what differs.
func (s *scrub) compareTimes(logged, found map[eventPlace]*timed) {
	var places []eventPlace
	for p := range logged {
		places = append(places, p)
	}
	for p := range found {
		if logged[p] == nil {
			places = append(places, p)
		}
	}
	slices.SortFunc(places, eventPlace.compare)
	for _, p := range places {
		l, f := logged[p], found[p]
		switch {
		case f == nil:
			s.differs(timeDifference(l, "is not found by type and time", l.entry.Data, nil))
		case l == nil:
			s.differs(timeDifference(f, "is found by type and time, and is not in the log", nil, f.entry.Data))
		case l.hash != f.hash:
			s.differs(timeDifference(l, "is found by type and time, and not as the log has it", l.entry.Data, f.entry.Data))
		case f.times > 1:
			s.differs(timeDifference(l, fmt.Sprintf("is found by type and time %d times", f.times), nil, nil))
		}
	}
}

func timeDifference(x *timed, what string, logged, found []byte) Difference {
	e := &x.entry
	return Difference{Shard: e.Shard, T: e.T, Command: e.Command, CommandType: e.CommandType, Event: e.Index,
		What: fmt.Sprintf("event %s (%s, time %d) %s", e.ID, e.Event.Type, e.Time, what), Logged: logged, Found: found}
}
