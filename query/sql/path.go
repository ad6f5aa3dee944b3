package sqlview

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"

	"github.com/cqrs-server/cqrs"
)

// path is a way to the rows of a table: by its key, or by an index.
type path struct {
	label   string
	columns []int // numbers of the columns that show the first parts of the key
	leaves  []leaf
	order   []int // the columns in whose order the rows come
	unique  bool  // the columns are the table's whole key
	sparse  bool  // rows whose first column is NULL or zero may be left out
	keyType reflect.Type

	open     func(v cqrs.View, s span) scan
	keys     func(row reflect.Value) (first reflect.Value, n int) // those under which the row stands; row holds a V
	readable func(v cqrs.View) error
}

// span is the rows from from on, below to, both of the path's key type; an invalid one is no bound.
type span struct {
	from, to reflect.Value
	backward bool
	compare  func(a, b reflect.Value) int // not nil: sort the rows
}

// scan gives rows, one after the other. It must be stopped.
type scan struct {
	row  reflect.Value // the one that next read
	next func() (bool, error)
	stop func()
}

// ranges is what tables and indexes have in common.
type ranges[K, V any] interface {
	Whole() cqrs.Range[V]
	From(K) cqrs.Range[V]
	Between(from, to K) cqrs.Range[V]
}

func pathOf[K, V any](label string, rows ranges[K, V], keys func(V) []K) (*path, error) {
	p := &path{label: label, keyType: reflect.TypeFor[K]()}
	p.open = func(v cqrs.View, s span) scan { return scanOf(rowsOf(rows, p, v, s)) }
	p.keys = func(row reflect.Value) (first reflect.Value, n int) {
		list := keys(*row.Addr().Interface().(*V))
		if len(list) > 0 {
			first = reflect.ValueOf(&list[0]).Elem()
		}
		return first, len(list)
	}
	p.readable = func(v cqrs.View) error {
		_, err := rows.Whole().First(v)
		if errors.Is(err, cqrs.ErrNotFound) {
			return nil
		}
		return err
	}
	var err error
	p.leaves, err = leavesOf(p.keyType, nil)
	return p, err
}

func rowsOf[K, V any](rows ranges[K, V], p *path, v cqrs.View, s span) iter.Seq2[V, error] {
	r := rows.Whole()
	switch {
	case s.to.IsValid():
		if !s.from.IsValid() {
			s.from = p.tuple(nil)
		}
		r = rows.Between(s.from.Interface().(K), s.to.Interface().(K))
	case s.from.IsValid():
		r = rows.From(s.from.Interface().(K))
	}
	switch {
	case s.compare != nil:
		return sorted(r.Rows(v), s.compare)
	case s.backward:
		return r.Backward(v)
	}
	return r.Rows(v)
}

func scanOf[V any](rows iter.Seq2[V, error]) scan {
	row := new(V)
	next, stop := iter.Pull2(rows)
	return scan{row: reflect.ValueOf(row).Elem(), stop: stop, next: func() (ok bool, err error) {
		*row, err, ok = next()
		return ok, err
	}}
}

// sorted holds all rows in memory.
func sorted[V any](rows iter.Seq2[V, error], compare func(a, b reflect.Value) int) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		var all []V
		for row, err := range rows {
			if err != nil {
				yield(row, err)
				return
			}
			all = append(all, row)
		}
		slices.SortStableFunc(all, func(a, b V) int {
			return compare(reflect.ValueOf(&a).Elem(), reflect.ValueOf(&b).Elem())
		})
		for _, row := range all {
			if !yield(row, nil) {
				return
			}
		}
	}
}

// tuple is the smallest key whose first parts are these.
func (p *path) tuple(first []reflect.Value) reflect.Value {
	key := reflect.New(p.keyType).Elem()
	for i := range p.leaves {
		v := &p.leaves[i]
		if i < len(first) {
			v.of(key).Set(first[i])
		} else {
			v.of(key).Set(v.least())
		}
	}
	return key
}

// after is the smallest key above all those whose first parts are these, if there is one.
func (p *path) after(first []reflect.Value) (reflect.Value, bool) {
	for i := len(first) - 1; i >= 0; i-- {
		if next, ok := p.leaves[i].next(first[i]); ok {
			return p.tuple(append(slices.Clone(first[:i]), next)), true
		}
	}
	return reflect.Value{}, false
}

// check says whether a row stands where its columns say that it does.
func (p *path) check(s *Source, row reflect.Value) error {
	if len(p.columns) == 0 {
		return nil
	}
	key, n := p.keys(row)
	if n == 0 && p.sparse && s.columns[p.columns[0]].empty(row) {
		return nil
	}
	if n != 1 {
		return fmt.Errorf("%w: %s is declared, and a row stands under %d values of it, not 1", errDeclared, s.describe(p), n)
	}
	for i, c := range p.columns {
		l := &p.leaves[i]
		if column := s.columns[c]; !l.shownBy(column, l.of(key), row) {
			if err := s.checkColumn(p, i, column, row, key); err != nil {
				return err
			}
		}
	}
	return nil
}

// shownBy tells whether a column holds the part's value. It is false, too, when it takes their SQL values to know.
func (l *leaf) shownBy(c *column, part, row reflect.Value) bool {
	v := pointee(c.get(row))
	if c.class != l.class || !v.IsValid() {
		return false
	}
	switch l.class {
	case text:
		return v.String() == part.String()
	case integer:
		return v.Int() == part.Int()
	case unsigned:
		return v.Uint() == part.Uint()
	case real:
		return v.Float() == part.Float()
	case boolean:
		return v.Bool() == part.Bool()
	case id:
		return v.Equal(part)
	}
	return false
}

var errDeclared = errors.New("the declaration is not true")

func (s *Source) checkColumn(p *path, i int, c *column, row, key reflect.Value) error {
	shown, err := c.sql(row)
	if err != nil {
		return err
	}
	is, err := toSQL(p.leaves[i].class, p.leaves[i].of(key))
	if err == nil && (rankSQL(shown) != rankSQL(is) || compareSQL(shown, is) != 0) {
		err = fmt.Errorf("%w: %s is declared, and in a row column %s is %s where the key has %s", errDeclared, s.describe(p), c.name, show(shown), show(is))
	}
	return err
}

func show(v driver.Value) string {
	if v == nil {
		return "NULL"
	}
	return fmt.Sprintf("%.60q", fmt.Sprint(v))
}

// empty tells whether a sparse index may leave a row out.
func (c *column) empty(row reflect.Value) bool {
	v := pointee(c.get(row))
	return !v.IsValid() || v.IsZero()
}
