package sqlview

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/cqrstest"
	"github.com/google/uuid"
)

func TestFalseDeclarations(t *testing.T) {
	v := start(t).View()
	lower := cqrs.NewTable("lower", func(p parcel) string { return strings.ToLower(p.ID) })
	open := cqrs.NewMultiIndex(lower, "open", func(p parcel) []string {
		if p.Kind == 1 {
			return nil
		}
		return []string{p.ID}
	})
	odd := cqrs.NewTable("odd", func(p parcel) uuid.UUID { return uuid.UUID{} })
	for want, s := range map[string]*Source{
		`key(from_city) is declared, and in a row column from_city is`: Table("p", parcels, Key("from_city")),
		`key(weight) is declared, and in a row column weight is`:       Table("p", parcels, Key("weight")),
		`key(note) is declared`:                                                  Table("p", parcels, Key("note")),
		`key(id) is declared, and in a row column id is`:                         Table("p", lower, Key("id")),
		`index(weight) is declared`:                                              Table("p", parcels, Index(byDay, "weight")),
		`index(sent, from_city) is declared`:                                     Table("p", parcels, Index(byPlace, "sent", "from_city")),
		`index(tags) is declared, and a row stands under 2 values of it, not 1`:  Table("p", parcels, Index(byTag, "tags")),
		`index(id) is declared, and a row stands under 0 values of it, not 1`:    Table("p", lower, Index(open, "id")),
		`key names column "ID2", and there is none; there are id, owner, sent`:   Table("p", parcels, Key("ID2")),
		`key names 2 columns, and its values have 1 parts`:                       Table("p", parcels, Key("id", "owner")),
		`index names 0 columns`:                                                  Table("p", parcels, Index(byDay)),
		`an index of rows of type sqlview.owner does not belong to a table with`: Table("p", parcels, Index(byName, "id")),
		`column day is computed from a sqlview.parcel, and the rows are of type`: Table("p", owners, Column("day", sentDay)),
		`column f can't hold a func()`:                                           Table("p", owners, Column("f", func(owner) func() { return nil })),
		`it needs a name`:                                                        Table("", owners),
		`has no fields that are stored, and so no columns`:                       Table("p", cqrs.NewTable("n", func(struct{}) string { return "" })),
		`two columns are called A_B: give one of the fields a json tag`: Table("p", cqrs.NewTable("two", func(x struct {
			A  struct{ B int }
			AB int `json:"A_B"`
		}) int {
			return 1
		})),
		`key(owner) is declared`: Table("p", odd, Key("owner")),
	} {
		_, err := Open(v, s)
		if err == nil || !strings.HasPrefix(err.Error(), "sqlview: table "+s.name+": ") || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s\ngot  %v", want, err)
		}
	}
}

// A lie that made-up rows do not find is found by the first row for which it is one.
func TestARowAgainstItsDeclaration(t *testing.T) {
	rt := start(t)
	table := Table("parcels", parcels, Column("code", func(p parcel) string {
		if p.ID == "p00003" {
			return "other"
		}
		return p.ID
	}), Key("code"))
	send(t, rt, write{Parcels: many(5)})
	db, _ := mustOpen(t, rt.View(), table)
	want := `sqlview: table parcels: the declaration is not true: key(code) is declared, and in a row column code is "other" where the key has "p00003"`
	for _, text := range []string{"SELECT count(*) FROM parcels", "SELECT weight FROM parcels WHERE code = 'p00003'", "SELECT weight FROM parcels ORDER BY code"} {
		if _, err := tryQuery(t.Context(), db, text); !errors.Is(err, errDeclared) || err.Error() != want {
			t.Errorf("%s: %v", text, err)
		}
	}
	if got := query(t, db, "SELECT weight FROM parcels WHERE code = 'p00002'"); got[0] != "2" {
		t.Error(got)
	}
}

// A function of the program that panics makes a statement fail, and nothing else.
func TestPanics(t *testing.T) {
	rt := start(t)
	table := Table("parcels", parcels, Column("first", func(p parcel) string { return p.Tags[0] }), Key("id"))
	send(t, rt, write{Parcels: []parcel{{ID: "a", Tags: []string{"x"}}, {ID: "b"}}})
	db, _ := mustOpen(t, rt.View(), table)
	for range 3 {
		if _, err := tryQuery(t.Context(), db, "SELECT first FROM parcels"); err == nil || !strings.Contains(err.Error(), "table parcels: column first panics") {
			t.Error(err)
		}
		if got := query(t, db, "SELECT first FROM parcels WHERE id = 'a'"); got[0] != "x" {
			t.Error(got)
		}
	}
}

type huge struct {
	ID   uint64
	Self *huge
	embedded
}

type embedded struct{ Colour string }

var hugeTable = cqrs.NewTable("huge", func(h huge) uint64 { return h.ID })

type foldHuge struct{}

func (foldHuge) AggregateEvent(_ context.Context, tx *cqrs.Tx, _ cqrs.Event) error {
	return errors.Join(hugeTable.Put(tx, huge{1, &huge{ID: 7}, embedded{"red"}}), hugeTable.Put(tx, huge{math.MaxUint64, nil, embedded{}}))
}

// What SQL can't show fails where it is asked for, and is not shown as something else.
func TestValuesWithoutAPlace(t *testing.T) {
	rt := cqrstest.Runtime(t, cqrs.Config{
		Commands: []cqrs.Command{write{}}, Events: []cqrs.Event{written{}}, Tables: []cqrs.AnyTable{hugeTable}, Aggregator: foldHuge{},
	})
	send(t, rt, write{})
	plain, _ := mustOpen(t, rt.View(), Table("huge", hugeTable))
	keyed, _ := mustOpen(t, rt.View(), Table("huge", hugeTable, Key("id")))
	if got := query(t, plain, "SELECT colour, self FROM huge"); strings.Join(got, ";") != `red {"ID":7,"Self":null,"Colour":""}; <nil>` {
		t.Error(got)
	}
	if _, err := tryQuery(t.Context(), plain, "SELECT id FROM huge"); err == nil || !strings.HasSuffix(err.Error(), "column id: "+errUnsigned.Error()) {
		t.Error(err)
	}
	if got := query(t, keyed, "SELECT id, colour FROM huge WHERE id < 5"); len(got) != 1 || got[0] != "1 red" {
		t.Error(got)
	}
}
