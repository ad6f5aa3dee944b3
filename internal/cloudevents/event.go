// Package cloudevents reads and writes CloudEvents 1.0 as messages of a queue, by the CloudEvents protocol binding for Kafka.
//
// Decode takes the binary mode (the attributes are headers, and the data is the message's value) and the structured mode (the value is
// a JSON envelope). Message writes the binary mode. The data is JSON in both; what it says is the caller's business.
//
// Nothing that is read can not be written again: both sides have the same rules for names and values.
package cloudevents

import (
	"errors"
	"fmt"
	"mime"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cqrs-server/cqrs/queue"
)

// Event is a CloudEvent.
type Event struct {
	ID          string    // with Source, tells one event from another; never empty
	Source      string    // a URI reference; never empty
	Type        string    // never empty
	Subject     string    // may be empty: absent
	ContentType string    // of the data: some kind of JSON, or empty: absent, which means JSON too
	Time        time.Time // UTC; the zero time: absent
	Data        []byte    // nil: absent
	Ext         []Attr    // the extension attributes, and dataschema. What Decode gives is sorted by name
}

// Attr is an attribute that is not a field of Event. Its name has the letters a-z and digits, and is there once.
type Attr struct{ Name, Value string }

// Attr gives the value of the extension attribute of that name, or nothing.
func (e *Event) Attr(name string) string {
	for _, a := range e.Ext {
		if a.Name == name {
			return a.Value
		}
	}
	return ""
}

const (
	specVersion = "1.0"

	maxName  = 64       // bytes of an attribute's name
	maxValue = 16 << 10 // bytes of an attribute's value
	maxExt   = 128      // extension attributes
)

// Message is the event in binary mode: the attributes in a fixed order, then the extensions by name. The attribute partitionkey is the
// message's key as well. The message's time is the event's, or 0. Its value is Data, which it shares.
// An error names each attribute that CloudEvents does not bear.
func (e Event) Message() (queue.Message, error) {
	if err := e.faults(); err != nil {
		return queue.Message{}, e.explain(err)
	}
	w := Writer{headers: make([]queue.Header, 0, 7+len(e.Ext))}
	w.Begin()
	w.Text("ce_id", e.ID)
	w.Text("ce_source", e.Source)
	w.Text("ce_type", e.Type)
	w.Text("ce_subject", e.Subject)
	if !e.Time.IsZero() {
		w.Time("ce_time", e.Time)
	}
	w.Text("content-type", e.ContentType)
	for _, a := range sorted(e.Ext) {
		w.close(prefix+a.Name, append(w.values, a.Value...))
	}
	m, err := w.End(e.Data)
	if !e.Time.IsZero() {
		m.Time = e.Time.UnixMilli()
	}
	if key := e.Attr("partitionkey"); key != "" {
		m.Key = []byte(key)
	}
	return m, err
}

const prefix = "ce_" // of the headers' names

func sorted(ext []Attr) []Attr {
	byName := func(a, b Attr) int { return strings.Compare(a.Name, b.Name) }
	if !slices.IsSortedFunc(ext, byName) {
		ext = slices.Clone(ext)
		slices.SortFunc(ext, byName)
	}
	return ext
}

// faults is everything that is wrong with the attributes.
func (e *Event) faults() error {
	return errors.Join(
		checkRequired("id", e.ID), checkRequired("source", e.Source), checkRequired("type", e.Type),
		checkValue("subject", e.Subject), checkTime(e.Time), checkContentType(e.ContentType), checkExt(e.Ext),
	)
}

// explain says which event it is.
func (e *Event) explain(err error) error {
	if e.ID == "" {
		return fmt.Errorf("CloudEvent: %w", err)
	}
	return fmt.Errorf("CloudEvent %.64q: %w", e.ID, err)
}

func checkRequired(name, value string) error {
	if value == "" {
		return fmt.Errorf("attribute %s is missing", name)
	}
	return checkValue(name, value)
}

// checkValue holds a value against what CloudEvents takes for a string.
func checkValue(name, value string) error {
	if len(value) > maxValue {
		return fmt.Errorf("attribute %s has %d bytes, and the limit is %d", name, len(value), maxValue)
	}
	if isPlain(value) {
		return nil
	}
	if !utf8.ValidString(value) {
		return fmt.Errorf("attribute %s is not UTF-8: %.64q", name, value)
	}
	for _, r := range value {
		if unicode.IsControl(r) || isNoncharacter(r) {
			return fmt.Errorf("attribute %s has the character %U, which CloudEvents does not allow: %.64q", name, r, value)
		}
	}
	return nil
}

// isPlain tells whether all characters are printable ASCII, as they mostly are.
func isPlain(value string) bool {
	for i := range len(value) {
		if c := value[i]; c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

func isNoncharacter(r rune) bool {
	return r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe
}

func checkTime(t time.Time) error {
	if y := t.UTC().Year(); y < 0 || y > 9999 {
		return fmt.Errorf("attribute time is in the year %d, and RFC 3339 has the years 0 to 9999", y)
	}
	return nil
}

// checkContentType takes JSON, in UTF-8.
func checkContentType(value string) error {
	if value == "" || value == "application/json" {
		return nil
	}
	if err := checkValue("datacontenttype", value); err != nil {
		return err
	}
	media, params, err := mime.ParseMediaType(value)
	if err != nil {
		return fmt.Errorf("attribute datacontenttype is %.64q, which is no media type: %w", value, err)
	}
	if _, subtype, _ := strings.Cut(media, "/"); subtype != "json" && !strings.HasSuffix(subtype, "+json") {
		return fmt.Errorf("attribute datacontenttype is %.64q: data has to be JSON (application/json)", value)
	}
	if set := params["charset"]; set != "" && !strings.EqualFold(set, "utf-8") && !strings.EqualFold(set, "us-ascii") {
		return fmt.Errorf("attribute datacontenttype is %.64q: JSON has to be in UTF-8", value)
	}
	return nil
}

func checkExt(ext []Attr) error {
	if len(ext) > maxExt {
		return fmt.Errorf("it has more than %d extension attributes", maxExt)
	}
	var errs []error
	for i, a := range ext {
		if err := errors.Join(checkName(a.Name), checkValue(a.Name, a.Value)); err != nil {
			errs = append(errs, err)
		}
		if slices.ContainsFunc(ext[:i], func(b Attr) bool { return a.Name == b.Name }) {
			errs = append(errs, twice(a.Name))
		}
	}
	return errors.Join(errs...)
}

func twice(name string) error { return fmt.Errorf("attribute %.64s is there twice", name) }

// IsExtension tells whether an extension attribute may have this name.
func IsExtension(name string) bool { return checkName(name) == nil }

// IsValue tells whether an attribute may have this value.
func IsValue(value string) bool { return checkValue("", value) == nil }

// IsTime tells whether an event may have this time.
func IsTime(t time.Time) bool { return checkTime(t) == nil }

// checkName takes the names that an extension attribute may have.
func checkName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("attribute %.64q has a name of %d bytes: 1 to %d are allowed", name, len(name), maxName)
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return fmt.Errorf("attribute %q has a name with other characters than a-z and 0-9", name)
		}
	}
	switch name {
	case "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data":
		return fmt.Errorf("attribute %s is none of the extensions: CloudEvents gives it a meaning of its own", name)
	}
	return nil
}
