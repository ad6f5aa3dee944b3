package cloudevents

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cqrs-server/cqrs/queue"
)

// Decode reads a message. is tells whether it is meant as a CloudEvent: by a header ce_specversion, or by a content type of
// application/cloudevents. Only then there may be an error; it says what is wrong with which attributes.
//
// The names of headers are taken in any case. The headers traceparent and tracestate, with which a transport hands on a trace, count as
// extension attributes where the event does not have its own. In binary mode Data is the message's Value, which it shares.
func Decode(m *queue.Message) (e Event, is bool, err error) {
	content := contentType(m)
	structured := hasPrefixFold(content, "application/cloudevents")
	if !structured && !hasHeader(m, "ce_specversion") {
		return Event{}, false, nil
	}
	var d decoder
	if structured {
		err = d.structured(content, m.Value)
	} else {
		d.binary(m)
	}
	if err == nil {
		d.transport(m)
		err = d.finish()
	}
	if err != nil {
		return Event{}, true, d.e.explain(err)
	}
	return d.e, true, nil
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func contentType(m *queue.Message) string {
	for _, h := range m.Headers {
		if strings.EqualFold(h.Key, "content-type") {
			return string(h.Value)
		}
	}
	return ""
}

func hasHeader(m *queue.Message, name string) bool {
	for _, h := range m.Headers {
		if strings.EqualFold(h.Key, name) {
			return true
		}
	}
	return false
}

// decoder gathers the attributes of an event.
type decoder struct {
	e      Event
	seen   [numFields]bool
	faults []error
}

func (d *decoder) fault(err error) {
	if err != nil {
		d.faults = append(d.faults, err)
	}
}

type field int

const (
	none field = iota
	version
	id
	source
	typ
	subject
	moment
	content
	numFields
)

// fields are the attributes that are no extensions.
var fields = map[string]field{
	"specversion": version, "id": id, "source": source, "type": typ, "subject": subject, "time": moment, "datacontenttype": content,
}

// binary takes the attributes from the headers.
func (d *decoder) binary(m *queue.Message) {
	for _, h := range m.Headers {
		if name, ok := attribute(h.Key); ok {
			d.set(name, string(h.Value))
		}
	}
	d.e.Data = m.Value
}

// attribute is the name of the attribute that a header holds.
func attribute(header string) (name string, ok bool) {
	switch {
	case strings.EqualFold(header, "content-type"):
		return "datacontenttype", true
	case hasPrefixFold(header, "ce_"):
		return strings.ToLower(header[len("ce_"):]), true
	}
	return "", false
}

// set takes one attribute. What is wrong with its value is found at the end, unless it can't be kept until then.
func (d *decoder) set(name, value string) {
	f := fields[name]
	if f != none && d.seen[f] {
		d.fault(twice(name))
		return
	}
	d.seen[f] = true
	switch f {
	case none:
		d.extend(name, value)
	case version:
		d.fault(checkVersion(value))
	case id:
		d.e.ID = value
	case source:
		d.e.Source = value
	case typ:
		d.e.Type = value
	case subject:
		d.e.Subject = value
	case content:
		d.e.ContentType = value
	case moment:
		d.fault(d.setTime(value))
	}
}

// extend takes an extension attribute, and one more than are allowed, so that they are found to be too many.
func (d *decoder) extend(name, value string) {
	if len(d.e.Ext) <= maxExt {
		d.e.Ext = append(d.e.Ext, Attr{name, value})
	}
}

func checkVersion(value string) error {
	if value != specVersion {
		return fmt.Errorf("attribute specversion is %.64q, and only %s is known here", value, specVersion)
	}
	return nil
}

func (d *decoder) setTime(value string) error {
	if err := d.e.Time.UnmarshalText([]byte(value)); err != nil {
		d.e.Time = time.Time{}
		return fmt.Errorf("attribute time is %.64q, and must be as in RFC 3339: 2006-01-02T15:04:05Z", value)
	}
	d.e.Time = d.e.Time.UTC()
	return nil
}

// transport takes the trace from where the transport puts it. A later header replaces an earlier one, as it does for who reads a trace.
func (d *decoder) transport(m *queue.Message) {
	own := len(d.e.Ext)
	for _, name := range []string{"traceparent", "tracestate"} {
		if has(d.e.Ext[:own], name) {
			continue
		}
		for i := len(m.Headers) - 1; i >= 0; i-- {
			if h := m.Headers[i]; strings.EqualFold(h.Key, name) {
				d.e.Ext = append(d.e.Ext, Attr{name, string(h.Value)})
				break
			}
		}
	}
}

func has(ext []Attr, name string) bool {
	for _, a := range ext {
		if a.Name == name {
			return true
		}
	}
	return false
}

// finish puts the extensions in order, and gives all faults.
func (d *decoder) finish() error {
	if !d.seen[version] {
		d.fault(errors.New("attribute specversion is missing"))
	}
	if len(d.e.Ext) > 0 {
		d.e.Ext = sorted(d.e.Ext)
	}
	d.fault(d.e.faults())
	return errors.Join(d.faults...)
}
