package cqrs_test

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cqrs-server/cqrs"
	"github.com/google/uuid"
)

// world is the model of an aggregate's value: plain maps.
type world struct {
	names   map[string]item
	numbers map[int]item
	ids     map[uuid.UUID]item
	spots   map[spot]item
	written map[string]uint64 // by table and key: the t at which a row was written, or taken away, last
}

func newWorld() *world {
	return &world{map[string]item{}, map[int]item{}, map[uuid.UUID]item{}, map[spot]item{}, map[string]uint64{}}
}

func (w *world) clone() *world {
	return &world{maps.Clone(w.names), maps.Clone(w.numbers), maps.Clone(w.ids), maps.Clone(w.spots), maps.Clone(w.written)}
}

// fold applies ops at t, all or none. It tells whether the fold passes.
func (w *world) fold(ops []op, t uint64) bool {
	next := w.clone()
	for _, o := range ops {
		if !o.apply(next, t) {
			return false
		}
	}
	*w = *next
	return true
}

func (o op) apply(w *world, t uint64) bool {
	switch o.Do {
	case "put":
		return modelTables[o.Table].modelPut(w, o.Row, t)
	case "delete":
		return modelTables[o.Table].modelDelete(w, o.Row, t)
	}
	return o.Do == "check"
}

// modelTable is a table, and its model.
type modelTable interface {
	source
	put(*cqrs.Tx, item) error
	delete(*cqrs.Tx, item) error
	modelPut(*world, item, uint64) bool
	modelDelete(*world, item, uint64) bool
	keyText(item) string
	history(cqrs.View, item) string
	diff(before, after cqrs.View) string
	modelRow(*world, item) (item, bool)
	modelRows(*world) []item
}

// checked is a table with what the model needs: an order of the keys that owes nothing to their encoding.
type checked[K comparable] struct {
	name    string
	table   *cqrs.Table[K, item]
	key     func(item) K
	compare func(a, b K) int
	begins  func(key, prefix K, fields int) bool // nil: the keys have no prefixes
	rows    func(*world) map[K]item
	unique  []func(*world, item) bool // whether another row has a unique value of this one
}

func compareSpots(a, b spot) int {
	return cmp.Or(cmp.Compare(a.Town, b.Town), cmp.Compare(a.House, b.House))
}
func compareRanks(a, b rank) int {
	return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Score, b.Score))
}
func compareIDs(a, b uuid.UUID) int {
	return bytes.Compare(a[:], b[:])
}

var modelTables = map[string]modelTable{}

var checkedNames = &checked[string]{
	name: "names", table: names, key: item.name, compare: cmp.Compare[string],
	begins: func(key, prefix string, _ int) bool { return strings.HasPrefix(key, prefix) },
	rows:   func(w *world) map[string]item { return w.names },
	unique: []func(*world, item) bool{func(w *world, row item) bool {
		return takenBy(w.names, row.name(), row, item.mails)
	}},
}

var checkedNumbers = &checked[int]{
	name: "numbers", table: numbers, key: item.num, compare: cmp.Compare[int],
	rows: func(w *world) map[int]item { return w.numbers },
}

var checkedIDs = &checked[uuid.UUID]{
	name: "ids", table: ids, key: item.id, compare: compareIDs,
	rows: func(w *world) map[uuid.UUID]item { return w.ids },
	unique: []func(*world, item) bool{func(w *world, row item) bool {
		return takenBy(w.ids, row.ID, row, item.badges)
	}},
}

var checkedSpots = &checked[spot]{
	name: "spots", table: spots, key: item.spot, compare: compareSpots,
	begins: func(key, prefix spot, fields int) bool {
		return fields == 0 || key.Town == prefix.Town && (fields == 1 || key.House == prefix.House)
	},
	rows: func(w *world) map[spot]item { return w.spots },
}

// init breaks the cycle between the tables, the queries and the ops.
func init() {
	for name, t := range map[string]modelTable{"names": checkedNames, "numbers": checkedNumbers, "ids": checkedIDs, "spots": checkedSpots} {
		modelTables[name], sources[name] = t, t
	}
}

// takenBy tells whether a row with another key has one of the row's values.
func takenBy[K, X comparable](rows map[K]item, key K, row item, values func(item) []X) bool {
	for k, other := range rows {
		for _, x := range values(row) {
			if k != key && slices.Contains(values(other), x) {
				return true
			}
		}
	}
	return false
}

func (c *checked[K]) put(tx *cqrs.Tx, row item) error    { return c.table.Put(tx, row) }
func (c *checked[K]) delete(tx *cqrs.Tx, row item) error { return c.table.Delete(tx, c.key(row)) }
func (c *checked[K]) keyText(row item) string {
	return fmt.Sprintf("%s %q", c.name, fmt.Sprint(c.key(row)))
}

// modelPut refuses the empty text as a key, and a unique value of another row.
func (c *checked[K]) modelPut(w *world, row item, t uint64) bool {
	if any(c.key(row)) == any("") {
		return false
	}
	for _, taken := range c.unique {
		if taken(w, row) {
			return false
		}
	}
	c.rows(w)[c.key(row)], w.written[c.keyText(row)] = row, t
	return true
}

func (c *checked[K]) modelDelete(w *world, row item, t uint64) bool {
	if any(c.key(row)) == any("") {
		return false
	}
	if _, there := c.rows(w)[c.key(row)]; there {
		delete(c.rows(w), c.key(row))
		w.written[c.keyText(row)] = t
	}
	return true
}

func (c *checked[K]) modelRow(w *world, row item) (item, bool) {
	found, ok := c.rows(w)[c.key(row)]
	return found, ok
}

func (c *checked[K]) modelRows(w *world) []item { return slices.Collect(maps.Values(c.rows(w))) }

func (c *checked[K]) history(v cqrs.View, row item) string {
	var out []string
	for version, err := range c.table.History(v, c.key(row)) {
		if err != nil {
			return "error: " + err.Error()
		}
		out = append(out, versionText(version.T, version.Row, !version.Deleted))
	}
	return strings.Join(out, " ")
}

func versionText(t uint64, row item, there bool) string {
	if !there {
		return fmt.Sprintf("%d: none", t)
	}
	return fmt.Sprintf("%d: %v", t, row)
}

func (c *checked[K]) diff(before, after cqrs.View) string {
	var out []string
	for d, err := range c.table.Diff(before, after) {
		if err != nil {
			return "error: " + err.Error()
		}
		out = append(out, diffText(d.Before, d.After, d.WasThere, d.IsThere))
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func diffText(before, after item, was, is bool) string {
	return fmt.Sprint(versionText(0, before, was), " became ", versionText(0, after, is))
}
