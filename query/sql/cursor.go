package sqlview

import (
	"database/sql/driver"
	"fmt"
	"reflect"

	"modernc.org/sqlite/vtab"
)

// cursor goes over the rows of a plan.
type cursor struct {
	table *table
	scan  scan
	open  bool
	eof   bool
}

// Filter begins.
func (c *cursor) Filter(_ int, text string, args []vtab.Value) error {
	c.stop()
	p := c.table.plans[text]
	if p == nil {
		return c.fail(errCursor)
	}
	path, s, some := c.table.spanOf(p, args)
	if c.eof = !some; c.eof {
		return nil
	}
	c.scan, c.open = path.open(c.table.session.db.view, s), true
	return c.advance()
}

// Next goes to the next row.
func (c *cursor) Next() error { return c.advance() }

func (c *cursor) advance() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = c.fail(fmt.Errorf("reading it panics: %v", r))
		}
	}()
	if err := c.table.session.ctx.Err(); err != nil {
		return c.fail(err)
	}
	ok, err := c.scan.next()
	if err == nil && ok {
		c.table.session.db.read.Add(1)
		err = c.table.source.check(c.scan.row)
	}
	c.eof = !ok || err != nil
	return c.fail(err)
}

// fail notes the error for the caller of the statement: SQLite hands on its text at most.
func (c *cursor) fail(err error) error {
	if err == nil {
		return nil
	}
	c.eof = true
	err = fmt.Errorf("table %s: %w", c.table.source.name, err)
	if c.table.session.err == nil {
		c.table.session.err = err
	}
	return err
}

// Eof is true behind the last row.
func (c *cursor) Eof() bool { return c.eof }

// Column is a value of the row.
func (c *cursor) Column(i int) (v vtab.Value, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = c.fail(fmt.Errorf("column %s panics: %v", c.table.source.columns[i].name, r))
		}
	}()
	v, err = c.table.source.columns[i].sql(c.scan.row)
	if err != nil {
		err = c.fail(err)
	}
	return v, err
}

// Rowid numbers the rows that it is asked for: the same row has the same number while cursors are open.
func (c *cursor) Rowid() (id int64, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = c.fail(fmt.Errorf("reading its key panics: %v", r))
		}
	}()
	t := c.table
	key := t.source.rowKey(c.scan.row)
	n, ok := t.numbers[key]
	if !ok {
		n = int64(len(t.numbers)) + 1
		t.numbers[key] = n
	}
	return n, nil
}

// Close ends the reading.
func (c *cursor) Close() error {
	c.stop()
	if c.table.cursors--; c.table.cursors == 0 {
		clear(c.table.numbers)
	}
	return nil
}

func (c *cursor) stop() {
	if c.open {
		c.scan.stop()
		c.open = false
	}
}

// spanOf gives what to read for a plan and its arguments. It may be more than what is wanted: SQLite compares the rows once more. There
// may be nothing: nothing is equal to NULL, or below or above it.
func (t *table) spanOf(p *plan, args []driver.Value) (path *path, s span, some bool) {
	for _, x := range args {
		if x == nil {
			return nil, s, false
		}
	}
	s.backward = p.backward
	var first []reflect.Value
	for i := range p.eq {
		v, exact, ok := p.path.leaves[i].at(args[i])
		if !ok || !exact || p.path.sparse && i == 0 && v.IsZero() {
			return t.wider(p, first, s, args[i])
		}
		first = append(first, v)
	}
	return p.path, s, p.between(&s, first, args[p.eq:])
}

// wider reads all rows with the first values, when the next one is not to be found by the key.
func (t *table) wider(p *plan, first []reflect.Value, s span, x driver.Value) (*path, span, bool) {
	if p.path.sparse {
		return t.source.key, s, true
	}
	p.between(&s, first, nil)
	if _, isText := x.(string); !isText && p.order != nil {
		s.compare = t.comparison(p) // as numbers, several texts are equal
	}
	return p.path, s, true
}

// between sets the bounds to the rows with these first values, and of those to the ones within the plan's bounds. It is false when
// there can be none.
func (p *plan) between(s *span, first []reflect.Value, args []driver.Value) bool {
	if len(first) > 0 {
		s.from = p.path.tuple(first)
		s.to, _ = p.path.after(first)
	}
	if len(args) > 0 && p.lower != 0 {
		if v, exact, ok := p.path.leaves[len(first)].at(args[0]); ok {
			with := append(first[:len(first):len(first)], v)
			s.from = p.path.tuple(with)
			if exact && p.lower == vtab.OpGT {
				if s.from, ok = p.path.after(with); !ok {
					return false
				}
			}
		}
		args = args[1:]
	}
	if len(args) > 0 && p.upper != 0 {
		if v, exact, ok := p.path.leaves[len(first)].at(args[0]); ok {
			with := append(first[:len(first):len(first)], v)
			s.to = p.path.tuple(with)
			if exact && p.upper == vtab.OpLE {
				s.to, _ = p.path.after(with)
			}
		}
	}
	return true
}

// comparison sorts rows as the plan promised.
func (t *table) comparison(p *plan) func(a, b reflect.Value) int {
	return func(a, b reflect.Value) int {
		for _, o := range p.order {
			x, _ := t.source.columns[o.Column].sql(a)
			y, _ := t.source.columns[o.Column].sql(b)
			if c := compareSQL(x, y); c != 0 {
				if o.Desc {
					return -c
				}
				return c
			}
		}
		return 0
	}
}
