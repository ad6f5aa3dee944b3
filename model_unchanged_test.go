package cqrs_test

import (
	"errors"
	"testing"

	"github.com/cqrs-server/cqrs"
)

// The rows that are there when an Unchanged decision is rooted; the change then comes in between.
var before = []item{
	{Name: []byte("b"), Group: "x", Tags: []string{"p"}, Mail: "1"},
	{Name: []byte("d"), Group: "x", Tags: []string{"p", "q"}, Mail: "2"},
	{Name: []byte("f"), Group: "y", Tags: []string{"q"}},
}

func at(name string) item { return item{Name: []byte(name)} }

func put(name, group, mail string, tags ...string) op {
	return op{Do: "put", Table: "names", Row: named(name, group, mail, tags...)}
}

func gone(name string) op { return op{Do: "delete", Table: "names", Row: at(name)} }

func TestUnchanged(t *testing.T) {
	row := func(kind, name string) query { return query{Source: "names", Op: kind, A: at(name)} }
	rows := func(kind, span, from, to string, n int) query {
		return query{Source: "names", Op: kind, Span: span, A: at(from), B: at(to), N: n}
	}
	by := func(index, kind, span string, a, b item, n int) query {
		return query{Source: "names/" + index, Op: kind, Span: span, A: a, B: b, N: n}
	}
	x, y, none := named("", "x", "1", "p"), named("", "y", "2", "q"), named("", "none", "none", "none")
	for _, c := range []struct {
		name     string
		read     query
		change   op
		conflict bool
	}{
		{"a row that was written", row("get", "b"), put("b", "x", "1", "p"), true},
		{"a row that was deleted", row("get", "b"), gone("b"), true},
		{"another row", row("get", "b"), put("d", "x", "2"), false},
		{"a row that is a prefix", row("get", "b"), put("b\x00", "", ""), false},
		{"no row, and one came", row("has", "c"), put("c", "", ""), true},
		{"no row, got, and one came", row("get", "c"), put("c", "", ""), true},
		{"no row, and another came", row("has", "c"), put("cc", "", ""), false},
		{"no row, and none was deleted", row("has", "c"), gone("c"), false},

		{"all, and a row came first", rows("rows", "whole", "", "", 0), put("a", "", ""), true},
		{"all, and a row came last", rows("rows", "whole", "", "", 0), put("z", "", ""), true},
		{"all, and a row went", rows("all", "", "", "", 0), gone("f"), true},
		{"all, backward, and a row came", rows("backward", "whole", "", "", 99), put("a", "", ""), true},
		{"count, and a row came", rows("count", "whole", "", "", 0), put("z", "", ""), true},
		{"an empty range, and a row came", rows("rows", "between", "bb", "cc", 0), put("c", "", ""), true},
		{"an empty range, counted, and a row came", rows("count", "between", "bb", "cc", 0), put("c", "", ""), true},
		{"an empty range, first, and a row came", rows("first", "between", "bb", "cc", 0), put("c", "", ""), true},
		{"an empty range, and a row came below", rows("rows", "between", "bb", "cc", 0), put("ba", "", ""), false},
		{"an empty range, and a row came at its end", rows("rows", "between", "bb", "cc", 0), put("cc", "", ""), false},
		{"a range, and a row before it", rows("rows", "from", "c", "", 0), put("b", "", ""), false},
		{"a prefix, and a row with it", rows("rows", "prefix", "d", "", 0), put("dz", "", ""), true},
		{"a prefix, and a row without it", rows("rows", "prefix", "d", "", 0), put("e", "", ""), false},

		{"first, and a row behind", rows("first", "whole", "", "", 0), put("d", "x", "2"), false},
		{"first, and a row right behind", rows("first", "whole", "", "", 0), put("b\x00", "", ""), false},
		{"first, and a row before", rows("first", "whole", "", "", 0), put("a", "", ""), true},
		{"first, and it", rows("first", "whole", "", "", 0), put("b", "x", "1"), true},
		{"first and only, and a row behind", rows("first", "from", "e", "", 0), put("g", "", ""), false},
		{"broken off, and a row behind", rows("some", "whole", "", "", 2), put("f", "y", ""), false},
		{"broken off, and the row right behind", rows("some", "whole", "", "", 2), put("d\x00", "", ""), false},
		{"broken off, and a row between", rows("some", "whole", "", "", 2), put("c", "", ""), true},
		{"broken off, and the last row read", rows("some", "whole", "", "", 2), put("d", "x", "2"), true},
		{"broken off at the last, and a row behind", rows("some", "whole", "", "", 3), put("g", "", ""), false},
		{"backward broken off, and a row before", rows("backward", "whole", "", "", 2), put("b", "x", "1"), false},
		{"backward broken off, and a row right before", rows("backward", "whole", "", "", 2), put("cz", "", ""), false},
		{"backward broken off, and a row between", rows("backward", "whole", "", "", 2), put("e", "", ""), true},
		{"backward broken off, and a row behind all", rows("backward", "whole", "", "", 1), put("g", "", ""), true},
		{"a page, and the last row behind it went", rows("page", "whole", "", "", 2), gone("f"), true},
		{"a page, and a row came right behind it", rows("page", "whole", "", "", 2), put("e", "", ""), false},
		{"a page, and a row behind the next went", rows("page", "whole", "", "", 1), gone("f"), false},
		{"the last page, and a row came behind it", rows("page", "whole", "", "", 3), put("g", "", ""), true},
		{"pages, and a row came last", rows("pages", "whole", "", "", 3), put("z", "", ""), true},

		{"a value, and a row got it", by("group", "find", "", x, none, 0), put("f", "x", ""), true},
		{"a value, and a row lost it", by("group", "find", "", x, none, 0), put("d", "y", "2"), true},
		{"a value, and its row changed elsewhere", by("group", "find", "", x, none, 0), put("d", "x", "22", "p", "q"), true},
		{"a value, counted, and its row changed elsewhere", by("group", "count", "equal", x, none, 0), put("d", "x", "22", "p", "q"), false},
		{"a value, and another value's row changed", by("group", "find", "", x, none, 0), put("f", "z", ""), false},
		{"a value without rows, and a row got it", by("group", "find", "", none, none, 0), put("f", "none", ""), true},
		{"a value without rows, and a row came with it", by("group", "has", "", none, none, 0), put("z", "none", ""), true},
		{"a value without rows, and a row came", by("group", "has", "", none, none, 0), put("z", "z", ""), false},
		{"a value's first row, and a row behind", by("group", "get", "", x, none, 0), put("d", "z", "2"), false},
		{"a value's first row, and a row before", by("group", "get", "", x, none, 0), put("a", "x", ""), true},
		{"a value's only row, and one behind", by("group", "get", "", y, none, 0), put("g", "y", ""), false},
		{"one value of several, and a row got it", by("tag", "find", "", y, none, 0), put("b", "x", "1", "p", "q"), true},
		{"one value of several, and a row lost it", by("tag", "find", "", x, none, 0), put("d", "x", "2", "q"), true},
		{"one value of several, and a row got another", by("tag", "find", "", x, none, 0), put("f", "y", "", "r"), false},
		{"a unique value, and another row took it", by("mail", "get", "", none, none, 0), put("z", "", "none"), true},
		{"a unique value, and another row came", by("mail", "get", "", none, none, 0), put("z", "", "nonf"), false},
		{"a range of values, and a row came into it", by("rank", "count", "between", x, y, 0), put("z", "xx", ""), true},
		{"a range of values, and a row came beyond", by("rank", "count", "between", x, y, 0), put("z", "y", ""), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			checkUnchanged(t, c.read, c.change, c.conflict)
		})
	}
}

// checkUnchanged sends the change and a decision rooted before it, and looks whether the decision passes.
func checkUnchanged(t *testing.T, read query, change op, conflict bool) {
	t.Helper()
	rt, _, _ := start(t, t.TempDir(), modelConfig())
	basis := mustSubmit(t, rt, changeOf(puts("names", before...))).T
	if out := mustSubmit(t, rt, changeOf([]op{change})); len(out.Remarks) > 0 {
		t.Fatal(out.Remarks)
	}
	out, err := submit(t, rt, probeFor(cqrs.Unchanged, basis, false, read))
	if conflict {
		e := wantError(t, err, cqrs.User, "conflict")
		if e.Data["changes"] == nil {
			t.Errorf("the error does not say what changed: %v", e.Data)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if got, want := out.Events[0].Value.(answered).Answers[0], read.ask(rt.AsOf(basis)); got != want {
		t.Errorf("answered %s, wanted %s", got, want)
	}
}

// A change within the same batch counts too, and one that was folded in vain does not.
func TestUnchangedWithinABatch(t *testing.T) {
	read := query{Source: "names", Op: "all"}
	for _, c := range []struct {
		name     string
		ops      []op
		conflict bool
	}{
		{"change", []op{put("a", "", "")}, true},
		{"failed fold", []op{put("a", "", ""), {Do: "fail"}}, false},
		{"unique violation", []op{put("a", "", ""), put("c", "", "1")}, false},
		{"another table", []op{{Do: "put", Table: "numbers"}}, false},
		{"nothing", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			rt, _, _ := start(t, t.TempDir(), modelConfig())
			basis := mustSubmit(t, rt, changeOf(puts("names", before...))).T
			receipts, err := rt.Submit(patience(t), changeOf(c.ops), probeFor(cqrs.Unchanged, basis, false, read))
			if err != nil {
				t.Fatal(err)
			}
			_, err = receipts[1].Wait(patience(t))
			if e, ok := errors.AsType[*cqrs.Error](err); c.conflict != (ok && e.Tag == "conflict") || !c.conflict && err != nil {
				t.Errorf("got %v", err)
			}
		})
	}
}
