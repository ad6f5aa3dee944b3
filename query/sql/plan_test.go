package sqlview

import (
	"testing"

	"modernc.org/sqlite/vtab"
)

// A key of text may be equal to a number in several rows, so SQLite must not be told that there is one at most.
func TestOneRowIsPromisedOnlyIfItIsTrue(t *testing.T) {
	for _, row := range []struct {
		source *Source
		flags  int
	}{{parcelsSQL, 0}, {ownersSQL, vtab.IndexScanUnique}} {
		info := &vtab.IndexInfo{Constraints: []vtab.Constraint{{Column: row.source.column("id"), Op: vtab.OpEQ, Usable: true}}}
		t1 := &table{session: &session{}, source: row.source, paths: row.source.paths(), plans: map[string]*plan{}}
		if err := t1.BestIndex(info); err != nil || info.IdxFlags != row.flags || info.EstimatedRows != 1 || info.Constraints[0].ArgIndex != 0 {
			t.Errorf("%s: %+v %v", row.source.name, info, err)
		}
	}
}
