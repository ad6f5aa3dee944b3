package cqrs_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cqrs-server/cqrs"
)

// guests is a table whose definition changes between two Opens, with the runtime that has it.
type guests struct {
	table           *cqrs.Table[string, item]
	group, mail, hp *cqrs.Index[string, item]
}

func newGuests(indexes ...string) *guests {
	g := &guests{table: cqrs.NewTable("guests", item.name)}
	for _, name := range indexes {
		switch name {
		case "group":
			g.group = cqrs.NewIndex(g.table, name, item.group)
		case "tag":
			g.hp = cqrs.NewMultiIndex(g.table, name, item.tags)
		case "mail":
			g.mail = cqrs.NewUniqueIndex(g.table, name, item.mails)
		case "strict":
			g.mail = cqrs.NewUniqueIndex(g.table, name, func(i item) []string { return []string{i.Mail} })
		}
	}
	return g
}

func (g *guests) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	c, ok := e.(changed)
	for i := 0; ok && i < len(c.Ops); i++ {
		o := c.Ops[i]
		if o.Do == "delete" {
			_ = g.table.Delete(tx, o.Row.name())
		} else if err := g.table.Put(tx, o.Row); err != nil {
			return err
		}
	}
	return nil
}

func (g *guests) config() cqrs.Config {
	cfg := modelConfig()
	cfg.Aggregator, cfg.Tables = g, []cqrs.AnyTable{g.table}
	return cfg
}

// write puts rows, each by a command of its own.
func (g *guests) write(t *testing.T, rt *cqrs.Runtime, rows ...item) {
	t.Helper()
	for _, row := range rows {
		mustSubmit(t, rt, changeOf(puts("guests", row)))
	}
}

func submit(t *testing.T, rt *cqrs.Runtime, e cqrs.Envelope) (cqrs.Outcome, error) {
	t.Helper()
	receipts, err := rt.Submit(patience(t), e)
	if err != nil {
		t.Fatal(err)
	}
	return receipts[0].Wait(patience(t))
}

func mustSubmit(t *testing.T, rt *cqrs.Runtime, e cqrs.Envelope) cqrs.Outcome {
	t.Helper()
	out, err := submit(t, rt, e)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func named(name, group, mail string, tags ...string) item {
	return item{Name: []byte(name), Group: group, Mail: mail, Tags: tags}
}

// keysOf reads the names of rows, in order.
func keysOf(t *testing.T, span cqrs.Range[item], r cqrs.Reader) string {
	t.Helper()
	var out []string
	for row, err := range span.Rows(r) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, row.name())
	}
	return strings.Join(out, " ")
}

// grown is a folder with five commits, written without indexes.
func grown(t *testing.T, rows ...item) (dir string) {
	dir = t.TempDir()
	g := newGuests()
	rt, _, stop := start(t, dir, g.config())
	g.write(t, rt, rows...)
	stop()
	return dir
}

func TestIndexAddedOverRows(t *testing.T) {
	dir := grown(t, named("a", "x", "1", "p", "p"), named("b", "y", "2"), named("c", "x", "3", "q", "p"), named("b", "x", ""), named("c", "z", "4", "q"))
	g := newGuests("group", "tag", "mail")
	rt, _, stop := start(t, dir, g.config())
	check := func(rt *cqrs.Runtime, at uint64, want map[string]string) {
		t.Helper()
		v := rt.AsOf(at)
		got := map[string]string{
			"group": keysOf(t, g.group.Whole(), v), "x": keysOf(t, g.group.Equal("x"), v), "tag": keysOf(t, g.hp.Whole(), v),
			"p": keysOf(t, g.hp.Equal("p"), v), "mail": keysOf(t, g.mail.Whole(), v), "4": keysOf(t, g.mail.Equal("4"), v),
		}
		for name, keys := range want {
			if got[name] != keys {
				t.Errorf("as of %d: %s gives %q, wanted %q", at, name, got[name], keys)
			}
		}
	}
	at5 := map[string]string{"group": "a b c", "x": "a b", "tag": "a c", "p": "a", "mail": "a c", "4": "c"}
	check(rt, 5, at5)
	g.write(t, rt, named("a", "z", "5"), named("d", "x", "1", "p"))
	mustSubmit(t, rt, changeOf([]op{{Do: "delete", Row: named("c", "", "")}}))
	at8 := map[string]string{"group": "b d a", "x": "b d", "tag": "d", "p": "d", "mail": "d a", "4": ""}
	check(rt, 8, at8)
	check(rt, 5, at5)
	stop()
	rt, _, _ = start(t, dir, g.config())
	check(rt, 5, at5)
	check(rt, 8, at8)
}

func TestAddedIndexCannotBeReadEarlier(t *testing.T) {
	dir := grown(t, named("a", "x", "1"), named("b", "y", "2"))
	g := newGuests("group")
	rt, _, _ := start(t, dir, g.config())
	const want = "index guests/group was added at t 2, and can't be read as of t 1"
	_, first := g.group.Get(rt.AsOf(1), "x")
	_, count := g.group.Equal("x").Count(rt.AsOf(1))
	_, _, page := g.group.Whole().Page(rt.AsOf(1), 10, "")
	errs := []error{first, count, page}
	for _, err := range g.group.Find(rt.AsOf(1), "x") {
		errs = append(errs, err)
	}
	for i, err := range errs {
		if err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, cqrs.ErrNotFound) {
			t.Errorf("read %d: %v, wanted %q", i, err, want)
		}
	}
	if len(errs) != 4 || g.group.Has(rt.AsOf(1), "x") {
		t.Errorf("%d errors", len(errs))
	}
	if row, err := g.table.Get(rt.AsOf(1), "a"); err != nil || row.Group != "x" {
		t.Errorf("the table: %v %v", row, err)
	}
}

// Invariant 19, for what trying again can't heal: the command ends, and those behind it go on.
func TestDecisionThatCannotReadStopsNobody(t *testing.T) {
	dir := grown(t, named("a", "x", "1"), named("b", "y", "2"))
	g := newGuests("group")
	cfg := g.config()
	cfg.Consistency, cfg.Commands, cfg.Events = cqrs.AsOfBasis, append(cfg.Commands, add{}), append(cfg.Events, added{})
	rt, h, _ := start(t, dir, cfg)
	for _, c := range []struct {
		name  string
		read  func(*cqrs.Decision)
		level cqrs.Level
		tag   string
		want  string
	}{
		{"an index that was added after the basis", func(d *cqrs.Decision) { g.group.Has(d, "x") }, cqrs.User, "basis", "was added at t 2, and can't be read as of t 1"},
		{"a table that was forgotten", func(d *cqrs.Decision) { counters.Has(d, "x") }, cqrs.Dev, "process-command", "table counters is not named in Config.Tables"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h.read = c.read
			_, err := do(t, rt, add{Name: "a", Mode: "read"}, cqrs.WithBasis(1))
			if e := wantError(t, err, c.level, c.tag); !strings.Contains(e.Message, c.want) {
				t.Errorf("%v, wanted %q", e, c.want)
			}
			mustDo(t, rt, add{Name: "a"})
		})
	}
}

func TestUniqueIndexThatRowsBreakIsRefusedAtOpen(t *testing.T) {
	for _, c := range []struct {
		name, index, want string
		rows              []item
	}{
		{"neighbours", "mail", "another row has that value (value \"1\")", []item{named("a", "", "1"), named("b", "", "1")}},
		{"apart", "mail", "another row has that value (value \"1\")", []item{named("a", "", "1"), named("b", "", "2"), named("c", "", "1")}},
		{"empty value", "strict", "a key has 0 bytes", []item{named("a", "", "")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := grown(t, c.rows...)
			bad := newGuests("group", c.index)
			_, err := cqrs.Open(dir, bad.config())
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "index guests/"+c.index+" can't be added") {
				t.Fatalf("open: %v", err)
			}
			// Nothing stays of it: neither the index that passed nor the one that did not.
			g := newGuests()
			rt, _, stop := start(t, dir, g.config())
			if got := keysOf(t, g.table.Whole(), rt.View()); got != keyNames(c.rows) {
				t.Errorf("rows %q", got)
			}
			g.write(t, rt, named("z", "late", ""))
			stop()
			g = newGuests("group")
			rt, _, _ = start(t, dir, g.config())
			if got := keysOf(t, g.group.Equal("late"), rt.View()); got != "z" {
				t.Errorf("after all: %q", got)
			}
		})
	}
}

func keyNames(rows []item) string {
	var out []string
	for _, row := range rows {
		out = append(out, row.name())
	}
	return strings.Join(slices.Sorted(slices.Values(out)), " ")
}

func TestOtherKeyTypeIsRefusedAtOpen(t *testing.T) {
	dir := grown(t, named("a", "x", "1"))
	g := newGuests("group")
	_, _, stop := start(t, dir, g.config())
	stop()
	byGroup := func(x any) cqrs.AnyTable {
		table := cqrs.NewTable("guests", item.name)
		switch x := x.(type) {
		case func(item) int:
			cqrs.NewIndex(table, "group", x)
		case func(item) []string:
			cqrs.NewUniqueIndex(table, "group", x)
		}
		return table
	}
	for _, c := range []struct {
		name  string
		table cqrs.AnyTable
		want  string
	}{
		{"int", cqrs.NewTable("guests", item.num), "table guests was made with keys of type string, and now has keys of type int"},
		{"struct", cqrs.NewTable("guests", item.spot), "now has keys of type struct{string;int8;}"},
		{"index of another type", byGroup(item.num), "table guests/group was made with keys of type index{string;string;false}"},
		{"index that becomes unique", byGroup(item.mails), "now has keys of type index{string;string;true}"},
	} {
		cfg := g.config()
		cfg.Tables = []cqrs.AnyTable{c.table}
		if _, err := cqrs.Open(dir, cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, wanted %q", c.name, err, c.want)
		}
	}
	rt, _, _ := start(t, dir, g.config())
	if got := fmt.Sprintf("%s %d", keysOf(t, g.group.Equal("x"), rt.View()), rt.View().T()); got != "a 1" {
		t.Errorf("after the refusals: %s", got)
	}
}
