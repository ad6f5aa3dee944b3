package sqlview

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// The model: a loop over a slice of rows, with SQL's logic of true, false and NULL written down once more.

var modelColumns = map[string]func(p parcel) any{
	"id":        func(p parcel) any { return p.ID },
	"owner":     func(p parcel) any { return p.Owner.String() },
	"sent":      func(p parcel) any { return p.Sent },
	"weight":    func(p parcel) any { return float64(p.Weight) },
	"price_eur": func(p parcel) any { return p.Price },
	"from_city": func(p parcel) any { return p.From.City },
	"kind":      func(p parcel) any { return float64(p.Kind) },
	"day":       func(p parcel) any { return float64(sentDay(p)) },
	"express": func(p parcel) any {
		if p.Express {
			return 1.0
		}
		return 0.0
	},
	"note": func(p parcel) any {
		if p.Note == nil {
			return nil
		}
		return *p.Note
	},
	"to_city": func(p parcel) any {
		if p.To == nil {
			return nil
		}
		return p.To.City
	},
}

var columnNames = slices.Sorted(func(yield func(string) bool) {
	for name := range modelColumns {
		if !yield(name) {
			return
		}
	}
})

func compareModel(a, b any) int {
	switch a := a.(type) {
	case string:
		return strings.Compare(a, b.(string))
	case float64:
		return cmp.Compare(a, b.(float64))
	}
	return a.(time.Time).Compare(b.(time.Time))
}

// truth is SQL's: NULL is neither.
type truth int

const (
	no truth = iota
	null
	yes
)

// condition is a WHERE, as text and as what it means. Without a meaning only the two ways of running it are compared.
type condition struct {
	text string
	args []any
	is   func(p parcel) truth
}

func (c *condition) meaning(p parcel) bool { return c.is == nil || c.is(p) == yes }

var texts = []string{"a", "b", "B", "5", "05", "5.0", "p\x00q", "p", "ä", "~"}

func drawParcel(t *rapid.T, id string) parcel {
	p := parcel{
		ID: id, Owner: drawOwner(t), Sent: drawTime(t), Weight: rapid.SampledFrom([]int{-2, -1, 0, 1, 2, 5, 1 << 60}).Draw(t, "weight"),
		Price: rapid.SampledFrom([]float64{-1.5, 0, 0.5, 2, 5, 1e300}).Draw(t, "price"), Express: rapid.Bool().Draw(t, "express"),
		From: place{City: rapid.SampledFrom([]string{"", "a", "b", "5", "05"}).Draw(t, "city")}, Kind: rapid.Uint8Max(3).Draw(t, "kind"),
	}
	if rapid.Bool().Draw(t, "has note") {
		note := rapid.SampledFrom([]string{"", "a", "b", "5", "05"}).Draw(t, "note")
		p.Note = &note
	}
	if rapid.Bool().Draw(t, "has to") {
		p.To = &place{City: "a"}
	}
	return p
}

func drawOwner(t *rapid.T) uuid.UUID {
	return rapid.SampledFrom([]uuid.UUID{{}, someone(0), someone(1)}).Draw(t, "owner")
}

func drawTime(t *rapid.T) time.Time {
	return rapid.SampledFrom([]time.Time{
		{}, epoch, epoch.Add(time.Second), epoch.Add(time.Second + 250*time.Millisecond), epoch.Add(time.Second + 1), epoch.Add(-1),
		epoch.Add(24 * time.Hour), time.Date(9998, 12, 31, 23, 59, 59, 999999999, time.UTC),
	}).Draw(t, "time").In(rapid.SampledFrom([]*time.Location{time.UTC, time.FixedZone("", 3600)}).Draw(t, "zone"))
}

// drawValue gives a value to compare a column with, and what it is to the model.
func drawValue(t *rapid.T, column string) (arg, model any) {
	if rapid.IntRange(0, 15).Draw(t, "NULL") == 0 {
		return nil, nil
	}
	switch column {
	case "id", "note", "from_city", "to_city":
		s := rapid.SampledFrom(texts[:8]).Draw(t, "text")
		return s, s
	case "owner":
		u := drawOwner(t)
		return u, u.String()
	case "sent":
		at := drawTime(t)
		return at, at
	case "price_eur":
		f := rapid.SampledFrom([]float64{-1.5, 0, 0.5, 2, 5, 1e300, 0.25}).Draw(t, "price")
		return f, f
	}
	if f := rapid.SampledFrom([]float64{-0.5, 0.5, 1.5, 300, -1e30, 1e30, 2, 15706}).Draw(t, "number"); rapid.Bool().Draw(t, "as float") {
		return f, f
	}
	i := rapid.SampledFrom([]int64{-3, -2, 0, 1, 2, 5, 256, 1 << 60, 15705, 15706}).Draw(t, "integer")
	return i, float64(i)
}

// odd are values of all types, and texts that are nearly a column's.
var odd = []any{
	int64(5), 5.0, "5", "05", "5.0", " 5 ", "", []byte("5"), []byte{}, []byte(nil), true, int64(-1), "zz", 1e19, -1e19, "p\x00q", "p\x00",
}

var oddTimes = []any{
	"2013-01-01", "2013-01-01 00:00", "2013-01-01 00:00:01.250", "2013-01-01 00:00:01.25", "2013-01-01 00:00:01.000", "2013-01-01 00:00:01,25",
	"2013-01-01T00:00:01Z", "2013-1-1", "2013", "2013-01-01 0:00:01",
}

var oddOwners = []any{someone(0).String(), strings.ToUpper(someone(0).String()), someone(0).String()[:30], "{" + someone(1).String() + "}"}

func drawOdd(t *rapid.T, column string) any {
	switch from := odd; {
	case column == "sent" && rapid.Bool().Draw(t, "nearly"):
		return rapid.SampledFrom(oddTimes).Draw(t, "odd")
	case column == "owner" && rapid.Bool().Draw(t, "nearly"):
		return rapid.SampledFrom(oddOwners).Draw(t, "odd")
	default:
		return rapid.SampledFrom(from).Draw(t, "odd")
	}
}

var operators = map[string]func(c int) bool{
	"=": func(c int) bool { return c == 0 }, "<": func(c int) bool { return c < 0 }, "<=": func(c int) bool { return c <= 0 },
	">": func(c int) bool { return c > 0 }, ">=": func(c int) bool { return c >= 0 }, "<>": func(c int) bool { return c != 0 },
}

func drawComparison(t *rapid.T) condition {
	column := rapid.SampledFrom(columnNames).Draw(t, "column")
	op := rapid.SampledFrom([]string{"=", "=", "<", "<=", ">", ">=", "<>"}).Draw(t, "op")
	if rapid.IntRange(0, 3).Draw(t, "odd?") == 0 {
		side := rapid.SampledFrom([]string{"?", "?", "?", "CAST(? AS INTEGER)", "CAST(? AS TEXT)"}).Draw(t, "side")
		return condition{text: column + op + side, args: []any{drawOdd(t, column)}}
	}
	arg, model := drawValue(t, column)
	return condition{column + op + "?", []any{arg}, func(p parcel) truth {
		x := modelColumns[column](p)
		if x == nil || model == nil {
			return null
		}
		return truthOf(operators[op](compareModel(x, model)))
	}}
}

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

func drawIn(t *rapid.T) condition {
	column := rapid.SampledFrom(columnNames).Draw(t, "column")
	a, x := drawValue(t, column)
	b, y := drawValue(t, column)
	return condition{column + " IN (?, ?)", []any{a, b}, func(p parcel) truth {
		v, out := modelColumns[column](p), no
		for _, m := range []any{x, y} {
			switch {
			case v == nil || m == nil:
				out = max(out, null)
			case compareModel(v, m) == 0:
				out = yes
			}
		}
		return out
	}}
}

func drawBetween(t *rapid.T) condition {
	column := rapid.SampledFrom(columnNames).Draw(t, "column")
	a, x := drawValue(t, column)
	b, y := drawValue(t, column)
	above := func(v, m any) truth {
		if v == nil || m == nil {
			return null
		}
		return truthOf(compareModel(v, m) >= 0)
	}
	return condition{column + " BETWEEN ? AND ?", []any{a, b}, func(p parcel) truth {
		v := modelColumns[column](p)
		return min(above(v, x), above(y, v))
	}}
}

func drawCondition(t *rapid.T, depth int) condition {
	switch rapid.IntRange(0, 7+2*depth).Draw(t, "form") {
	case 0:
		return drawIn(t)
	case 1:
		return drawBetween(t)
	case 2:
		column := rapid.SampledFrom(columnNames).Draw(t, "column")
		return condition{column + " IS NULL", nil, func(p parcel) truth { return truthOf(modelColumns[column](p) == nil) }}
	case 8, 9, 10, 11:
		return join2(t, depth, " AND ", func(a, b truth) truth { return min(a, b) })
	case 12, 13:
		return join2(t, depth, " OR ", func(a, b truth) truth { return max(a, b) })
	}
	return drawComparison(t)
}

func join2(t *rapid.T, depth int, word string, both func(a, b truth) truth) condition {
	a, b := drawCondition(t, depth-1), drawCondition(t, depth-1)
	c := condition{text: "(" + a.text + word + b.text + ")", args: append(slices.Clone(a.args), b.args...)}
	if a.is != nil && b.is != nil {
		c.is = func(p parcel) truth { return both(a.is(p), b.is(p)) }
	}
	return c
}

// statement is a query of ids in an order that leaves nothing open.
type statement struct {
	condition
	order string
	by    []orderTerm
	limit int
}

type orderTerm struct {
	column string
	down   bool
}

func drawStatement(t *rapid.T) (s statement) {
	s.condition = drawCondition(t, 3)
	for range rapid.IntRange(0, 2).Draw(t, "terms") {
		s.by = append(s.by, orderTerm{rapid.SampledFrom(columnNames).Draw(t, "by"), rapid.Bool().Draw(t, "down")})
	}
	s.by = append(s.by, orderTerm{"id", rapid.Bool().Draw(t, "down")})
	if rapid.IntRange(0, 2).Draw(t, "one direction") > 0 {
		for i := range s.by {
			s.by[i].down = s.by[0].down
		}
	}
	s.limit = rapid.SampledFrom([]int{-1, -1, 0, 1, 3, 100}).Draw(t, "limit")
	terms := make([]string, len(s.by))
	for i, o := range s.by {
		terms[i] = o.column + map[bool]string{true: " DESC"}[o.down]
	}
	s.order = strings.Join(terms, ", ")
	return s
}

func (s *statement) sql() string {
	return fmt.Sprintf("SELECT hex(id) FROM parcels WHERE %s ORDER BY %s LIMIT %d", s.text, s.order, s.limit)
}

// run is the statement by the model.
func (s *statement) run(rows []parcel) (ids []string) {
	var found []parcel
	for _, p := range rows {
		if s.meaning(p) {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b parcel) int {
		for _, o := range s.by {
			c := compareNull(modelColumns[o.column](a), modelColumns[o.column](b))
			if o.down {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return 0
	})
	for i, p := range found {
		if i == s.limit {
			break
		}
		ids = append(ids, fmt.Sprintf("%X", p.ID))
	}
	return ids
}

func compareNull(a, b any) int {
	if a == nil || b == nil {
		return cmp.Compare(b2i(a != nil), b2i(b != nil))
	}
	return compareModel(a, b)
}

// at is what the model knows of a t.
type at struct {
	t    uint64
	rows []parcel
}

func TestModel(t *testing.T) {
	rt := start(t)
	history := []at{{t: send(t, rt, write{})}}
	checked, modelled, pushed := 0, 0, 0
	rapid.Check(t, func(rt2 *rapid.T) {
		now := at{}
		w := write{}
		for _, id := range rapid.SliceOfNDistinct(rapid.SampledFrom(texts), 0, 10, rapid.ID).Draw(rt2, "ids") {
			w.Parcels = append(w.Parcels, drawParcel(rt2, id))
		}
		for _, p := range history[len(history)-1].rows {
			if !slices.ContainsFunc(w.Parcels, func(q parcel) bool { return q.ID == p.ID }) {
				w.Gone = append(w.Gone, p.ID)
			}
		}
		now.t, now.rows = send(t, rt, w), w.Parcels
		history = append(history, now)
		then := history[rapid.IntRange(max(0, len(history)-20), len(history)-1).Draw(rt2, "as of")]
		with, _ := mustOpen(t, rt.AsOf(then.t), parcelsSQL)
		without, _ := mustOpen(t, rt.AsOf(then.t), plainSQL)
		defer with.Close()
		defer without.Close()
		for range 20 {
			s := drawStatement(rt2)
			checkStatement(rt2, s, then.rows, with, without)
			checked++
			if s.is != nil {
				modelled++
			}
			checkJoin(rt2, with, without)
			if strings.Contains(fmt.Sprint(query(t, with, "EXPLAIN QUERY PLAN "+s.sql(), s.args...)), "(") {
				pushed++
			}
		}
	})
	t.Logf("%d statements, %d of them against the model, %d with a key or an index", checked, modelled, pushed)
	if modelled < checked/3 || pushed < checked/3 {
		t.Error("too few of the statements say something")
	}
}

func checkStatement(t *rapid.T, s statement, rows []parcel, with, without *sql.DB) {
	got, plain := ask(t, with, s.sql(), s.args...), ask(t, without, s.sql(), s.args...)
	if !slices.Equal(got, plain) {
		t.Fatalf("%s %q:\nwith keys and indexes %v\nwithout               %v", s.sql(), s.args, got, plain)
	}
	if s.is == nil {
		return
	}
	if want := s.run(rows); !slices.Equal(got, want) {
		t.Fatalf("%s %q:\ngot  %v\nwant %v", s.sql(), s.args, got, want)
	}
}

// checkJoin compares columns of all types with one another: a number of one row with a text of another is a matter of SQLite's.
func checkJoin(t *rapid.T, with, without *sql.DB) {
	pair := func() string {
		return fmt.Sprintf("a.%s %s b.%s", rapid.SampledFrom(columnNames).Draw(t, "left"),
			rapid.SampledFrom([]string{"=", "=", "=", "<", "<=", ">", ">="}).Draw(t, "op"), rapid.SampledFrom(columnNames).Draw(t, "right"))
	}
	on, kind := pair(), rapid.SampledFrom([]string{"JOIN", "LEFT JOIN", "CROSS JOIN"}).Draw(t, "kind")
	if rapid.Bool().Draw(t, "two") {
		on += rapid.SampledFrom([]string{" AND ", " OR "}).Draw(t, "word") + pair()
	}
	order := rapid.SampledFrom([]string{"a.id, b.id", "b.id, a.id", "a.weight, a.id, b.sent, b.id", "b.id DESC, a.id DESC"}).Draw(t, "order")
	text := fmt.Sprintf("SELECT hex(a.id), hex(b.id) FROM parcels a %s parcels b ON %s ORDER BY %s", kind, on, order)
	if got, want := ask(t, with, text), ask(t, without, text); !slices.Equal(got, want) {
		t.Fatalf("%s:\nwith keys and indexes %v\nwithout               %v", text, got, want)
	}
}

// ask is query within a rapid check.
func ask(t *rapid.T, db *sql.DB, text string, args ...any) []string {
	list, err := tryQuery(context.Background(), db, text, args...)
	if err != nil {
		t.Fatalf("%s %q: %v", text, args, err)
	}
	return list
}
