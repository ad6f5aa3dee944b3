package dynamo

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
)

// What Log reads at once, and how much of that it does ahead of its reader.
const (
	pageEvents = readBatch
	pageBytes  = 1 << 20
	pagesAhead = 8
)

// Log gives the records of a shard from t on. It sees what was put before at once, and reads ahead with several requests at
// the same time. A t that is missing before the last one is an error.
func (s *Store) Log(ctx context.Context, shard int, from uint64) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		inner, cancel := context.WithCancel(ctx)
		var work sync.WaitGroup
		defer work.Wait()
		defer cancel()
		l := &logReader{store: s, shard: shard, next: max(from, 1), pages: make(chan *page, pagesAhead), work: &work}
		work.Go(func() { l.run(inner) })
		for p := range l.pages {
			<-p.ready
			if !s.give(ctx, p, yield) {
				return
			}
		}
		if err := ctx.Err(); err != nil { // then the last page may not have come through
			yield(store.Record{}, fmt.Errorf("log: %w", err))
		}
	}
}

// give says whether to go on.
func (s *Store) give(ctx context.Context, p *page, yield func(store.Record, error) bool) bool {
	for i := range p.lines {
		if p.err == nil {
			p.err = s.ready(ctx)
		}
		if p.err != nil {
			break
		}
		if !yield(p.lines[i].record, nil) {
			return false
		}
	}
	if p.err != nil {
		yield(store.Record{}, fmt.Errorf("log: %w", p.err))
	}
	return p.err == nil
}

// page is some records, which are complete when it is ready.
type page struct {
	lines []line
	err   error
	ready chan struct{}
}

// logReader reads the lines of a log in order, and starts the reading of their events.
type logReader struct {
	store *Store
	shard int
	next  uint64
	pages chan *page
	work  *sync.WaitGroup

	lines    []line // of the next page
	events   int
	size     int
	commands [bucketSize]uuid.UUID // of the lines in the bucket that were seen
	seen     uint64                // the first t that commands has
}

func (l *logReader) run(ctx context.Context) {
	defer close(l.pages)
	err := l.store.ready(ctx)
	for more := l.shard >= 0; more && err == nil; {
		more, err = l.readBucket(ctx)
	}
	l.flush(ctx)
	if err != nil {
		l.send(ctx, &page{err: err})
	}
}

// readBucket reads what is in the bucket of the next t, and says whether more may follow.
func (l *logReader) readBucket(ctx context.Context) (more bool, err error) {
	b, start := bucketAt(l.shard, l.next), l.next
	l.seen = start
	for r, err := range l.store.runs(ctx, runQuery{bucket: b, lo: runStart(b, start), hi: b.last()}) {
		if err == nil {
			err = l.take(ctx, r)
		}
		if err != nil {
			return false, err
		}
	}
	if l.next > b.last() {
		return true, nil
	}
	last, err := l.store.Last(ctx, l.shard)
	switch {
	case err != nil || last < l.next:
		return false, err
	case l.next == start:
		return false, l.gap(last)
	}
	return true, nil // it came while this was read
}

func (l *logReader) gap(there uint64) error {
	return fmt.Errorf("store: shard %d: t %d is missing, and t %d is there: put what is missing, or rebuild the store from the queue",
		l.shard, l.next, there)
}

func (l *logReader) take(ctx context.Context, r run) error {
	for i := range r.lines {
		switch t := r.first + uint64(i); {
		case t < l.next:
			if err := l.compare(&r.lines[i]); err != nil {
				return err
			}
		case t > l.next:
			return l.gap(t)
		default:
			l.add(ctx, r.lines[i])
		}
	}
	return nil
}

// compare checks a line that is there twice, as two writers that did not see each other leave it.
func (l *logReader) compare(again *line) error {
	r := &again.record
	if first := l.commands[(r.T-1)%bucketSize]; r.T >= l.seen && first != r.Command {
		return fmt.Errorf("store: t %d of shard %d is there twice, as command %s and as command %s: the log was numbered twice: %w",
			r.T, l.shard, first, r.Command, errDamaged)
	}
	return nil
}

func (l *logReader) add(ctx context.Context, ln line) {
	if len(l.lines) > 0 && (l.events+len(ln.record.Events) > pageEvents || l.size+ln.size > pageBytes || len(l.lines) == bucketSize) {
		l.flush(ctx)
	}
	l.lines = append(l.lines, ln)
	l.events += len(ln.record.Events)
	l.size += ln.size
	l.commands[(l.next-1)%bucketSize] = ln.record.Command
	l.next++
}

// flush starts the reading of a page's events.
func (l *logReader) flush(ctx context.Context) {
	if len(l.lines) == 0 {
		return
	}
	p := &page{lines: l.lines, ready: make(chan struct{})}
	l.lines, l.events, l.size = nil, 0, 0
	l.send(ctx, p)
}

// send waits for room, so that only as much is read ahead as is allowed.
func (l *logReader) send(ctx context.Context, p *page) {
	if p.ready == nil {
		p.ready = make(chan struct{})
	}
	select {
	case l.pages <- p:
	case <-ctx.Done():
		return
	}
	l.work.Go(func() {
		defer close(p.ready)
		if p.err == nil {
			p.err = l.store.fill(ctx, p.lines)
		}
	})
}
