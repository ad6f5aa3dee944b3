package cqrs_test

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/cqrs-server/cqrs"
	"github.com/google/uuid"
)

// query is a read as data: it can be asked through a View, a Decision or a Tx, and of the model. Answers are texts.
type query struct {
	Source string // a table, or an index
	Op     string // get, has, all, find; and of a span: rows, some, backward, first, count, page, pages
	Span   string // whole, from, between, prefix, equal
	A, B   item   // where keys and values are taken from
	Fields int    // of a prefix
	N      int    // how many rows, or how many on a page
}

var (
	queryOps = []string{"get", "has", "all", "find", "rows", "some", "backward", "first", "count", "pages", "page"}
	spanOps  = []string{"whole", "from", "between", "prefix", "equal"}
)

// source is a table or an index that queries go to.
type source interface {
	span(q query) cqrs.Range[item]
	within(w *world, q query) []item // what the span holds, in order
	get(r cqrs.Reader, q query) (item, error)
	has(r cqrs.Reader, q query) bool
	all(r cqrs.Reader) iter.Seq2[item, error]
	find(r cqrs.Reader, q query) iter.Seq2[item, error]
}

var sources = map[string]source{
	"names/group": &checkedIndex[string, string]{checkedNames, namesByGroup, one(item.group), cmp.Compare[string]},
	"names/tag":   &checkedIndex[string, string]{checkedNames, namesByTag, item.tags, cmp.Compare[string]},
	"names/mail":  &checkedIndex[string, string]{checkedNames, namesByMail, item.mails, cmp.Compare[string]},
	"names/rank":  &checkedIndex[rank, string]{checkedNames, namesByRank, one(item.rank), compareRanks},
	"spots/heat":  &checkedIndex[float64, spot]{checkedSpots, spotsByHeat, item.heats, cmp.Compare[float64]},
	"ids/badge":   &checkedIndex[int, uuid.UUID]{checkedIDs, idsByBadge, item.badges, cmp.Compare[int]},
}

func one[X any](value func(item) X) func(item) []X {
	return func(i item) []X { return []X{value(i)} }
}

// ask gives the library's answer.
func (q query) ask(r cqrs.Reader) string {
	s := sources[q.Source]
	switch q.Op {
	case "get":
		return rowText(s.get(r, q))
	case "has":
		return strconv.FormatBool(s.has(r, q))
	case "all":
		return rowsText(s.all(r), -1)
	case "find":
		return rowsText(s.find(r, q), -1)
	case "pages":
		return pagesText(s.span(q), r, q.N)
	case "page":
		return pageText(s.span(q).Page(r, q.N, ""))
	case "count":
		return countText(s.span(q).Count(r))
	case "first":
		return rowText(s.span(q).First(r))
	case "backward":
		return rowsText(s.span(q).Backward(r), q.N)
	case "some":
		return rowsText(s.span(q).Rows(r), q.N)
	}
	return rowsText(s.span(q).Rows(r), -1)
}

// answer gives the model's.
func (q query) answer(w *world) string {
	rows := sources[q.Source].within(w, q.narrow())
	switch q.Op {
	case "has":
		return strconv.FormatBool(len(rows) > 0)
	case "get", "first":
		if len(rows) == 0 {
			return "none"
		}
		return rows[0].String()
	case "count":
		return strconv.Itoa(len(rows))
	case "pages":
		return modelPages(rows, q.N)
	case "page":
		return onePage(rows[:min(q.N, len(rows))], len(rows) > q.N)
	case "backward":
		slices.Reverse(rows)
		return texts(rows[:min(q.N, len(rows))])
	case "some":
		return texts(rows[:min(q.N, len(rows))])
	}
	return texts(rows)
}

// narrow gives the span that an op means which has none.
func (q query) narrow() query {
	switch q.Op {
	case "get", "has", "find":
		q.Span = "equal"
	case "all":
		q.Span = "whole"
	}
	return q
}

func rowText(row item, err error) string {
	switch {
	case errors.Is(err, cqrs.ErrNotFound):
		return "none"
	case err != nil:
		return "error: " + err.Error()
	}
	return row.String()
}

func countText(n int, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	return strconv.Itoa(n)
}

// rowsText reads at most n rows; -1: all.
func rowsText(rows iter.Seq2[item, error], n int) string {
	var out []item
	for row, err := range rows {
		if err != nil {
			return "error: " + err.Error()
		}
		if out = append(out, row); len(out) == n {
			break
		}
	}
	return texts(out)
}

func texts(rows []item) string { return fmt.Sprint(rows) }

// pagesText reads all pages.
func pagesText(span cqrs.Range[item], r cqrs.Reader, n int) string {
	var pages []string
	for after := cqrs.Cursor(""); ; {
		rows, next, err := span.Page(r, n, after)
		if err != nil {
			return "error: " + err.Error()
		}
		pages = append(pages, texts(rows))
		if after = next; next == "" {
			return strings.Join(pages, "/")
		}
	}
}

// pageText tells of one page, and whether there is another.
func pageText(rows []item, next cqrs.Cursor, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	return onePage(rows, next != "")
}

func onePage(rows []item, more bool) string { return fmt.Sprint(texts(rows), more) }

func modelPages(rows []item, n int) string {
	pages := []string{}
	for page := range slices.Chunk(rows, n) {
		pages = append(pages, texts(page))
	}
	if len(pages) == 0 {
		pages = append(pages, texts(nil))
	}
	return strings.Join(pages, "/")
}

func (c *checked[K]) span(q query) cqrs.Range[item] {
	a, b := c.key(q.A), c.key(q.B)
	switch {
	case q.Span == "from":
		return c.table.From(a)
	case q.Span == "between":
		return c.table.Between(a, b)
	case q.Span == "prefix" && c.begins != nil:
		return c.table.Prefix(a, q.Fields)
	case q.Span == "equal":
		return c.table.Between(a, b)
	}
	return c.table.Whole()
}

func (c *checked[K]) within(w *world, q query) (rows []item) {
	for key, row := range c.rows(w) {
		if c.inside(key, q) {
			rows = append(rows, row)
		}
	}
	slices.SortFunc(rows, func(a, b item) int { return c.compare(c.key(a), c.key(b)) })
	return rows
}

func (c *checked[K]) inside(key K, q query) bool {
	a, b := c.key(q.A), c.key(q.B)
	switch {
	case q.Op == "get" || q.Op == "has" || q.Op == "find":
		return key == a
	case q.Span == "from":
		return c.compare(key, a) >= 0
	case q.Span == "between" || q.Span == "equal":
		return c.compare(key, a) >= 0 && c.compare(key, b) < 0
	case q.Span == "prefix" && c.begins != nil:
		return c.begins(key, a, q.Fields)
	}
	return true
}

func (c *checked[K]) get(r cqrs.Reader, q query) (item, error) { return c.table.Get(r, c.key(q.A)) }
func (c *checked[K]) has(r cqrs.Reader, q query) bool          { return c.table.Has(r, c.key(q.A)) }
func (c *checked[K]) all(r cqrs.Reader) iter.Seq2[item, error] { return c.table.All(r) }

// find has no meaning for a table: it gives the row with the key.
func (c *checked[K]) find(r cqrs.Reader, q query) iter.Seq2[item, error] {
	return func(yield func(item, error) bool) {
		if row, err := c.table.Get(r, c.key(q.A)); !errors.Is(err, cqrs.ErrNotFound) {
			yield(row, err)
		}
	}
}

// checkedIndex is an index, and what the model needs of it.
type checkedIndex[X, K comparable] struct {
	of      *checked[K]
	index   *cqrs.Index[X, item]
	values  func(item) []X
	compare func(a, b X) int
}

// value is the value of an item that queries look for.
func (c *checkedIndex[X, K]) value(i item) (x X) {
	for _, x := range c.values(i) {
		return x
	}
	return x
}

func (c *checkedIndex[X, K]) span(q query) cqrs.Range[item] {
	a, b := c.value(q.A), c.value(q.B)
	switch q.Span {
	case "from":
		return c.index.From(a)
	case "between":
		return c.index.Between(a, b)
	case "equal", "prefix":
		return c.index.Equal(a)
	}
	return c.index.Whole()
}

func (c *checkedIndex[X, K]) within(w *world, q query) (rows []item) {
	type entry struct {
		x   X
		row item
	}
	var entries []entry
	for _, row := range c.of.rows(w) {
		for i, x := range c.values(row) {
			if c.inside(x, q) && !slices.Contains(c.values(row)[:i], x) {
				entries = append(entries, entry{x, row})
			}
		}
	}
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(c.compare(a.x, b.x), c.of.compare(c.of.key(a.row), c.of.key(b.row)))
	})
	for _, e := range entries {
		rows = append(rows, e.row)
	}
	return rows
}

func (c *checkedIndex[X, K]) inside(x X, q query) bool {
	a, b := c.value(q.A), c.value(q.B)
	switch q.Span {
	case "from":
		return c.compare(x, a) >= 0
	case "between":
		return c.compare(x, a) >= 0 && c.compare(x, b) < 0
	case "equal", "prefix":
		return x == a
	}
	return true
}

func (c *checkedIndex[X, K]) get(r cqrs.Reader, q query) (item, error) {
	return c.index.Get(r, c.value(q.A))
}
func (c *checkedIndex[X, K]) has(r cqrs.Reader, q query) bool          { return c.index.Has(r, c.value(q.A)) }
func (c *checkedIndex[X, K]) all(r cqrs.Reader) iter.Seq2[item, error] { return c.index.All(r) }
func (c *checkedIndex[X, K]) find(r cqrs.Reader, q query) iter.Seq2[item, error] {
	return c.index.Find(r, c.value(q.A))
}
