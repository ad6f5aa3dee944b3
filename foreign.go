package cqrs

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/cqrs-server/cqrs/internal/cloudevents"
	"github.com/cqrs-server/cqrs/internal/ids"
	"github.com/cqrs-server/cqrs/queue"
	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
)

// Other programs meet the library in two queues: they may put commands into the command queue, as CloudEvents (binary or structured
// mode), and read from a feedback queue of its own what happened, as CloudEvents in binary mode.
//
// Of a command: type is the command's type, id its id (one that is no uuid stands for the v5 uuid of source and id), subject
// its key, time its time; the attributes basis and code are the fields of Envelope; all others, and traceparent, travel on to
// the events.

// readCommand reads a message of the command queue: an envelope of the library's own, or a CloudEvent.
func readCommand(m *queue.Message, e *Envelope, names *interner) error {
	if len(m.Value) > 0 && m.Value[0] == commandMagic {
		return decodeEnvelope(m, e, names)
	}
	ce, is, err := cloudevents.Decode(m)
	if err != nil {
		return fmt.Errorf("a CloudEvent that can't be read: %w", err)
	}
	if !is {
		return decodeEnvelope(m, e, names) // which says what is wrong with it
	}
	return e.fromCloudEvent(&ce, m)
}

func (e *Envelope) fromCloudEvent(ce *cloudevents.Event, m *queue.Message) error {
	*e = Envelope{Type: ce.Type, Key: ce.Subject, Time: ce.Time.Truncate(time.Millisecond).UTC(), Code: "NA", Data: ce.Data}
	if ce.Time.IsZero() {
		e.Time = time.UnixMilli(m.Time).UTC()
	}
	var err error
	if e.ID, err = uuid.Parse(ce.ID); err != nil {
		e.ID = ids.Foreign(ce.Source, ce.ID)
		e.Trace = append(e.Trace, store.Trace{Key: "originalid", Value: ce.ID})
	}
	for _, a := range ce.Ext {
		if err := e.take(a); err != nil {
			return err
		}
	}
	return e.check(len(e.Data)) // the queue has bounded the data
}

func (e *Envelope) take(a cloudevents.Attr) error {
	switch a.Name {
	case "basis":
		t, err := strconv.ParseUint(a.Value, 10, 64)
		if err != nil {
			return fmt.Errorf("the attribute basis is %.40q, and must be a t", a.Value)
		}
		e.basis = t
		e.Basis = &e.basis
	case "code":
		e.Code = a.Value
	default:
		e.Trace = append(e.Trace, store.Trace{Key: a.Name, Value: a.Value})
	}
	return nil
}

// The types of CloudEvents in the feedback queue that are no event's type.
const (
	feedbackDone     = reserved + "done"     // accepted, without events
	feedbackRepeated = reserved + "repeated" // accepted before
	feedbackRefused  = reserved + "refused"  // an error of level user
	feedbackFailed   = reserved + "failed"   // a dead letter
)

// teller writes feedback for the feedback queue, as CloudEvents.
type teller struct {
	source string // of the shard
	writer *cloudevents.Writer
}

func sourceOf(shard int) string { return "/cqrs/shards/" + strconv.Itoa(shard) }

// tell appends what is said of one command: a message for each event, or one for the end without events.
func (w *teller) tell(dst []queue.Message, f *Feedback, now time.Time) (_ []queue.Message, err error) {
	if len(f.Events) == 0 || f.Err != nil {
		m, err := w.end(f, now)
		return append(dst, m), err
	}
	for i := range f.Events {
		m, wrong := w.event(f, &f.Events[i])
		m.Time = now.UnixMilli()
		dst, err = append(dst, m), errors.Join(err, wrong)
	}
	return dst, err
}

func (w *teller) end(f *Feedback, now time.Time) (queue.Message, error) {
	w.writer.Begin()
	w.writer.ID("ce_id", ids.Foreign("feedback", f.Command.String()))
	w.writer.Text("ce_type", f.ending())
	w.writer.Time("ce_time", now)
	w.attributes(f)
	var why []byte
	if f.Err != nil {
		why = f.Err.encode()
		w.writer.Text("content-type", "application/json")
	}
	m, err := w.writer.End(why)
	m.Time = now.UnixMilli()
	return m, err
}

// ending is the type that says how a command ended.
func (f *Feedback) ending() string {
	switch {
	case f.Err != nil && f.Err.Level == User:
		return feedbackRefused
	case f.Err != nil:
		return feedbackFailed
	case f.Repeat:
		return feedbackRepeated
	}
	return feedbackDone
}

func (w *teller) attributes(f *Feedback) {
	w.writer.Text("ce_source", w.source)
	w.writer.ID("ce_commandid", f.Command)
	w.writer.Number("ce_shard", uint64(f.Shard))
	if f.T > 0 {
		w.writer.Number("ce_t", f.T)
	}
	if f.payload != ([16]byte{}) {
		w.writer.Hex("ce_payload", f.payload[:])
	}
	if len(f.remarks) <= logRoom/2 {
		w.writer.Text("ce_remarks", string(f.remarks))
	}
}

// event tells of one event. That it is the only one of its command is not said. A key, segment or time that no CloudEvent bears is left out:
// the event counts for more.
func (w *teller) event(f *Feedback, r *Recorded) (queue.Message, error) {
	e := w.writer
	e.Begin()
	e.ID("ce_id", r.Event.ID)
	e.Text("ce_type", r.Event.Type)
	w.textIfBorne("ce_subject", r.Key)
	if at := time.UnixMilli(r.Time); cloudevents.IsTime(at) {
		e.Time("ce_time", at)
	}
	e.Text("content-type", "application/json")
	w.attributes(f)
	e.Number("ce_basis", r.Basis)
	e.Text("ce_commandtype", r.CommandType)
	w.textIfBorne("ce_segment", r.Segment)
	e.Text("ce_code", r.Code)
	if count := len(f.Events); count > 1 {
		e.Number("ce_index", uint64(r.Index))
		e.Number("ce_count", uint64(count))
	}
	room := mostTravel
	for i, t := range f.trace {
		if room > 0 && travels(t.Key) && cloudevents.IsValue(t.Value) && !slices.ContainsFunc(f.trace[:i], func(before store.Trace) bool { return before.Key == t.Key }) {
			e.Text("ce_"+t.Key, t.Value)
			room--
		}
	}
	return e.End(r.Data)
}

func (w *teller) textIfBorne(name, value string) {
	if cloudevents.IsValue(value) {
		w.writer.Text(name, value)
	}
}

// mostTravel is how many trace headers are attributes of an event: a CloudEvent with many more is not read, and would tell nobody.
const mostTravel = 100

// travels tells whether a trace header can be an attribute: its name is one of CloudEvents, and not one that is taken.
func travels(name string) bool {
	switch name {
	case "commandid", "shard", "t", "payload", "remarks", "basis", "commandtype", "segment", "code", "index", "count":
		return false
	}
	return cloudevents.IsExtension(name)
}

// hear reads a message of the feedback queue into f, which is new. It tells whether it is the last one of its command.
func (f *Feedback) hear(m *queue.Message) (last bool, err error) {
	ce, is, err := cloudevents.Decode(m)
	switch {
	case err != nil:
		return true, fmt.Errorf("feedback that can't be read: %w", err)
	case !is:
		return true, f.decode(m.Value)
	}
	a := heard{ext: map[string]string{}}
	for _, x := range ce.Ext {
		a.ext[x.Name] = x.Value
	}
	f.Command, f.T = a.id("commandid"), a.number("t")
	_, _ = hex.Decode(f.payload[:], []byte(a.ext["payload"])) // it may be absent
	f.remarks = []byte(a.ext["remarks"])
	switch ce.Type {
	case feedbackRefused, feedbackFailed:
		f.Err = decodeError(ce.Data)
	case feedbackRepeated:
		f.Repeat = true
	case feedbackDone:
	default:
		last = f.hearEvent(&ce, &a)
		return last, a.err
	}
	return true, a.err
}

func (f *Feedback) hearEvent(ce *cloudevents.Event, a *heard) (last bool) {
	index, count := int(a.number("index")), int(a.number("count"))
	r := Recorded{Entry: store.Entry{
		Envelope: store.Envelope{
			Shard: f.Shard, T: f.T, Command: f.Command, CommandType: a.ext["commandtype"], Key: ce.Subject,
			Time: ce.Time.UnixMilli(), Basis: a.number("basis"), Code: a.ext["code"],
		},
		Event: store.Event{Index: index, Segment: a.ext["segment"], Type: ce.Type, Data: ce.Data},
	}}
	r.Event.ID, _ = uuid.Parse(ce.ID)
	f.Events = []Recorded{r}
	return index+1 >= count
}

// heard is the attributes of a CloudEvent. The first that is wrong leaves an error.
type heard struct {
	ext map[string]string
	err error
}

func (h *heard) number(name string) uint64 {
	text, there := h.ext[name]
	if !there {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil && h.err == nil {
		h.err = fmt.Errorf("feedback whose attribute %s is %.40q, and must be a number", name, text)
	}
	return n
}

func (h *heard) id(name string) uuid.UUID {
	id, err := uuid.Parse(h.ext[name])
	if err != nil && h.err == nil {
		h.err = fmt.Errorf("feedback whose attribute %s is %.40q, and must be a uuid", name, h.ext[name])
	}
	return id
}
