package cqrs_test

import (
	"math"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// What the model test draws from: few values, so that they meet, and those at which an order may go wrong.
var (
	someNames  = []string{"", "\x00", "a", "a\x00", "a\x00\x01", "a\x00\xff", "aa", "ab", "b", "\xfe", "\xff", "\xff\xff", "\xff\xffa"}
	someNums   = []int{math.MinInt, -256, -1, 0, 1, 2, 255, 256, math.MaxInt}
	someIDs    = []uuid.UUID{{}, {1}, {1, 15: 1}, {0xff}, uuid.Max}
	someSpots  = []spot{{}, {"", -1}, {"a", 0}, {"a", -128}, {"a", 127}, {"a\x00", 1}, {"a\x00b", 1}, {"é", 2}, {"b", 0}}
	someGroups = []string{"", "a", "a\x00", "a\x00\x01", "aa", "b"}
	someMails  = []string{"", "", "m", "m\x00", "n", "o"}
)

func (m *modelRun) drawItem(t *rapid.T) item {
	m.rev++
	return item{
		Name:  []byte(rapid.SampledFrom(someNames).Draw(t, "name")),
		Num:   rapid.SampledFrom(someNums).Draw(t, "num"),
		ID:    rapid.SampledFrom(someIDs).Draw(t, "id"),
		Spot:  rapid.SampledFrom(someSpots).Draw(t, "spot"),
		Group: rapid.SampledFrom(someGroups).Draw(t, "group"),
		Tags:  rapid.SliceOfN(rapid.SampledFrom(someGroups), 0, 3).Draw(t, "tags"),
		Mail:  rapid.SampledFrom(someMails).Draw(t, "mail"),
		Score: rapid.Int16Range(-3, 3).Draw(t, "score"),
		Rev:   m.rev,
	}
}

// drawBasis draws a t whose history is kept.
func (m *modelRun) drawBasis(t *rapid.T) uint64 {
	oldest := uint64(0)
	if m.keep > 0 && m.t() > m.keep {
		oldest = m.t() - m.keep
	}
	return rapid.Uint64Range(oldest, m.t()).Draw(t, "basis")
}

func drawTable(t *rapid.T) string {
	return rapid.SampledFrom([]string{"names", "names", "numbers", "ids", "spots"}).Draw(t, "table")
}

func (m *modelRun) drawQuery(t *rapid.T) query {
	return query{
		Source: rapid.SampledFrom([]string{
			"names", "numbers", "ids", "spots", "names/group", "names/tag", "names/mail", "names/rank", "spots/heat", "ids/badge",
		}).Draw(t, "source"),
		Op:   rapid.SampledFrom(queryOps).Draw(t, "op"),
		Span: rapid.SampledFrom(spanOps).Draw(t, "span"),
		A:    m.drawItem(t), B: m.drawItem(t),
		Fields: rapid.IntRange(0, 2).Draw(t, "fields"),
		N:      rapid.IntRange(1, 6).Draw(t, "n"),
	}
}

func (m *modelRun) drawQueries(t *rapid.T) (queries []query) {
	for range rapid.IntRange(1, 5).Draw(t, "queries") {
		queries = append(queries, m.drawQuery(t))
	}
	return queries
}

func (m *modelRun) drawOp(t *rapid.T) op {
	o := op{Table: drawTable(t), Row: m.drawItem(t)}
	o.Do = rapid.SampledFrom([]string{"put", "put", "put", "put", "put", "put", "delete", "delete", "check", "check", "fail", "panic"}).Draw(t, "do")
	o.Quiet = rapid.Bool().Draw(t, "quiet")
	if o.Do == "check" {
		o.Query = m.drawQuery(t)
	}
	return o
}

func (m *modelRun) drawFolds(t *rapid.T) (folds [][]op) {
	for range rapid.IntRange(0, 3).Draw(t, "folds") {
		var ops []op
		for range rapid.IntRange(1, 6).Draw(t, "ops") {
			ops = append(ops, m.drawOp(t))
		}
		folds = append(folds, ops)
	}
	return folds
}
