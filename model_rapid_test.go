package cqrs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"pgregory.net/rapid"
)

// TestModel runs random commands against a runtime and against plain maps, one for each t, and compares what both answer.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModelRun(t)
		for range rapid.IntRange(1, 12).Draw(t, "actions") {
			m.action(t)
			m.compare(t)
		}
	})
}

func (m *modelRun) action(t *rapid.T) {
	switch rapid.SampledFrom([]string{"submit", "submit", "submit", "hammer", "restart"}).Draw(t, "action") {
	case "submit":
		m.submit(t)
	case "hammer":
		m.hammer(t)
	case "restart":
		m.restart(t)
	}
}

// modelRun is a runtime and its model.
type modelRun struct {
	dir    string
	rt     *cqrs.Runtime
	ended  chan error
	again  retries
	worlds []*world // by t
	keep   uint64   // Config.KeepHistory: older t are not read
	failed uint64   // folds
	rev    int
}

func newModelRun(t *rapid.T) *modelRun {
	dir, err := os.MkdirTemp("", "model")
	if err != nil {
		t.Fatal(err)
	}
	m := &modelRun{dir: dir, worlds: []*world{newWorld()}, keep: rapid.SampledFrom([]uint64{0, 0, 3, 50}).Draw(t, "keep")}
	m.open(t)
	t.Cleanup(func() { _ = errors.Join(m.close(), os.RemoveAll(dir)) })
	return m
}

func (m *modelRun) open(t rapid.TB) {
	cfg := modelConfig()
	cfg.KeepHistory, cfg.Log = m.keep, m.again.log()
	m.openWith(t, cfg)
}

func (m *modelRun) openWith(t rapid.TB, cfg cqrs.Config) {
	rt, err := cqrs.Open(m.dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.rt, m.ended = rt, make(chan error, 1)
	go func() { m.ended <- rt.Run(context.Background()) }()
}

func (m *modelRun) close() error { return errors.Join(m.rt.Close(), <-m.ended) }

func (m *modelRun) restart(t *rapid.T) {
	if err := m.close(); err != nil {
		t.Fatal(err)
	}
	m.open(t)
}

func (m *modelRun) t() uint64      { return uint64(len(m.worlds) - 1) }
func (m *modelRun) newest() *world { return m.worlds[m.t()] }

// sent is a command on its way, and what must become of it.
type sent struct {
	envelope cqrs.Envelope
	check    func(cqrs.Outcome, error) error
}

// send submits all at once, so that most of them are decided in one batch.
func (m *modelRun) send(t *rapid.T, commands []sent) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var envelopes []cqrs.Envelope
	for _, c := range commands {
		envelopes = append(envelopes, c.envelope)
	}
	receipts, err := m.rt.Submit(ctx, envelopes...)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range receipts {
		out, err := r.Wait(ctx)
		if err := commands[i].check(out, err); err != nil {
			t.Fatalf("command %d of %d, %s: %v", i, len(receipts), envelopes[i].Type, err)
		}
	}
}

// submit sends some commands of all kinds.
func (m *modelRun) submit(t *rapid.T) {
	var commands []sent
	for range rapid.IntRange(1, 8).Draw(t, "commands") {
		switch rapid.SampledFrom([]string{"change", "change", "refused", "serializable", "as of basis"}).Draw(t, "command") {
		case "change":
			commands = append(commands, m.change(m.drawFolds(t)))
		case "refused":
			commands = append(commands, sent{probeFor(cqrs.Serializable, 0, true, m.drawQueries(t)...), wantRefused})
		case "serializable":
			commands = append(commands, m.probe(cqrs.Serializable, m.drawBasis(t), m.t(), m.drawQueries(t)))
		case "as of basis":
			basis := m.drawBasis(t)
			commands = append(commands, m.probe(cqrs.AsOfBasis, basis, basis, m.drawQueries(t)))
		}
	}
	if rapid.Bool().Draw(t, "unchanged") {
		commands = append(commands, m.probeUnchanged(m.drawBasis(t), m.drawQueries(t)))
	}
	m.send(t, commands)
	m.follow(commands)
}

// change folds in the model.
func (m *modelRun) change(folds [][]op) sent {
	next, at, failed := m.newest().clone(), m.t()+1, 0
	for _, ops := range folds {
		ops = m.expect(next, at, ops)
		if !next.fold(ops, at) {
			failed++
		}
	}
	m.failed += uint64(failed)
	m.worlds = append(m.worlds, next)
	return sent{changeOf(folds...), func(out cqrs.Outcome, err error) error {
		if err != nil || out.T != at || len(out.Remarks) != failed {
			return fmt.Errorf("t %d, remarks %v, error %w; wanted t %d and %d remarks", out.T, out.Remarks, err, at, failed)
		}
		return nil
	}}
}

// expect fills in what queries within the fold must find.
func (m *modelRun) expect(before *world, at uint64, ops []op) []op {
	w := before.clone()
	for i := range ops {
		if ops[i].Do == "check" {
			ops[i].Want = ops[i].Query.answer(w)
		}
		if !ops[i].apply(w, at) {
			break
		}
	}
	return ops
}

// probe must answer as of seen.
func (m *modelRun) probe(c cqrs.Consistency, basis, seen uint64, queries []query) sent {
	world, at := m.worlds[seen], m.t()+1
	m.worlds = append(m.worlds, m.newest())
	return sent{probeFor(c, basis, false, queries...), func(out cqrs.Outcome, err error) error {
		if err != nil || out.T != at {
			return fmt.Errorf("t %d, error %w; wanted t %d", out.T, err, at)
		}
		return compareAnswers(queries, world, seen, out)
	}}
}

// probeUnchanged comes last, because only the runtime knows all that it reads. It must pass when nothing was written to the tables since its
// basis, and when it passes its answers must be the same at its basis and now.
func (m *modelRun) probeUnchanged(basis uint64, queries []query) sent {
	then, now, at := m.worlds[basis], m.newest(), m.t()+1
	return sent{probeFor(cqrs.Unchanged, basis, false, queries...), func(out cqrs.Outcome, err error) error {
		if e, ok := errors.AsType[*cqrs.Error](err); ok && e.Tag == "conflict" {
			return now.writtenSince(basis, queries)
		}
		if err != nil || out.T != at {
			return fmt.Errorf("t %d, error %w; wanted t %d", out.T, err, at)
		}
		return errors.Join(compareAnswers(queries, then, basis, out), compareAnswers(queries, now, basis, out))
	}}
}

// follow takes over the t of a last command whose end was not foreseen.
func (m *modelRun) follow(commands []sent) {
	if last := commands[len(commands)-1]; last.envelope.Type == (probeUnchanged{}).CommandType() && m.rt.View().T() > m.t() {
		m.worlds = append(m.worlds, m.newest())
	}
}

func (w *world) writtenSince(basis uint64, queries []query) error {
	for _, q := range queries {
		table, _, _ := strings.Cut(q.Source, "/")
		for key, t := range w.written {
			if strings.HasPrefix(key, table+" ") && t > basis {
				return nil
			}
		}
	}
	return fmt.Errorf("a conflict, and nothing was written since t %d to the tables of %+v", basis, queries)
}

func compareAnswers(queries []query, w *world, basis uint64, out cqrs.Outcome) error {
	a := out.Events[0].Value.(answered)
	if a.T != basis {
		return fmt.Errorf("decided as of t %d, wanted %d", a.T, basis)
	}
	for i, q := range queries {
		if want := q.answer(w); a.Answers[i] != want {
			return fmt.Errorf("as of t %d: %+v gave\n%s, wanted\n%s", basis, q, a.Answers[i], want)
		}
	}
	return nil
}

func wantRefused(_ cqrs.Outcome, err error) error {
	if e, ok := errors.AsType[*cqrs.Error](err); ok && e.Tag == "rejected" {
		return nil
	}
	return fmt.Errorf("got %w, wanted a refusal", err)
}

// hammer writes one row many times, and some of the times takes it away, most of them in one batch.
func (m *modelRun) hammer(t *rapid.T) {
	row, table := m.drawItem(t), drawTable(t)
	row.Name = append(row.Name, 'x') // not the empty key
	var commands []sent
	for range rapid.SampledFrom([]int{2, 7, 8, 9, 17, 65, 210}).Draw(t, "times") {
		o := op{Do: "put", Table: table, Row: row}
		if m.rev++; m.rev%5 == 0 {
			o.Do = "delete"
		}
		o.Row.Rev, o.Row.Score = m.rev, int16(m.rev%3)
		commands = append(commands, m.change([][]op{{o}}))
	}
	m.send(t, commands)
}

// compare looks at the newest value and at others.
func (m *modelRun) compare(t *rapid.T) {
	if got := m.rt.View().T(); got != m.t() {
		t.Fatalf("t is %d, wanted %d", got, m.t())
	}
	if got := m.rt.Health()[0].Failed; got != m.failed {
		t.Fatalf("%d folds failed, wanted %d", got, m.failed)
	}
	if n := m.again.Load(); n > 0 {
		t.Fatalf("%d batches were tried again", n)
	}
	for _, at := range []uint64{m.t(), m.drawBasis(t), m.drawBasis(t)} {
		for _, q := range append(m.drawQueries(t), wholeQueries()...) {
			if got, want := q.ask(m.rt.AsOf(at)), q.answer(m.worlds[at]); got != want {
				t.Fatalf("as of t %d of %d: %+v gave\n%s, wanted\n%s", at, m.t(), q, got, want)
			}
		}
	}
	m.comparePast(t)
}

// wholeQueries read all of everything.
func wholeQueries() (queries []query) {
	for name := range sources {
		queries = append(queries, query{Source: name, Op: "all"})
	}
	return queries
}

// comparePast looks at the history of a row, and at the difference of two t.
func (m *modelRun) comparePast(t *rapid.T) {
	table, row := modelTables[drawTable(t)], m.drawItem(t)
	a, b := m.drawBasis(t), m.drawBasis(t)
	a, b = min(a, b), max(a, b)
	if got, want := table.history(m.rt.AsOf(b), row), m.history(table, row, b); m.keep == 0 && got != want {
		t.Fatalf("history of %s as of t %d:\n%s, wanted\n%s", table.keyText(row), b, got, want)
	}
	if got, want := table.diff(m.rt.AsOf(a), m.rt.AsOf(b)), m.diff(table, a, b); got != want {
		t.Fatalf("diff from t %d to %d:\n%s, wanted\n%s", a, b, got, want)
	}
}

func (m *modelRun) history(table modelTable, row item, at uint64) string {
	var out []string
	for t := at; t > 0; t-- {
		if m.worlds[t].written[table.keyText(row)] == t {
			found, ok := table.modelRow(m.worlds[t], row)
			out = append(out, versionText(t, found, ok))
		}
	}
	return strings.Join(out, " ")
}

func (m *modelRun) diff(table modelTable, a, b uint64) string {
	var out []string
	add := func(row item, both bool) {
		before, was := table.modelRow(m.worlds[a], row)
		after, is := table.modelRow(m.worlds[b], row)
		if text := diffText(before, after, was, is); was != is || both && before.String() != after.String() {
			out = append(out, text)
		}
	}
	for _, row := range table.modelRows(m.worlds[b]) {
		add(row, true)
	}
	for _, row := range table.modelRows(m.worlds[a]) {
		if _, is := table.modelRow(m.worlds[b], row); !is {
			add(row, false)
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}
