package cqrs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
)

// ScrubOptions say how Scrub goes about it.
type ScrubOptions struct {
	// Tables has the log folded anew beside the tables, and every row, index entry and old version compared. It takes the time of
	// building the aggregates, and the room of a copy of them in the folder for temporary files. Where a fold that failed was mended and
	// folded again under the same Version, what stands between differs: the code of now folds it at its own t.
	Tables bool
	// Rate is how many commits a second are looked at, at the most. Defaults to 0: no limit.
	Rate int
	// Found hears of each difference when it is found; the report lists the first 100.
	Found func(Difference)
	// Progress hears about once a second, and at the end, how much has been looked at, of how much. What there is to do may grow on
	// the way.
	Progress func(done, of uint64)
}

// ScrubReport is what Scrub found.
type ScrubReport struct {
	Commits uint64 // of the log, whose digest, marks and ids were compared
	Events  uint64 // of these commits, which were looked for by id, and by type and time
	Rows    uint64 // of tables and indexes, and old versions of them, that were compared with what the log gives

	Failed      []Difference // events whose fold failed, the first 100 of each shard: the tables lack them, which Health says too
	Different   uint64       // how many differences there are
	Differences []Difference // the first 100
}

// Scrub compares the log, the store and the aggregates, up to where they are when it begins, and names every difference:
//
//   - the log has every t, and its commits give the running digest of the aggregates;
//   - each commit is found by its command, each event by its id, and by its type and time, with the bytes that the log has;
//   - each commit's command has its mark, and no mark is without its commit;
//   - with Tables, the tables and indexes are what folding the log gives, now and as of every t that is kept.
//
// It changes nothing, and may be called while the runtime runs, or while it does not. A healthy folder gives no difference. The error says
// that it could not go on; the report covers what was looked at until then.
func (rt *Runtime) Scrub(ctx context.Context, o ScrubOptions) (ScrubReport, error) {
	if rt.cfg.Role == Sender {
		return ScrubReport{}, errNoView
	}
	s := &scrub{rt: rt, check: newCheck(o.Rate, o.Found, o.Progress)}
	err := s.run(ctx, o.Tables)
	s.ended()
	s.report.Differences, s.report.Different = s.listed, s.count
	if err != nil {
		return s.report, fmt.Errorf("cqrs: scrub: %w", readError(err))
	}
	return s.report, nil
}

type scrub struct {
	check
	rt     *Runtime
	report ScrubReport
	upTo   []position // of each shard
	sides  [][]side   // of each shard
	times  timeSums
}

func (s *scrub) run(ctx context.Context, tables bool) error {
	for _, shard := range s.rt.shards {
		sides := shard.sides()
		p, err := sides[0].agg.stored()
		if err == nil {
			err = s.storeReaches(ctx, shard, p.t)
		}
		if err != nil {
			return err
		}
		s.upTo, s.sides = append(s.upTo, p), append(s.sides, sides)
		s.of += p.t
		if tables {
			s.of += p.t * uint64(len(sides))
		}
	}
	for _, shard := range s.rt.shards {
		if err := s.log(ctx, shard); err != nil {
			return err
		}
	}
	if err := s.byTime(ctx); err != nil {
		return err
	}
	for _, shard := range s.rt.shards {
		if err := s.aggregates(ctx, shard, tables); err != nil {
			return err
		}
	}
	return nil
}

// storeReaches waits a while for the store to come to where the aggregate is: on a queue that several processes share, another one fills
// it. What is missing then is named.
func (s *scrub) storeReaches(ctx context.Context, shard *Shard, t uint64) error {
	for range int(storePatience / storePoll) {
		last, err := s.rt.store.Last(ctx, shard.n)
		if err != nil && stops(ctx, err) {
			return err
		}
		if err != nil || last >= t {
			return nil // what can't be read is named when it comes to it
		}
		if sleep(ctx, storePoll); ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

const (
	storePatience = 5 * time.Second
	storePoll     = 50 * time.Millisecond
)

// side is an aggregate that is looked at.
type side struct {
	agg    *aggregate
	name   string
	tables []AnyTable
}

// sides are the shard's own aggregate, which comes first, and those beside it. They stay the same when another version takes over.
func (s *Shard) sides() []side {
	main := s.agg()
	list := []side{{main, "main", main.declared}}
	if s.next.waits() && s.next.agg != main {
		list = append(list, side{s.next.agg, "version " + s.next.agg.version, s.next.agg.declared})
	}
	for i, f := range s.followers {
		list = append(list, side{f.agg(), f.name, s.rt.cfg.Aggregates[i].Tables})
	}
	return list
}

// aggregates looks at the shard's own aggregate and at those beside it.
func (s *scrub) aggregates(ctx context.Context, shard *Shard, tables bool) error {
	for _, x := range s.sides[shard.n] {
		if err := s.failed(x.agg); err != nil || !tables {
			return err
		}
		if err := s.tables(ctx, x.agg, x.name, x.tables); err != nil {
			return err
		}
	}
	return nil
}

// failed lists the failed folds of an aggregate, and compares them with their number.
func (s *scrub) failed(a *aggregate) error {
	list, p, err := a.failedFolds()
	for i, d := range list {
		if i < maxDifferences {
			s.report.Failed = append(s.report.Failed, d)
		}
	}
	if err == nil && uint64(len(list)) != p.failed {
		s.differs(Difference{Shard: a.shard, Event: -1, What: fmt.Sprintf("the aggregate's position says that %d folds failed, "+
			"and its list has %d", p.failed, len(list))})
	}
	return err
}

// failedFolds lists the events that the aggregate lacks.
func (a *aggregate) failedFolds() (list []Difference, p position, err error) {
	err = a.file.View(func(tx *bbolt.Tx) error {
		if p, err = a.positionIn(tx); err != nil {
			return err
		}
		return tx.Bucket(a.failedName).ForEach(func(k, v []byte) error {
			d := Difference{Shard: a.shard, Event: -1, What: "a failed fold: " + string(v)}
			if len(k) == 12 {
				d.T, d.Event = binary.BigEndian.Uint64(k), int(binary.BigEndian.Uint32(k[8:]))
			}
			list = append(list, d)
			return nil
		})
	})
	return list, p, err
}

// stored is the position as the file has it.
func (a *aggregate) stored() (p position, err error) {
	err = a.file.View(func(tx *bbolt.Tx) error {
		p, err = a.positionIn(tx)
		return err
	})
	return p, err
}

// stops tells whether an error ends the scrub: others are differences.
func stops(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(readError(err), ErrClosed)
}
