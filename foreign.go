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

// told is what the feedback queue says of one command, as CloudEvents: one for each event, or one for the end without events.
func (f *Feedback) told(now time.Time) ([]queue.Message, error) {
	if len(f.Events) > 0 && f.Err == nil {
		return f.tellEvents(now)
	}
	ce := cloudevents.Event{ID: ids.Foreign("feedback", f.Command.String()).String(), Source: source(f.Shard), Type: feedbackDone, Time: now}
	switch {
	case f.Err != nil && f.Err.Level == User:
		ce.Type = feedbackRefused
	case f.Err != nil:
		ce.Type = feedbackFailed
	case f.Repeat:
		ce.Type = feedbackRepeated
	}
	if f.Err != nil {
		ce.ContentType, ce.Data = "application/json", f.Err.encode()
	}
	ce.Ext = f.attributes()
	m, err := stamped(ce, now)
	return []queue.Message{m}, err
}

func stamped(ce cloudevents.Event, now time.Time) (queue.Message, error) {
	ce.Ext = slices.DeleteFunc(ce.Ext, func(a cloudevents.Attr) bool { return a.Value == "" })
	m, err := ce.Message()
	m.Time = now.UnixMilli()
	return m, err
}

func source(shard int) string { return "/cqrs/shards/" + strconv.Itoa(shard) }

func (f *Feedback) attributes() []cloudevents.Attr {
	list := []cloudevents.Attr{{Name: "commandid", Value: f.Command.String()}, {Name: "shard", Value: strconv.Itoa(f.Shard)}}
	if f.T > 0 {
		list = append(list, cloudevents.Attr{Name: "t", Value: strconv.FormatUint(f.T, 10)})
	}
	if f.payload != ([16]byte{}) {
		list = append(list, cloudevents.Attr{Name: "payload", Value: hex.EncodeToString(f.payload[:])})
	}
	if len(f.remarks) > 0 && len(f.remarks) <= logRoom/2 {
		list = append(list, cloudevents.Attr{Name: "remarks", Value: string(f.remarks)})
	}
	return list
}

func (f *Feedback) tellEvents(now time.Time) (msgs []queue.Message, err error) {
	for i := range f.Events {
		m, wrong := f.tellEvent(&f.Events[i], len(f.Events), now)
		msgs, err = append(msgs, m), errors.Join(err, wrong)
	}
	return msgs, err
}

func (f *Feedback) tellEvent(r *Recorded, count int, now time.Time) (queue.Message, error) {
	at := time.UnixMilli(r.Time).UTC()
	ce := cloudevents.Event{
		ID: r.Event.ID.String(), Source: source(f.Shard), Type: r.Event.Type, Subject: r.Key, Time: at,
		ContentType: "application/json", Data: r.Data,
	}
	ce.Ext = append(f.attributes(),
		cloudevents.Attr{Name: "basis", Value: strconv.FormatUint(r.Basis, 10)},
		cloudevents.Attr{Name: "commandtype", Value: r.CommandType},
		cloudevents.Attr{Name: "segment", Value: r.Segment},
		cloudevents.Attr{Name: "code", Value: r.Code},
		cloudevents.Attr{Name: "index", Value: strconv.Itoa(r.Index)},
		cloudevents.Attr{Name: "count", Value: strconv.Itoa(count)})
	for _, t := range f.trace {
		if travels(t.Key, ce.Ext) {
			ce.Ext = append(ce.Ext, cloudevents.Attr{Name: t.Key, Value: t.Value})
		}
	}
	return stamped(ce, now)
}

// travels tells whether a trace header can be an attribute: its name is one of CloudEvents, and not one that is taken.
func travels(name string, taken []cloudevents.Attr) bool {
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	same := func(a cloudevents.Attr) bool { return a.Name == name }
	return name != "" && !slices.ContainsFunc(taken, same)
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
