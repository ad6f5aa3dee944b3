package cqrs_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	mathbig "math/big"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/google/uuid"
)

// oddity is a row that its fold makes odd.
type oddity struct {
	How   string
	Text  string
	List  []int
	Map   map[string]int
	Inner *oddity
	Any   any
}

// oddRows are rows that can be written.
var oddRows = map[string]func(*oddity){
	"plain":      func(*oddity) {},
	"cut text":   func(o *oddity) { o.Text = "Zürich"[:2] },
	"cut key":    func(o *oddity) { o.Map = map[string]int{"Zürich"[:2]: 1} },
	"long list":  func(o *oddity) { o.List = make([]int, 200_000) },
	"large map":  func(o *oddity) { o.Map = manyKeys(200_000) },
	"deep":       func(o *oddity) { o.Inner = nested(5000) },
	"any":        func(o *oddity) { o.Any = map[string]any{"a": []any{"b", true}} },
	"other keys": func(o *oddity) { o.Any = map[int]string{1: "a"} },
}

func manyKeys(n int) map[string]int {
	m := map[string]int{}
	for i := range n {
		m[fmt.Sprint(i)] = i
	}
	return m
}

func nested(n int) (o *oddity) {
	for range n {
		o = &oddity{Inner: o}
	}
	return o
}

var oddities = cqrs.NewTable("oddities", func(o oddity) string { return o.How })

type makeOdd struct{ How string }

func (makeOdd) CommandType() string { return "odd/make" }

type madeOdd struct{ How string }

func (madeOdd) EventType() string { return "odd/made" }

// ProcessCommand reads the row: one that can't be read would hold up the shard.
func (c makeOdd) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	if _, err := oddities.Get(d, c.How); err != nil && !errors.Is(err, cqrs.ErrNotFound) {
		return nil, err
	}
	return []cqrs.Event{madeOdd(c)}, nil
}

type oddFolds struct{}

func (oddFolds) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	o := oddity{How: e.(madeOdd).How}
	oddRows[o.How](&o)
	return oddities.Put(tx, o)
}

// Whatever a fold was let write can be read again, by views and by the next decision. What could not be, fails the fold.
func TestRowsAreReadAsTheyWereWritten(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), cqrs.Config{
		Commands: []cqrs.Command{makeOdd{}}, Events: []cqrs.Event{madeOdd{}}, Aggregator: oddFolds{},
		Tables: []cqrs.AnyTable{oddities}, NoSync: true,
	})
	for how, makeIt := range oddRows {
		mustDo(t, rt, makeOdd{how})
		out := mustDo(t, rt, makeOdd{how})
		want := oddity{How: how}
		makeIt(&want)
		got, err := oddities.Get(rt.View(), how)
		switch failed := len(out.Remarks) > 0; {
		case failed != (how == "other keys"):
			t.Errorf("%s: the fold failed: %v", how, failed)
		case failed && errors.Is(err, cqrs.ErrNotFound):
		case err != nil || !reflect.DeepEqual(got, want):
			t.Errorf("%s: it was read as %.200v, %v", how, got, err)
		}
	}
}

// priced is a type that hides its fields.
type priced struct{ cents int }

func (p priced) MarshalText() ([]byte, error) { return fmt.Append(nil, p.cents), nil }

type (
	stamped   time.Time
	withPrice struct{ Prices map[string]*priced }
	withStamp struct{ At stamped }
	withRat   struct{ Rate *mathbig.Rat }
	withKept  struct {
		At    time.Time
		From  netip.Addr
		Sum   *mathbig.Int
		Page  url.URL
		ID    uuid.UUID
		Rate  *mathbig.Rat `json:"-"`
		Level slog.Level
		Next  *withKept
	}
)

// Of a type that hides its fields a row would keep nothing, and nobody would be told.
func TestOpenRefusesRowsThatCantBeKept(t *testing.T) {
	open := func(table cqrs.AnyTable) string {
		rt, err := cqrs.Open(t.TempDir(), cqrs.Config{Tables: []cqrs.AnyTable{table}, NoSync: true})
		if err == nil {
			return fmt.Sprint(rt.Close())
		}
		return err.Error()
	}
	for want, table := range map[string]cqrs.AnyTable{
		"a cqrs_test.priced,":  cqrs.NewTable("a", func(withPrice) int { return 0 }),
		"a cqrs_test.stamped,": cqrs.NewTable("b", func(withStamp) int { return 0 }),
		"a big.Rat,":           cqrs.NewTable("c", func(withRat) int { return 0 }),
		"<nil>":                cqrs.NewTable("d", func(withKept) int { return 0 }),
	} {
		if got := open(table); !strings.Contains(got, want) {
			t.Errorf("got %s, wanted %s", got, want)
		}
	}
}
