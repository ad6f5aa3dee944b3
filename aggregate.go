package cqrs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/store"
	"go.etcd.io/bbolt"
)

// Aggregator folds events into the tables. It may be asked for the same event only once: what it writes, the mark that the event is
// applied, and t change together.
type Aggregator interface {
	// AggregateEvent applies one event. It must depend on nothing but the event and what it reads through tx. Events that
	// it does not know it ignores: they are stored all the same. When it returns an error (or panics), nothing of what it wrote for this
	// event stays, the event goes to the dead letters, and the aggregate says that it is incomplete.
	AggregateEvent(ctx context.Context, tx *Tx, event Event) error
}

// Reader is what tables are read through: a View, a *Decision or a *Tx.
type Reader interface {
	// begin gives the rows, and end must be called when they have been read.
	begin() (*txReader, error)
	end(*txReader)
}

// txReader reads rows as of a t.
type txReader struct {
	rowTx *rowTx
	t     uint64
	seen  *reads          // what is read is noted here; may be nil
	err   error           // the first error: of reads whose callers can't be told
	file  boltfile.ReadTx // of a View
}

// guard makes an error of a panic that is about the file. It is deferred.
func (r *txReader) guard(err *error, faults bool) {
	debug.SetPanicOnFault(faults)
	if p := recover(); p != nil {
		*err = r.rowTx.agg.file.Damage(p)
		r.fail(*err)
	}
}

func (r *txReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (d *Decision) begin() (*txReader, error) {
	if d.past == nil {
		return &d.reader, nil
	}
	tr, err := View{agg: d.past, t: d.reader.t}.begin()
	if err != nil {
		d.reader.fail(err)
		return nil, err
	}
	tr.seen = d.reader.seen
	return tr, nil
}

func (d *Decision) end(tr *txReader) {
	if d.past == nil {
		return
	}
	if tr.err != nil {
		d.reader.fail(tr.err)
	}
	tr.seen = nil
	View{agg: d.past, t: d.reader.t}.end(tr)
}

// View is the aggregate's value at one t. It never changes; it holds no resources and may be kept.
type View struct {
	agg  *aggregate
	t    uint64
	over *overlay // of a value that With made
}

// T is the t of the value.
func (v View) T() uint64 { return v.t }

// base is the t of the value in the file.
func (v View) base() uint64 {
	if v.over != nil {
		return min(v.t, v.over.base)
	}
	return v.t
}

var readers = sync.Pool{New: func() any { return &txReader{rowTx: new(rowTx)} }}

func (v View) begin() (*txReader, error) {
	if v.agg == nil {
		return nil, errNoView
	}
	tx, err := v.agg.readAt(v.base())
	if err != nil {
		return nil, err
	}
	r := readers.Get().(*txReader)
	r.t, r.err, r.file = v.t, nil, tx
	r.rowTx.reset(v.agg, tx.Tx)
	r.rowTx.over = v.over
	return r, nil
}

// readAt begins to read the value at t, if it is there.
func (a *aggregate) readAt(t uint64) (boltfile.ReadTx, error) {
	if err := a.position().canRead(t, a.shard); err != nil {
		return boltfile.ReadTx{}, err
	}
	tx, err := a.file.Read()
	if err != nil {
		return boltfile.ReadTx{}, readError(err)
	}
	if p := a.position(); t < p.horizon { // it was pruned in this moment
		tx.Close()
		return boltfile.ReadTx{}, p.canRead(t, a.shard)
	}
	return tx, nil
}

func (v View) end(r *txReader) {
	r.file.Close()
	r.rowTx.release()
	r.rowTx.over = nil
	readers.Put(r)
}

// readError gives the errors of what Close has closed their name.
func readError(err error) error {
	for _, closed := range []error{boltfile.ErrClosed, queue.ErrClosed, store.ErrClosed} {
		if errors.Is(err, closed) {
			return ErrClosed
		}
	}
	return err
}

// Tx is what AggregateEvent reads and writes the tables through. It is valid until AggregateEvent returns.
type Tx struct {
	reader txReader
	commit *Commit
	index  int
	again  *Recorded // the event is folded again: it is inside the commit's
}

// Recorded is the event with its envelope: its id, time, t and command.
func (tx *Tx) Recorded() Recorded {
	if tx.again != nil {
		return *tx.again
	}
	return tx.commit.recorded(tx.index)
}

// begins makes tx ready for the next event.
func (tx *Tx) begins(rows *rowTx, c *Commit, index int) {
	tx.reader.rowTx, tx.reader.t, tx.reader.err = rows, c.T, nil
	tx.commit, tx.index, tx.again = c, index, nil
}

// T is the t of the commit that is being folded.
func (tx *Tx) T() uint64 { return tx.reader.t }

func (tx *Tx) begin() (*txReader, error) { return &tx.reader, nil }
func (tx *Tx) end(*txReader)             {}

// position is how far an aggregate has come. It changes in one transaction with the rows.
type position struct {
	t         uint64 // commits accepted
	offset    int64  // next offset to read of the event queue
	delivered uint64 // the t up to which outputs outside this file have been flushed
	failed    uint64 // events whose fold failed
	latest    int64  // the latest time of a command, milliseconds
	horizon   uint64 // the oldest t that can be read
	digest    Digest
	anchor    anchor // of the message before offset, in an event queue of its own
}

const positionSize = 6*8 + 32 + 16

// canRead tells why t can't be read.
func (p *position) canRead(t uint64, shard int) error {
	switch {
	case t > p.t:
		return fmt.Errorf("%w: %d, and shard %d is at %d", ErrFuture, t, shard, p.t)
	case t < p.horizon:
		return fmt.Errorf("%w: %d, and shard %d keeps history from t %d on", ErrPruned, t, shard, p.horizon)
	}
	return nil
}

func (p *position) encode() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, positionSize), p.t)
	b = binary.BigEndian.AppendUint64(b, uint64(p.offset))
	b = binary.BigEndian.AppendUint64(b, p.delivered)
	b = binary.BigEndian.AppendUint64(b, p.failed)
	b = binary.BigEndian.AppendUint64(b, uint64(p.latest))
	b = binary.BigEndian.AppendUint64(b, p.horizon)
	b = append(b, p.digest[:]...)
	return append(b, p.anchor[:]...)
}

func (p *position) decode(b []byte) error {
	if len(b) == positionSize-len(p.anchor) { // from before there were anchors
		b = append(bytes.Clone(b), p.anchor[:]...)
	}
	if len(b) != positionSize {
		return fmt.Errorf("the aggregate's position has %d bytes instead of %d: %w", len(b), positionSize, boltfile.ErrDamaged)
	}
	p.t = binary.BigEndian.Uint64(b)
	p.offset = int64(binary.BigEndian.Uint64(b[8:]))
	p.delivered = binary.BigEndian.Uint64(b[16:])
	p.failed = binary.BigEndian.Uint64(b[24:])
	p.latest = int64(binary.BigEndian.Uint64(b[32:]))
	p.horizon = binary.BigEndian.Uint64(b[40:])
	p.digest = Digest(b[48:])
	p.anchor = anchor(b[80:])
	return nil
}

// aggregate is the read side of one shard, in its bbolt file.
type aggregate struct {
	rt      *Runtime
	file    *boltfile.File
	shard   int
	main    bool // the shard's own, which commands read
	version string
	prefix  string // of its buckets
	fold    Aggregator

	declared []AnyTable // of the shard's own

	tables      []tableInfo // by id
	ids         map[*tableCore]uint16
	stateName   []byte
	marksName   []byte
	failedName  []byte
	historyName []byte
	timesName   []byte
	groupsName  []byte

	at atomic.Pointer[position] // what readers may see: committed
}

type tableInfo struct {
	name   string
	bucket []byte
	since  uint64 // an index that was made over rows that were there can be read from this t on
}

func (a *aggregate) position() *position { return a.at.Load() }

var positionKey = []byte("position")

func newAggregate(file *boltfile.File, shard int, name, version string, fold Aggregator) *aggregate {
	prefix := "aggregate/" + name + "@" + version + "/"
	return &aggregate{
		file: file, shard: shard, version: version, prefix: prefix, fold: fold, ids: map[*tableCore]uint16{},
		stateName: []byte(prefix + "state"), marksName: []byte("marks"), failedName: []byte(prefix + "failed"),
		historyName: []byte(prefix + "history"), groupsName: []byte(prefix + "groups"), timesName: []byte(prefix + "times"),
	}
}

// openAggregate finds or makes the aggregate of that name and version in the file.
func openAggregate(file *boltfile.File, shard int, name, version string, fold Aggregator, tables []AnyTable) (*aggregate, error) {
	a := newAggregate(file, shard, name, version, fold)
	err := file.Update(context.Background(), func(tx *bbolt.Tx) error { return a.setUp(tx, tables) })
	if err != nil {
		return nil, fmt.Errorf("aggregate %s in %s: %w", name, file.Path(), err)
	}
	return a, a.load()
}

func (a *aggregate) setUp(tx *bbolt.Tx, tables []AnyTable) error {
	for _, name := range [][]byte{a.stateName, a.marksName, a.failedName, a.historyName, a.groupsName, a.timesName} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	a.tables, a.ids = nil, map[*tableCore]uint16{}
	return a.setUpTables(tx, a.prefix, tables)
}

// setUpTables gives each table the number it has in this file, and a new one when it is new.
func (a *aggregate) setUpTables(tx *bbolt.Tx, prefix string, tables []AnyTable) error {
	b, err := tx.CreateBucketIfNotExists([]byte(prefix + "tables"))
	if err != nil {
		return err
	}
	err = b.ForEach(func(k, v []byte) error {
		if len(v) < tableEntry {
			return fmt.Errorf("what is kept of table %q can't be read: %w", k, boltfile.ErrDamaged)
		}
		a.note(prefix, string(k), v)
		return nil
	})
	for _, t := range tables {
		for _, core := range append([]*tableCore{t.core()}, t.indexCores()...) {
			if err == nil {
				err = a.setUpTable(tx, b, prefix, core)
			}
		}
	}
	return err
}

func (a *aggregate) note(prefix, name string, value []byte) {
	id := binary.BigEndian.Uint16(value)
	for len(a.tables) <= int(id) {
		a.tables = append(a.tables, tableInfo{})
	}
	a.tables[id] = tableInfo{name: name, bucket: []byte(prefix + "rows/" + name), since: binary.BigEndian.Uint64(value[2:])}
}

const tableEntry = 10 // bytes before the signature: id, since

func (a *aggregate) setUpTable(tx *bbolt.Tx, b *bbolt.Bucket, prefix string, t *tableCore) error {
	if old := b.Get([]byte(t.name)); old != nil {
		a.ids[t] = binary.BigEndian.Uint16(old)
		if was := string(old[tableEntry:]); was != t.signature {
			return fmt.Errorf("table %s was made with keys of type %s, and now has keys of type %s", t.name, was, t.signature)
		}
		return nil
	}
	return a.newTable(tx, b, prefix, t)
}

// newTable gives a table its number. An index that is new gets the rows that are there.
func (a *aggregate) newTable(tx *bbolt.Tx, b *bbolt.Bucket, prefix string, t *tableCore) error {
	p, err := a.positionIn(tx)
	if err != nil {
		return err
	}
	since := uint64(0)
	if t.fill != nil {
		since = p.t
	}
	value := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint16(nil, uint16(len(a.tables))), since)
	a.ids[t] = uint16(len(a.tables))
	a.note(prefix, t.name, value)
	if _, err := tx.CreateBucketIfNotExists([]byte(prefix + "rows/" + t.name)); err != nil {
		return err
	}
	if t.fill != nil {
		var r rowTx
		r.reset(a, tx)
		if err := errors.Join(t.fill(&r, p.t), r.flushRows()); err != nil {
			return err
		}
	}
	return b.Put([]byte(t.name), append(value, t.signature...))
}

// id gives a table's number, for a read or write at t.
func (a *aggregate) id(t *tableCore, at uint64) (uint16, error) {
	id, ok := a.ids[t]
	if !ok {
		return 0, a.noTable(t)
	}
	if since := a.tables[id].since; at < since {
		return 0, fmt.Errorf("%w: index %s was added at t %d, and can't be read as of t %d: build the aggregate anew to have it there",
			ErrPruned, t.name, since, at)
	}
	return id, nil
}

var errNotNamed = errors.New("is not named in Config.Tables")

// noTable is the error of using a table that the aggregate was not opened with. A table that another version has may still come.
func (a *aggregate) noTable(t *tableCore) error {
	switch {
	case !a.main || a.rt.cfg.Next == nil:
		return fmt.Errorf("cqrs: table %s %w", t.name, errNotNamed)
	case slices.ContainsFunc(a.tables, func(i tableInfo) bool { return i.name == t.name }):
		return fmt.Errorf("cqrs: version %q of the aggregate has a table %s that is another value of the program", a.version, t.name)
	}
	return fmt.Errorf("cqrs: version %q of the aggregate has no table %s", a.version, t.name)
}

// load reads the committed position.
func (a *aggregate) load() error {
	return readError(a.file.View(func(tx *bbolt.Tx) error {
		p, err := a.positionIn(tx)
		a.at.Store(&p)
		return err
	}))
}

func (a *aggregate) positionIn(tx *bbolt.Tx) (p position, err error) {
	if raw := tx.Bucket(a.stateName).Get(positionKey); raw != nil {
		err = p.decode(raw)
	}
	return p, err
}

// mark finds how a command ended, in a read transaction.
func (a *aggregate) mark(tx *bbolt.Tx, command []byte) (m mark, found bool, err error) {
	raw := tx.Bucket(a.marksName).Get(command)
	if raw == nil {
		return m, false, nil
	}
	return m, true, m.decode(raw)
}

// marksTable is the number under which marks are held like the rows of tables.
func (a *aggregate) marksTable() uint16 { return uint16(len(a.tables)) }

func (a *aggregate) bucketOf(table uint16) []byte {
	if table == a.marksTable() {
		return a.marksName
	}
	return a.tables[table].bucket
}

// ended finds how a command ended.
func (r *rowTx) ended(command []byte) (m mark, found bool, err error) {
	defer r.agg.file.Guard(&err, debug.SetPanicOnFault(true))
	raw, err := r.newest(r.agg.marksTable(), command)
	if raw == nil || err != nil {
		return m, false, err
	}
	return m, true, m.decode(raw)
}

// ended finds how a command ended, in a read transaction of its own.
func (a *aggregate) ended(id [16]byte) (m mark, found bool, err error) {
	err = a.file.View(func(tx *bbolt.Tx) error {
		r := rowTx{agg: a, tx: tx, tables: make([]tableTx, a.marksTable()+1)}
		m, found, err = r.ended(id[:])
		m.refusal = bytes.Clone(m.refusal)
		return err
	})
	return m, found, readError(err)
}
