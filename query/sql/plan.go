package sqlview

import (
	"fmt"
	"math"
	"strings"

	"modernc.org/sqlite/vtab"
)

// plan is how the rows that a query wants of a table are found.
type plan struct {
	path         *path
	eq           int // the first columns of the path are equal to something
	lower, upper vtab.ConstraintOp
	order        []vtab.OrderBy // the order in which the rows come, if SQLite asked for it
	backward     bool

	uses []int // constraints: those of eq, then lower, then upper
	cost float64
	rows float64
}

// What is guessed, since nobody counts.
const (
	guessRows  = 1 << 18
	guessEqual = 1 << 6 // an equal column divides the rows by this
	guessBound = 1 << 2 // and a bound by this
	guessSame  = 1 << 7 // rows with one value of an index
	viaIndex   = 3      // the price of a row that an index leads to
)

// planFor chooses among the paths. With a COLLATE in the statement nothing is pushed down: SQLite does not say which comparisons it is for.
func (t *table) planFor(info *vtab.IndexInfo) *plan {
	best := &plan{path: t.source.key}
	best.estimate(t.source, info)
	if t.session.collates {
		return best
	}
	for _, p := range t.paths {
		candidate := &plan{path: p}
		candidate.constrain(info.Constraints)
		if p.sparse && candidate.eq == 0 {
			continue
		}
		candidate.sort(info.OrderBy)
		candidate.estimate(t.source, info)
		if candidate.cost < best.cost {
			best = candidate
		}
	}
	return best
}

// constrain takes the constraints that the path can serve.
func (p *plan) constrain(list []vtab.Constraint) {
	for _, column := range p.path.columns {
		i := find(list, column, vtab.OpEQ)
		if i < 0 {
			p.bound(list, column)
			return
		}
		p.eq++
		p.uses = append(p.uses, i)
	}
}

func (p *plan) bound(list []vtab.Constraint, column int) {
	if i := find(list, column, vtab.OpGT, vtab.OpGE); i >= 0 {
		p.lower = list[i].Op
		p.uses = append(p.uses, i)
	}
	if i := find(list, column, vtab.OpLT, vtab.OpLE); i >= 0 {
		p.upper = list[i].Op
		p.uses = append(p.uses, i)
	}
}

func find(list []vtab.Constraint, column int, ops ...vtab.ConstraintOp) int {
	for i, c := range list {
		for _, op := range ops {
			if c.Usable && c.Column == column && c.Op == op {
				return i
			}
		}
	}
	return -1
}

// sort takes over the order if the rows come in it, or in the opposite one. Columns that are equal to something are in any order.
func (p *plan) sort(by []vtab.OrderBy) {
	if len(by) == 0 || p.path.sparse { // a sparse index may turn out not to serve
		return
	}
	at := 0
	for _, o := range by {
		for at < min(p.eq, len(p.path.order)) && p.path.order[at] != o.Column {
			at++
		}
		if at == len(p.path.order) || p.path.order[at] != o.Column || o.Desc != by[0].Desc {
			return
		}
		at++
	}
	p.order, p.backward = by, by[0].Desc
}

func (p *plan) estimate(s *Source, info *vtab.IndexInfo) {
	p.rows = guessRows / math.Pow(guessEqual, float64(p.eq))
	if p.eq == len(p.path.leaves) {
		p.rows = min(p.rows, guessSame)
	}
	for _, op := range []vtab.ConstraintOp{p.lower, p.upper} {
		if op != 0 {
			p.rows /= guessBound
		}
	}
	p.rows = max(p.rows, 2)
	if p.one() {
		p.rows = 1
	}
	p.cost = p.rows + 1
	if p.path != s.key {
		p.cost = viaIndex*p.rows + 1
	}
	if len(info.OrderBy) > 0 && p.order == nil {
		p.cost += p.rows * 3 // sorting
	}
}

// one tells whether there can be only one row.
func (p *plan) one() bool { return p.path.unique && p.eq == len(p.path.columns) }

// describe is what EXPLAIN QUERY PLAN shows. It says all of the plan.
func (p *plan) describe(s *Source) string {
	var conditions []string
	for i, column := range p.path.columns {
		name := s.columns[column].name
		switch {
		case i < p.eq:
			conditions = append(conditions, name+"=?")
		case i == p.eq:
			conditions = append(conditions, bounds(name, p.lower, p.upper)...)
		}
	}
	text := "all rows"
	switch {
	case len(conditions) > 0:
		text = fmt.Sprintf("%s (%s)", s.describe(p.path), strings.Join(conditions, " AND "))
	case len(p.order) > 0:
		text = s.describe(p.path)
	}
	for i, o := range p.order {
		text += [2]string{", ", " in the order of "}[b2i(i == 0)] + s.columns[o.Column].name
	}
	if p.backward {
		text += " backward"
	}
	return text
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func bounds(name string, lower, upper vtab.ConstraintOp) (list []string) {
	for _, op := range []vtab.ConstraintOp{lower, upper} {
		switch op {
		case vtab.OpGT:
			list = append(list, name+">?")
		case vtab.OpGE:
			list = append(list, name+">=?")
		case vtab.OpLT:
			list = append(list, name+"<?")
		case vtab.OpLE:
			list = append(list, name+"<=?")
		}
	}
	return list
}
