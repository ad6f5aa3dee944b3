package sqlview

import (
	"errors"

	"modernc.org/sqlite/vtab"
)

// table is a Source on one connection to SQLite.
type table struct {
	session *session
	source  *Source
	paths   []*path // those that can be read at the view's t

	plans   map[string]*plan
	numbers map[string]int64 // rows that were asked for their rowid
	cursors int
}

var errCursor = errors.New("sqlview: SQLite uses a plan that was not made")

// BestIndex chooses a plan.
func (t *table) BestIndex(info *vtab.IndexInfo) error {
	p := t.planFor(info)
	for i, used := range p.uses {
		info.Constraints[used].ArgIndex = i
	}
	info.IdxStr = p.describe(t.source)
	info.OrderByConsumed = len(p.order) > 0
	info.EstimatedCost, info.EstimatedRows = p.cost, int64(p.rows)
	if p.one() && !t.source.loose(p.path) {
		info.IdxFlags |= vtab.IndexScanUnique
	}
	if t.plans[info.IdxStr] == nil {
		t.plans[info.IdxStr] = p
	}
	return nil
}

// loose tells whether a key has texts: "5" and "05" are both equal to a number 5 of another table.
func (s *Source) loose(p *path) bool {
	for _, l := range p.leaves {
		if l.class == text {
			return true
		}
	}
	return false
}

// Open makes a cursor.
func (t *table) Open() (vtab.Cursor, error) {
	t.cursors++
	return &cursor{table: t}, nil
}

// Disconnect has nothing to do.
func (t *table) Disconnect() error { return nil }

// Destroy has nothing to do.
func (t *table) Destroy() error { return nil }
