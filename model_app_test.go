package cqrs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"

	"github.com/cqrs-server/cqrs"
	"github.com/google/uuid"
)

// The program that the model tests run: tables with all kinds of keys and indexes, commands that carry what their folds do, and commands that
// answer with what they read.

// item is the row of all tables: each takes its key from another field.
type item struct {
	Name  []byte // any bytes
	Num   int
	ID    uuid.UUID
	Spot  spot
	Group string
	Tags  []string
	Mail  string // no two rows of names have the same, but for ""
	Score int16
	Rev   int // tells one version of a row from another
}

type spot struct {
	Town  string
	House int8
}

type rank struct {
	Group string
	Score int16
}

func (i item) String() string {
	return fmt.Sprintf("{%q %d %x %v %q %q %q %d r%d}", i.Name, i.Num, i.ID[:2], i.Spot, i.Group, i.Tags, i.Mail, i.Score, i.Rev)
}

func (i item) name() string   { return string(i.Name) }
func (i item) num() int       { return i.Num }
func (i item) id() uuid.UUID  { return i.ID }
func (i item) spot() spot     { return i.Spot }
func (i item) group() string  { return i.Group }
func (i item) tags() []string { return i.Tags }
func (i item) rank() rank     { return rank{i.Group, i.Score} }

func (i item) mails() []string {
	if i.Mail == "" {
		return nil
	}
	return []string{i.Mail}
}

// heats has several values, some of them twice and some below 0.
func (i item) heats() []float64 {
	s := float64(i.Score)
	return []float64{s / 2, -s, -s}
}

// badges gives each row two unique values, which others may want.
func (i item) badges() []int { return []int{i.Num, i.Num + int(i.Score)} }

var (
	names   = cqrs.NewTable("names", item.name)
	numbers = cqrs.NewTable("numbers", item.num)
	ids     = cqrs.NewTable("ids", item.id)
	spots   = cqrs.NewTable("spots", item.spot)

	namesByGroup = cqrs.NewIndex(names, "group", item.group)
	namesByTag   = cqrs.NewMultiIndex(names, "tag", item.tags)
	namesByMail  = cqrs.NewUniqueIndex(names, "mail", item.mails)
	namesByRank  = cqrs.NewIndex(names, "rank", item.rank)
	spotsByHeat  = cqrs.NewMultiIndex(spots, "heat", item.heats)
	idsByBadge   = cqrs.NewUniqueIndex(ids, "badge", item.badges)
)

// op is a step of a fold.
type op struct {
	Do    string // put, delete, check (that a query has the answer Want), fail, panic
	Table string `json:",omitempty"`
	Row   item
	Quiet bool   `json:",omitempty"` // the program ignores an error of the table
	Query query  `json:",omitzero"`
	Want  string `json:",omitempty"`
}

var errAsked = errors.New("the fold was asked to fail")

func (o op) fold(tx *cqrs.Tx) (err error) {
	switch o.Do {
	case "put":
		err = modelTables[o.Table].put(tx, o.Row)
	case "delete":
		err = modelTables[o.Table].delete(tx, o.Row)
	case "check":
		if got := o.Query.ask(tx); got != o.Want {
			panic(fmt.Sprintf("in a fold: %+v gave %s, wanted %s", o.Query, got, o.Want))
		}
	case "fail":
		err = errAsked
	case "panic":
		panic("the fold was asked to panic")
	}
	if o.Quiet && !errors.Is(err, errAsked) {
		return nil
	}
	return err
}

// change has one event for each list of ops. The script is JSON in a text, so that nothing is coerced on the way.
type change struct{ Script string }

func (change) CommandType() string { return "model/change" }

func (c change) ProcessCommand(context.Context, *cqrs.Decision) ([]cqrs.Event, error) {
	var folds [][]op
	if err := json.Unmarshal([]byte(c.Script), &folds); err != nil {
		return nil, err
	}
	var events []cqrs.Event
	for _, ops := range folds {
		events = append(events, changed{ops})
	}
	return events, nil
}

type changed struct{ Ops []op }

func (changed) EventType() string { return "model/changed" }

// probe answers the queries of its script, and after that may refuse itself. There is one type for each consistency.
type probe struct {
	Script string
	Refuse bool
}

type (
	probeSerializable struct{ probe }
	probeAsOfBasis    struct{ probe }
	probeUnchanged    struct{ probe }
)

func (probeSerializable) CommandType() string { return "model/probe-serializable" }
func (probeAsOfBasis) CommandType() string    { return "model/probe-as-of-basis" }
func (probeUnchanged) CommandType() string    { return "model/probe-unchanged" }

func (probeSerializable) Consistency() cqrs.Consistency { return cqrs.Serializable }
func (probeAsOfBasis) Consistency() cqrs.Consistency    { return cqrs.AsOfBasis }
func (probeUnchanged) Consistency() cqrs.Consistency    { return cqrs.Unchanged }

func (p probe) ProcessCommand(_ context.Context, d *cqrs.Decision) ([]cqrs.Event, error) {
	var queries []query
	if err := json.Unmarshal([]byte(p.Script), &queries); err != nil {
		return nil, err
	}
	var answers []string
	for _, q := range queries {
		answers = append(answers, q.ask(d))
	}
	if p.Refuse {
		return nil, cqrs.Reject("as asked")
	}
	return []cqrs.Event{answered{d.T(), answers}}, nil
}

type answered struct {
	T       uint64
	Answers []string
}

func (answered) EventType() string { return "model/answered" }

type modelFold struct{}

func (modelFold) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	if e, ok := e.(changed); ok {
		for _, o := range e.Ops {
			if err := o.fold(tx); err != nil {
				return err
			}
		}
	}
	return nil
}

func modelConfig() cqrs.Config {
	return cqrs.Config{
		Commands:   []cqrs.Command{change{}, probeSerializable{}, probeAsOfBasis{}, probeUnchanged{}},
		Events:     []cqrs.Event{changed{}, answered{}},
		Aggregator: modelFold{}, Tables: []cqrs.AnyTable{names, numbers, ids, spots}, NoSync: true,
	}
}

// retries counts what the runtime tries again. A read that fails and passes when its batch is over would not be seen otherwise.
type retries struct{ atomic.Int64 }

func (r *retries) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("trying again")) {
		r.Add(1)
	}
	return len(line), nil
}

func (r *retries) log() *slog.Logger { return slog.New(slog.NewTextHandler(r, nil)) }

// probeFor makes the envelope of a probe.
func probeFor(c cqrs.Consistency, basis uint64, refuse bool, queries ...query) cqrs.Envelope {
	types := []cqrs.Command{probeSerializable{}, probeAsOfBasis{}, probeUnchanged{}}
	return envelopeOf(types[c].CommandType(), &basis, probe{script(queries), refuse})
}

func changeOf(folds ...[]op) cqrs.Envelope {
	return envelopeOf(change{}.CommandType(), nil, change{script(folds)})
}

func envelopeOf(name string, basis *uint64, payload any) cqrs.Envelope {
	return cqrs.Envelope{Type: name, Basis: basis, Data: []byte(script(payload))}
}

func script(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // the types above can be encoded
	}
	return string(b)
}

func puts(table string, rows ...item) (ops []op) {
	for _, row := range rows {
		ops = append(ops, op{Do: "put", Table: table, Row: row})
	}
	return slices.Clip(ops)
}
