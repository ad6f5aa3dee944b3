package cqrs

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
	"go.etcd.io/bbolt"
)

// maxMissing is how many commits may be missing, one behind the other, before the rest is given up.
const maxMissing = 100

// logScrub goes through a shard's log.
type logScrub struct {
	*scrub
	shard  *Shard
	cursor logCursor
	upTo   position
	sides  map[*aggregate]position // the aggregates beside the shard's own, as they were at the beginning

	digest  Digest
	chained uint64 // the t up to which it was reckoned
	known   bool   // it is that of the log
	sound   uint64 // the t up to which it was confirmed
	missing int    // commits, one behind the other
	marks   uint64 // commits whose mark is right
}

func (s *scrub) log(ctx context.Context, shard *Shard) error {
	l := &logScrub{scrub: s, shard: shard, upTo: s.upTo[shard.n], known: true, sides: map[*aggregate]position{}}
	l.cursor = logCursor{store: s.rt.store, shard: shard.n}
	for _, x := range l.scrub.sides[shard.n][1:] {
		p, err := x.agg.stored()
		if err != nil {
			return err
		}
		l.sides[x.agg] = p
	}
	defer l.cursor.close()
	var batch []store.Record
	for t := uint64(1); t <= l.upTo.t && l.missing <= maxMissing; {
		batch = batch[:0]
		for ; t <= l.upTo.t && len(batch) < s.step() && l.missing <= maxMissing; t++ {
			r, found, err := l.read(ctx, t)
			if err != nil {
				return err
			}
			if found {
				batch = append(batch, r)
			}
		}
		if err := l.batch(ctx, batch); err != nil {
			return err
		}
	}
	l.compareDigest(l.scrub.sides[shard.n][0].agg, l.upTo)
	return l.extraMarks(ctx)
}

func (l *logScrub) about(r *store.Record, what string, logged, found []byte) Difference {
	return Difference{Shard: l.shard.n, T: r.T, Command: r.Command, CommandType: r.CommandType, Event: -1,
		What: what, Logged: logged, Found: found}
}

// read reads a commit. One that can't be read is a difference.
func (l *logScrub) read(ctx context.Context, t uint64) (store.Record, bool, error) {
	r, found, err := l.cursor.at(ctx, t)
	if err != nil && stops(ctx, err) {
		return r, false, err
	}
	if found {
		l.missing = 0
		return r, true, nil
	}
	what := "the log has no commit here"
	if err != nil {
		what = "the log can't give this commit: " + err.Error()
	}
	if l.missing++; l.missing > maxMissing {
		what = fmt.Sprintf("the log has no commit here, nor %d before it: it is not looked at any further", maxMissing)
	}
	l.differs(Difference{Shard: l.shard.n, T: t, Event: -1, What: what})
	return r, false, nil
}

// batch looks at some commits, one behind the other.
func (l *logScrub) batch(ctx context.Context, records []store.Record) error {
	marks, err := l.shard.agg().marksOf(records)
	if err != nil {
		return err
	}
	for i := range records {
		r := &records[i]
		l.chain(r)
		l.mark(r, &marks[i])
		if err := l.ids(ctx, r); err != nil {
			return err
		}
		for i := range r.Events {
			l.times.add(&store.Entry{Envelope: r.Envelope, Event: r.Events[i]})
		}
		l.report.Commits++
		l.report.Events += uint64(len(r.Events))
	}
	return l.went(ctx, len(records))
}

// chain reckons the running digest. A commit says on which one it rests: so what was changed is found close to its place.
func (l *logScrub) chain(r *store.Record) {
	l.known = l.known && r.T == l.chained+1 // not behind a commit that is missing
	l.chained = r.T
	if prev := Digest(zeroed(r.Prev)); r.Prev != nil {
		if l.known && prev != l.digest {
			l.differs(Difference{Shard: l.shard.n, T: r.T - 1, Event: -1, Logged: prev[:], Found: l.digest[:],
				What: fmt.Sprintf("the commits from t %d to t %d do not give the digest that t %d rests on: one of these was changed",
					l.sound+1, r.T-1, r.T)})
		}
		l.digest, l.known, l.sound = prev, true, r.T-1
	}
	l.digest = l.digest.next(r.Append(nil))
	for a, p := range l.sides {
		if p.t == r.T {
			l.compareDigest(a, p)
		}
	}
}

func zeroed(b []byte) (d [32]byte) {
	copy(d[:], b)
	return d
}

// compareDigest compares the digest of an aggregate with that of the log up to the same t.
func (l *logScrub) compareDigest(a *aggregate, p position) {
	if l.known && l.chained == p.t && p.digest != l.digest {
		l.differs(Difference{Shard: l.shard.n, T: p.t, Event: -1, Table: a.prefix, Logged: l.digest[:], Found: p.digest[:],
			What: fmt.Sprintf("the commits from t %d to t %d do not give the digest of the aggregate: one of them was changed, "+
				"or the aggregate was", l.sound+1, p.t)})
	}
}

// markRead is a mark as it was read.
type markRead struct {
	mark
	found bool
	err   error
}

// marksOf reads the marks of the records' commands.
func (a *aggregate) marksOf(records []store.Record) (marks []markRead, err error) {
	err = a.file.View(func(tx *bbolt.Tx) error {
		for i := range records {
			var m markRead
			m.mark, m.found, m.err = a.mark(tx, records[i].Command[:])
			m.refusal = bytes.Clone(m.refusal)
			marks = append(marks, m)
		}
		return nil
	})
	return marks, err
}

func (l *logScrub) mark(r *store.Record, m *markRead) {
	switch {
	case m.err != nil:
		l.differs(l.about(r, "the mark of its command can't be read: "+m.err.Error(), nil, nil))
	case !m.found:
		l.differs(l.about(r, "its command has no mark: sent again it would have its effect again", nil, nil))
	case m.t == 0:
		l.differs(l.about(r, "the mark of its command says that it was refused", nil, m.refusal))
	case m.t != r.T:
		l.differs(l.about(r, fmt.Sprintf("the mark of its command says t %d", m.t), nil, nil))
	default:
		l.marks++
		if m.payload != r.Payload {
			l.differs(l.about(r, "the mark of its command is for another payload", r.Payload[:], m.payload[:]))
		}
	}
}

// ids looks the commit up by its command, and its events by their ids.
func (l *logScrub) ids(ctx context.Context, r *store.Record) error {
	got, err := l.rt.store.Commit(ctx, r.Command)
	switch logged := r.Append(nil); {
	case err != nil && stops(ctx, err):
		return err
	case err != nil:
		l.differs(l.about(r, "it is not found by its command: "+err.Error(), logged, nil))
	case got.T != r.T || got.Shard != r.Shard:
		l.differs(l.about(r, fmt.Sprintf("by its command, t %d of shard %d is found", got.T, got.Shard), logged, got.Append(nil)))
	case !bytes.Equal(got.Append(nil), logged):
		l.differs(l.about(r, "found by its command it has other bytes", logged, got.Append(nil)))
	}
	for i := range r.Events {
		e, err := l.rt.store.Event(ctx, r.Events[i].ID)
		if err != nil && stops(ctx, err) {
			return err
		}
		d := l.about(r, "", r.Events[i].Data, e.Data)
		d.Event = i
		if want := (store.Entry{Envelope: r.Envelope, Event: r.Events[i]}); err != nil {
			d.What = fmt.Sprintf("event %s is not found by its id: %s", want.ID, err)
			l.differs(d)
		} else if hashOf(&e) != hashOf(&want) {
			d.What = fmt.Sprintf("event %s, found by its id, is not as the log has it", want.ID)
			l.differs(d)
		}
	}
	return nil
}

// extraMarks looks for marks that say that a command was accepted, and whose commit is not there. They are gone through one by one only
// when there are more of them than commits.
func (l *logScrub) extraMarks(ctx context.Context) error {
	if l.missing > maxMissing {
		return nil
	}
	var n uint64
	err := l.eachMark(ctx, func(id uuid.UUID, m mark, err error, at uint64) error {
		if err == nil && m.t > at {
			l.differs(Difference{Shard: l.shard.n, T: m.t, Command: id, Event: -1,
				What: fmt.Sprintf("a mark says that the command is a commit that is still to come: the shard is at t %d", at)})
		}
		if err == nil && m.t > 0 && m.t <= l.upTo.t {
			n++
		}
		return nil
	})
	if err != nil || n == l.marks {
		return err
	}
	return l.eachMark(ctx, func(id uuid.UUID, m mark, err error, _ uint64) error {
		if err != nil || m.t == 0 || m.t > l.upTo.t {
			return nil
		}
		_, err = l.rt.store.Commit(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			l.differs(Difference{Shard: l.shard.n, T: m.t, Command: id, Event: -1,
				What: "a mark says that the command was accepted, and there is no commit of it"})
			return nil
		}
		if err != nil && stops(ctx, err) {
			return err
		}
		return nil // it was found otherwise, or has been named
	})
}

const markPage = 1000

// eachMark calls fn for all marks, with the t that the shard had come to when they were read. No transaction is open meanwhile.
func (l *logScrub) eachMark(ctx context.Context, fn func(id uuid.UUID, m mark, err error, at uint64) error) error {
	type entry struct {
		id  uuid.UUID
		m   mark
		err error
	}
	a, from := l.shard.agg(), []byte{} // all versions share the marks
	for from != nil {
		var page []entry
		var p position
		err := a.file.View(func(tx *bbolt.Tx) (err error) {
			if p, err = servingPosition(tx, l.shard.n); err != nil {
				return err
			}
			c := tx.Bucket(a.marksName).Cursor()
			k, v := c.Seek(from)
			for ; k != nil && len(page) < markPage; k, v = c.Next() {
				e := entry{}
				copy(e.id[:], k)
				e.err = e.m.decode(v)
				e.m.refusal = nil
				page = append(page, e)
			}
			from = bytes.Clone(k)
			return nil
		})
		for i := range page {
			if err == nil {
				err = fn(page[i].id, page[i].m, page[i].err, p.t)
			}
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
	}
	return nil
}
