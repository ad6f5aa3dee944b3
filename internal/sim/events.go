package sim

import (
	"encoding/binary"
	"fmt"
	"os"
	"time"

	"github.com/cqrs-server/cqrs/internal/cloudevents"
	"github.com/cqrs-server/cqrs/internal/ids"
	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/store"
)

// happenings are what may happen at a tick, beside what happens within calls.
var happenings = []struct {
	kind kind
	do   func(*World)
}{
	{rebalance, func(w *World) { w.assign(w.anyShard()) }},
	{zombie, (*World).makeZombie},
	{pausing, (*World).pauseOne},
	{clockJump, (*World).jump},
	{offsetsBack, (*World).setOffsetsBack},
	{retention, (*World).retain},
	{storeDown, (*World).takeStoreDown},
	{foreignCommand, (*World).foreignCommand},
	{foreignCommit, (*World).foreignCommit},
	{garbageCommand, func(w *World) { w.garbage(commandsTopic) }},
	{garbageEvent, func(w *World) { w.garbage(eventsTopic) }},
	{garbageFeedback, func(w *World) { w.garbage(feedbackTopic) }},
	{garbageLetter, func(w *World) { w.garbage(deadTopic) }},
	{otherVersion, (*World).otherVersion},
	{folderLost, (*World).loseFolder},
	{builtSlowly, (*World).buildSlowly},
	{snapshotBack, (*World).snapshots},
	{codeChanged, (*World).changeCode},
	{versionChanged, (*World).changeVersion},
	{nextVersion, (*World).growNext},
}

// event lets something happen in the world around the processes.
func (w *World) event() {
	w.maybeDisaster()
	for _, p := range w.procs {
		if !p.up && p.restartAt <= w.ticks {
			w.restart(p)
		}
	}
	for _, e := range happenings {
		if w.happens(e.kind) {
			w.note(e.kind.String())
			before := w.rng
			w.rng = w.lot
			e.do(w)
			w.rng = before
		}
	}
	if w.rng.IntN(20) == 0 {
		w.now = w.now.Add(time.Duration(w.rng.IntN(2000)) * time.Millisecond)
	}
	for n, owner := range w.owners {
		if owner == nil || !owner.up {
			w.assign(n)
		}
	}
}

func (w *World) anyShard() int { return w.rng.IntN(w.shards) }

// anyProc is one that works shards.
func (w *World) anyProc() *proc {
	list := w.workers()
	return list[w.rng.IntN(len(list))]
}

func (w *World) workers() (list []*proc) {
	for _, p := range w.procs {
		if !p.sender {
			list = append(list, p)
		}
	}
	return list
}

func (w *World) restart(p *proc) {
	if p.starts > 0 {
		w.count("restart")
	}
	p.open()
}

func (w *World) assignAll() {
	for n := range w.shards {
		w.assign(n)
	}
}

// assign gives a shard to one of those that run. Who had it hears of that at once, or later: until then there are two owners.
func (w *World) assign(shard int) {
	var up []*proc
	for _, p := range w.workers() {
		if p.up {
			up = append(up, p)
		}
	}
	if len(up) == 0 {
		return
	}
	next := up[w.rng.IntN(len(up))]
	if w.calm {
		for _, p := range up {
			p.believes[shard] = false
		}
		next.gen[shard]++
	}
	for _, p := range up {
		if p != next && p.believes[shard] && (!w.has(zombie) || w.rng.IntN(2) == 0) {
			p.believes[shard] = false
		}
	}
	if next.believes[shard] = true; w.owners[shard] != next {
		w.count("owner changed")
		next.gen[shard]++
	}
	w.owners[shard] = next
	w.note("owner", fmt.Sprint(shard, next.n))
	if n := w.believers(shard); n > 1 {
		w.count("two owners")
	}
}

func (w *World) believers(shard int) (n int) {
	for _, p := range w.procs {
		if p.up && p.believes[shard] {
			n++
		}
	}
	return n
}

// makeZombie stops an owner in the midst of what it does, and gives its shard to another.
func (w *World) makeZombie() {
	shard := w.anyShard()
	old := w.owners[shard]
	if old == nil || !old.up || len(w.workers()) < 2 {
		return
	}
	until := w.ticks + 20 + w.rng.IntN(600)
	for _, k := range old.workers {
		if k.shard == shard {
			k.paused = until
		}
	}
	for range 10 {
		if w.assign(shard); w.owners[shard] != old {
			old.believes[shard] = true // it does not hear of it
			return
		}
	}
}

// pauseOne stops a process for a while.
func (w *World) pauseOne() {
	p, until := w.procs[w.rng.IntN(len(w.procs))], w.ticks+w.rng.IntN(300)
	for _, k := range p.workers {
		k.paused = until
	}
}

func (w *World) jump() {
	by := 24 * time.Hour
	if w.rng.IntN(2) == 0 {
		by = -by
	}
	w.now = w.now.Add(by)
}

// setOffsetsBack has what was handled be delivered again.
func (w *World) setOffsetsBack() {
	topic := []string{commandsTopic, eventsTopic}[w.rng.IntN(2)]
	p := w.broker.part(topic, w.anyShard())
	if p.committed > p.start+1 {
		p.committed = p.start + w.rng.Int64N(p.committed-p.start)
	}
}

// retain drops what was handled from the left end of a topic.
func (w *World) retain() {
	shard := w.anyShard()
	if w.archive == nil {
		return
	}
	commands, events := w.broker.part(commandsTopic, shard), w.broker.part(eventsTopic, shard)
	if n := w.broker.handled(shard); n > commands.start {
		commands.start += 1 + w.rng.Int64N(n-commands.start)
	}
	if n := w.broker.settled(shard); n > events.start && w.rng.IntN(2) == 0 && w.forget(shard) {
		events.start = n
		w.count("log dropped")
		w.note("log dropped", fmt.Sprint(shard, events.start))
	}
	if f := w.broker.part(feedbackTopic, shard); f.end() > f.start && w.rng.IntN(4) == 0 {
		f.start += w.rng.Int64N(f.end() - f.start)
		w.dropped++
	}
}

// forget tells whether the log may be dropped. Nothing of before that comes again then: the store does not know what was refused, and a
// replica that was built from it would decide such a command anew.
func (w *World) forget(shard int) bool {
	commands := w.broker.part(commandsTopic, shard)
	if w.opts.Forgetful {
		return true
	}
	if w.broker.settled(shard) < w.broker.part(eventsTopic, shard).end() || w.broker.handled(shard) < commands.end() ||
		len(w.broker.late) > 0 || w.believers(shard) > 1 {
		return false
	}
	for _, p := range w.procs {
		if p.up && p.sending {
			return false
		}
	}
	commands.start = commands.end()
	w.oldSends, w.epoch = len(w.sends), w.epoch+100
	return true
}

// handled is where all commands have ended before, so that retention may drop them; settled is the same of the log.
func (b *broker) handled(shard int) int64 {
	p := b.part(commandsTopic, shard)
	return min(p.committed, p.highest)
}

func (b *broker) settled(shard int) int64 { return b.part(eventsTopic, shard).committed }

func (w *World) takeStoreDown() {
	if w.archive != nil {
		w.archive.downUntil = w.ticks + w.rng.IntN(800)
	}
}

// foreignCommand puts a command into the queue as another program does.
func (w *World) foreignCommand() {
	c, number := w.anyCommand(), w.epoch+w.rng.IntN(6)
	ce := cloudevents.Event{
		ID: fmt.Sprintf("order-%d", number), Source: "/elsewhere", Type: c.CommandType(), Time: w.now, Data: encode(c),
	}
	if w.rng.IntN(3) == 0 {
		id, _ := w.newID()
		ce.ID = id.String()
	}
	if w.rng.IntN(8) == 0 {
		ce.Type = "unheard-of"
	}
	if w.rng.IntN(4) == 0 {
		ce.Ext = append(ce.Ext, cloudevents.Attr{Name: "basis", Value: fmt.Sprint(w.rng.IntN(8))})
	}
	if w.rng.IntN(4) == 0 {
		ce.Ext = append(ce.Ext, cloudevents.Attr{Name: "traceparent", Value: "00-abc"})
	}
	m, err := ce.Message()
	if err != nil {
		w.fault("a CloudEvent: %v", err)
		return
	}
	w.note("foreign", ce.ID, ce.Type)
	w.broker.add(commandsTopic, number%w.shards, nil, m)
}

// foreignCommit puts a commit into the log that another program decided: it has no prev.
func (w *World) foreignCommit() {
	shard := w.anyShard()
	w.foreignCommitTo(shard)
	if w.rng.IntN(2) == 0 {
		w.chase(shard)
	}
}

// chase has one who follows read what was written, and send what is rooted there, before the owner has looked.
func (w *World) chase(shard int) {
	p := w.anyProc()
	if !p.up || p.believes[shard] || w.toSend == 0 {
		return
	}
	w.count("sent from a t that the owner has not come to")
	p.eager = 2
	for _, name := range []string{"shard", "send"} {
		for range 32 {
			if k := p.worker(name, shard); k != nil {
				w.resume(k)
			}
		}
	}
}

func (w *World) foreignCommitTo(shard int) {
	id, _ := w.newID()
	r := store.Record{Envelope: store.Envelope{Command: id, CommandType: "elsewhere", Time: w.now.UnixMilli(), Code: "foreign"}}
	for i, e := range [][2]string{
		{"counted", `{"Name":"x","By":1,"Saw":0,"At":0}`}, {"unheard-of", `{"A":1}`}, {"counted", `{"Name":17}`},
	}[:w.rng.IntN(4)] {
		r.Events = append(r.Events, store.Event{ID: ids.Event(id, i, "0"), Index: i, Segment: "0", Type: e[0], Data: []byte(e[1])})
	}
	w.broker.add(eventsTopic, shard, nil, queue.Message{Value: r.Append([]byte{0xc8, 1, 1}), Time: w.now.UnixMilli()})
}

func (w *World) garbage(topic string) {
	b := make([]byte, w.rng.IntN(40))
	for i := range b {
		b[i] = byte(w.rng.Uint32())
	}
	shard := w.anyShard()
	p := w.broker.part(topic, shard)
	if n := p.end(); n > 0 && w.rng.IntN(2) == 0 { // cut off
		b = p.msgs[w.rng.Int64N(n)].Value
		b = b[:w.rng.IntN(len(b)+1)]
	}
	w.broker.add(topic, shard, nil, queue.Message{Value: b, Time: w.now.UnixMilli()})
}

// otherVersion puts a record into the log that a later version of the library may write.
func (w *World) otherVersion() {
	v := []byte{0xc8, 2, 1, 0, 0}
	if w.rng.IntN(2) == 0 {
		v = []byte{0xc8, 1, 9}
	}
	w.broker.add(eventsTopic, w.anyShard(), nil, queue.Message{Value: binary.BigEndian.AppendUint64(v, w.ids), Time: w.now.UnixMilli()})
}

// loseFolder has a process begin anew. Without a store it then needs the whole log.
func (w *World) loseFolder() {
	p := w.anyProc()
	p.crash()
	p.shown = nil
	_ = os.RemoveAll(p.dir)
}

// buildSlowly has a replica begin anew, and stops it on its way through the log.
func (w *World) buildSlowly() {
	p, shard := w.anyProc(), w.anyShard()
	if !p.up || p.believes[shard] {
		return
	}
	p.crash()
	p.shown = nil
	_ = os.RemoveAll(p.dir)
	p.open()
	for range w.rng.IntN(80) {
		if k := p.worker("shard", shard); k != nil {
			w.resume(k)
		}
	}
	until := w.ticks + w.rng.IntN(800)
	for _, k := range p.workers {
		k.paused = until
	}
}

// snapshots takes a snapshot, or goes back to one.
func (w *World) snapshots() {
	p := w.anyProc()
	if p.up && (p.snapshot == nil || w.rng.IntN(2) == 0) {
		p.takeSnapshot()
		return
	}
	if p.snapshot != nil {
		p.crash()
		p.restoreSnapshot()
	}
}

// changeCode starts a process with the other version of the code.
func (w *World) changeCode() {
	p := w.anyProc()
	p.crash()
	p.code = map[string]string{"1": "2", "2": "1"}[p.code]
}

// changeVersion starts a process with a new version of the aggregate: its tables are built anew from the store.
func (w *World) changeVersion() {
	p := w.anyProc()
	p.crash()
	p.shown = nil // the store it is built from may lack what the log has
	p.versions++
	p.version, p.next = fmt.Sprintf("v%d", p.versions), ""
	if w.rng.IntN(3) == 0 { // with new code, as mostly
		p.code = map[string]string{"1": "2", "2": "1"}[p.code]
	}
}

// growNext starts a process with a version of the aggregate that is built beside the one that serves. When there was such a one before, it is to
// serve now, whether it had come to that or not.
func (w *World) growNext() {
	p := w.anyProc()
	p.crash()
	if p.next != "" {
		p.version, p.shown = p.next, nil
	}
	p.versions++
	p.next = fmt.Sprintf("v%d", p.versions)
}
