package dynamo

import (
	"cmp"
	"context"
	"slices"
)

// part is what a batch has in one bucket of the log, in the order of t.
type part struct {
	bucket  bucket
	entries []*entry
}

// parts are in the order of shard and t.
func parts(entries []*entry) (all []part) {
	entries = slices.Clone(entries)
	slices.SortFunc(entries, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.record.Shard, b.record.Shard), cmp.Compare(a.record.T, b.record.T))
	})
	for _, e := range entries {
		b := bucketAt(e.record.Shard, e.record.T)
		if len(all) == 0 || all[len(all)-1].bucket != b {
			all = append(all, part{bucket: b})
		}
		p := &all[len(all)-1]
		p.entries = append(p.entries, e)
	}
	return all
}

// look settles what is in the log already.
func (s *Store) look(ctx context.Context, b *batch) error {
	all := parts(b.entries)
	return s.each(ctx, len(all), func(ctx context.Context, i int) error {
		p := all[i]
		lo, hi := p.entries[0].record.T, p.entries[len(p.entries)-1].record.T
		q := runQuery{bucket: p.bucket, lo: runStart(p.bucket, lo), hi: hi, backwards: true, page: int(hi-lo) + 2}
		for r, err := range s.runs(ctx, q) {
			if err != nil {
				return err
			}
			if err := s.settle(ctx, b, p.entries, r); err != nil {
				return err
			}
			if r.first < lo { // one before is enough: runs overlap only where two writers did not see each other
				break
			}
		}
		return nil
	})
}

// settle compares entries with a run of the log.
func (s *Store) settle(ctx context.Context, b *batch, entries []*entry, r run) error {
	for _, e := range entries {
		t := e.record.T
		if e.done || t < r.first || t > r.end() {
			continue
		}
		switch l := &r.lines[t-r.first]; {
		case l.record.Command != e.record.Command:
			b.refuse(e, &TakenError{e.record.Shard, t, l.record.Command, e.record.Command})
		case l.digest == e.digest:
			e.done = true
		default:
			if err := s.conflict(ctx, b, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeLog adds the lines of the batch. Those of a shard are added in the order of t, so that readers see no gap.
func (s *Store) writeLog(ctx context.Context, b *batch) error {
	all := parts(b.open())
	if err := s.list(ctx, all); err != nil {
		return err
	}
	shards := slices.Collect(chunkBy(all, func(p part) int { return p.bucket.shard }))
	return s.each(ctx, len(shards), func(ctx context.Context, i int) error {
		for _, p := range shards[i] {
			if err := s.writeLines(ctx, b, p); err != nil {
				return err
			}
		}
		return nil
	})
}

// writeLines goes on until all entries are in the log or refused. A run that is there already is compared, and what it does
// not hold makes another run.
func (s *Store) writeLines(ctx context.Context, b *batch, p part) error {
	for open := p.entries; len(open) > 0; {
		n, lines := cut(open)
		old, err := s.putIfAbsent(ctx, runItem(p.bucket, open[0].record.T, n, lines))
		if err != nil {
			return err
		}
		if old != nil {
			r, err := runOf(p.bucket, old)
			if err != nil {
				return err
			}
			if err := s.settle(ctx, b, open, r); err != nil {
				return err
			}
			open = slices.DeleteFunc(slices.Clone(open), func(e *entry) bool { return e.done })
			continue
		}
		open = open[n:]
	}
	return nil
}

// cut says how many entries go into the next run, and gives their lines.
func cut(entries []*entry) (n int, lines []byte) {
	for i, e := range entries {
		if i > 0 && (e.record.T != entries[i-1].record.T+1 || i == runLines || len(lines)+len(e.line) > runBytes) {
			return i, lines
		}
		lines = append(lines, e.line...)
	}
	return len(entries), lines
}

// list enters buckets into the list of their shard, by which Last and Log find the end.
func (s *Store) list(ctx context.Context, all []part) error {
	var items []item
	for _, p := range all {
		if !s.listed(p.bucket) {
			items = append(items, key(bucketsID(p.bucket.shard), p.bucket.number))
		}
	}
	if err := s.write(ctx, items); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.buckets)+len(all) > 10_000 {
		clear(s.buckets)
	}
	for _, p := range all {
		s.buckets[p.bucket] = true
	}
	return nil
}

func (s *Store) listed(b bucket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buckets[b]
}

// chunkBy gives the longest parts of all whose elements have the same key.
func chunkBy[T any, K comparable](all []T, key func(T) K) func(yield func([]T) bool) {
	return func(yield func([]T) bool) {
		for len(all) > 0 {
			n := 1
			for n < len(all) && key(all[n]) == key(all[0]) {
				n++
			}
			if !yield(all[:n]) {
				return
			}
			all = all[n:]
		}
	}
}
