package sqlview

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/internal/keys"
)

// Source is a table as SQL sees it. It is made once, as a value of the program, and given to Open.
type Source struct {
	name    string
	err     error // Open reports it
	row     reflect.Type
	columns []*column
	key     *path // its columns are empty when no Key is declared
	indexes []*path
	rowKey  func(row reflect.Value) string
}

// Option adds to what SQL knows of a table.
type Option func(*Source)

// Table makes a table of SQL, with that name. Its columns are the fields of V that are stored:
//
//   - A column is called as the field is in the stored row: by its cbor or json tag, or else by its name, in lower-case letters (SQL does not
//     tell them apart). A struct's fields become columns of their own, parent_child; those of an embedded struct are called as if they stood outside.
//   - Strings are TEXT, integers INTEGER, floats REAL, bools 0 or 1, bytes a BLOB.
//   - A time is TEXT in UTC, such as 2013-01-10 15:04:05.25, which SQLite's date functions take and give; the order of the texts is that of the times.
//     Scanned from a column, it is a time.Time again.
//   - A uuid, and what has a MarshalText method, is TEXT. Slices, maps and interfaces are JSON.
//   - A pointer is what it points to. A nil pointer, slice, map or interface is NULL.
//
// Open reports what is wrong with a declaration. The functions of keys, indexes and columns are called with made-up rows to find that out.
func Table[K comparable, V any](name string, t *cqrs.Table[K, V], options ...Option) *Source {
	s := &Source{name: name, row: reflect.TypeFor[V]()}
	s.columns = columnsOf(s.row)
	var err error
	s.key, err = pathOf("key", t, func(row V) []K { return []K{t.Key(row)} })
	encode, err2 := keys.Encoder[K]()
	s.rowKey = func(row reflect.Value) string { return string(encode(nil, t.Key(*row.Addr().Interface().(*V)))) }
	for _, o := range options {
		o(s)
	}
	if err2 != nil {
		s.fail(err2)
	}
	if err != nil && len(s.key.columns) > 0 {
		s.fail(fmt.Errorf("Key: %w", err))
	}
	s.finish()
	return s
}

// Key declares that these columns show the table's key: all of it, or for a key that is a struct its first parts. Comparisons with them
// then find the rows by the key, and an ORDER BY of them sorts nothing.
//
// What is declared is tried with made-up rows when the table is made, and with every row that is read: a query that finds a row for which
// it is not true fails.
func Key(columns ...string) Option {
	return func(s *Source) { s.declare(s.key, columns) }
}

// Index declares that these columns show the index's values: all of them, or for values that are structs their first parts. As for Key, it
// is tried. Every row must stand in the index under exactly one value. An index may leave out rows whose first column is
// NULL or zero (an empty text, the number 0, the time's zero): it then serves comparisons with = of that column only.
func Index[X comparable, V any](x *cqrs.Index[X, V], columns ...string) Option {
	return func(s *Source) {
		if reflect.TypeFor[V]() != s.row {
			s.fail(fmt.Errorf("an index of rows of type %v does not belong to a table with rows of type %v", reflect.TypeFor[V](), s.row))
			return
		}
		p, err := pathOf("index", x, x.Values)
		if err != nil {
			s.fail(fmt.Errorf("Index: %w", err))
			return
		}
		s.declare(p, columns)
		s.indexes = append(s.indexes, p)
	}
}

// Column adds a column that is computed from the row, or puts it in the place of the one with that name. Declare it before the keys and
// indexes that use it. A nil pointer is NULL.
func Column[V, T any](name string, value func(row V) T) Option {
	return func(s *Source) {
		c := &column{name: name, class: classOf(under(reflect.TypeFor[T]()))}
		c.get = func(row reflect.Value) reflect.Value { return reflect.ValueOf(value(*row.Addr().Interface().(*V))) }
		switch {
		case reflect.TypeFor[V]() != s.row:
			s.fail(fmt.Errorf("column %s is computed from a %v, and the rows are of type %v", name, reflect.TypeFor[V](), s.row))
			return
		case c.class == none:
			s.fail(fmt.Errorf("column %s can't hold a %v", name, reflect.TypeFor[T]()))
		}
		if i := s.column(name); i >= 0 {
			s.columns[i] = c
		} else {
			s.columns = append(s.columns, c)
		}
	}
}

func under(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

func (s *Source) fail(err error) { s.err = errors.Join(s.err, fmt.Errorf("table %s: %w", s.name, err)) }

// column finds a column's number; it is -1 when there is none.
func (s *Source) column(name string) int {
	return slices.IndexFunc(s.columns, func(c *column) bool { return strings.EqualFold(c.name, name) })
}

// declare names the columns of a path.
func (s *Source) declare(p *path, names []string) {
	p.columns = nil
	for _, name := range names {
		i := s.column(name)
		if i < 0 {
			s.fail(fmt.Errorf("%s names column %q, and there is none; there are %s", p.label, name, s.names()))
			return
		}
		p.columns = append(p.columns, i)
	}
	if len(names) == 0 || len(names) > len(p.leaves) {
		s.fail(fmt.Errorf("%s names %d columns, and its values have %d parts", p.label, len(names), len(p.leaves)))
		p.columns = nil
	}
}

func (s *Source) names() string {
	var names []string
	for _, c := range s.columns {
		names = append(names, c.name)
	}
	return strings.Join(names, ", ")
}

// finish checks what was declared, and draws conclusions.
func (s *Source) finish() {
	s.checkNames()
	if s.err != nil {
		return
	}
	s.key.unique = len(s.key.columns) > 0 && len(s.key.columns) == len(s.key.leaves)
	s.key.order = s.key.columns
	for _, p := range s.indexes {
		p.order = slices.Clone(p.columns)
		if len(p.columns) == len(p.leaves) {
			p.order = append(p.order, s.key.columns...)
		}
	}
	s.probe()
}

func (s *Source) checkNames() {
	if s.name == "" || strings.ContainsRune(s.name, 0) {
		s.fail(errors.New("it needs a name"))
	}
	if len(s.columns) == 0 {
		s.fail(fmt.Errorf("a %v has no fields that are stored, and so no columns", s.row))
	}
	for i, c := range s.columns {
		if c.name == "" || strings.ContainsRune(c.name, 0) {
			s.fail(fmt.Errorf("column %d needs a name", i))
		}
		if s.column(c.name) != i {
			s.fail(fmt.Errorf("two columns are called %s: give one of the fields a json tag", c.name))
		}
	}
}

func (s *Source) paths() []*path { return append([]*path{s.key}, s.indexes...) }

// describe names a path as it is declared.
func (s *Source) describe(p *path) string {
	names := make([]string, len(p.columns))
	for i, c := range p.columns {
		names[i] = s.columns[c].name
	}
	return fmt.Sprintf("%s(%s)", p.label, strings.Join(names, ", "))
}

// check says whether what is declared is true for a row.
func (s *Source) check(row reflect.Value) error {
	for _, p := range s.paths() {
		if err := p.check(s, row); err != nil {
			return err
		}
	}
	return nil
}

// schema is the table for SQLite.
func (s *Source) schema() string {
	var b strings.Builder
	for _, c := range s.columns {
		fmt.Fprintf(&b, ", %s %s", quote(c.name), declared[c.class])
	}
	return "CREATE TABLE x(" + b.String()[2:] + ")"
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
