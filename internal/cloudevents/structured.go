package cloudevents

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"strings"
	"unicode/utf8"
)

const maxMembers = 2 * maxExt

// structured takes the attributes and the data from an envelope. An error is for what makes the rest unreadable.
func (d *decoder) structured(contentType string, envelope []byte) error {
	media, _, err := mime.ParseMediaType(contentType)
	switch {
	case err != nil:
		return fmt.Errorf("the header content-type is %.64q, which is no media type: %w", contentType, err)
	case strings.HasPrefix(media, "application/cloudevents-batch"):
		return fmt.Errorf("the header content-type is %.64q: batches are not taken, send a message for each event", contentType)
	case media != "application/cloudevents+json":
		return fmt.Errorf("the header content-type is %.64q: of the structured formats only application/cloudevents+json is taken", contentType)
	case !utf8.Valid(envelope):
		return errors.New("the envelope is not UTF-8")
	}
	return d.envelope(json.NewDecoder(bytes.NewReader(envelope)))
}

// envelope reads a JSON object, member for member, so that one that comes twice is found.
func (d *decoder) envelope(j *json.Decoder) error {
	if t, err := j.Token(); err != nil || t != json.Delim('{') {
		return badEnvelope(err)
	}
	seen := map[string]bool{}
	for j.More() {
		if len(seen) > maxMembers {
			return fmt.Errorf("the envelope has more than %d members", maxMembers)
		}
		name, err := j.Token()
		if err != nil {
			return badEnvelope(err)
		}
		var value json.RawMessage
		if err := j.Decode(&value); err != nil {
			return badEnvelope(err)
		}
		d.fault(d.member(name.(string), value, seen))
	}
	if _, err := j.Token(); err != nil {
		return badEnvelope(err)
	}
	if _, err := j.Token(); err != io.EOF {
		return errors.New("the envelope is a JSON object, and something follows it")
	}
	return nil
}

func badEnvelope(err error) error {
	if err == nil {
		return errors.New("the envelope is JSON, but no object")
	}
	return fmt.Errorf("the envelope is no JSON: %w", err)
}

// member takes one member of the envelope. null is the same as none.
func (d *decoder) member(name string, value json.RawMessage, seen map[string]bool) error {
	if seen[name] {
		return twice(name)
	}
	seen[name] = true
	if string(value) == "null" {
		return nil
	}
	switch name {
	case "data", "data_base64":
		if seen["data"] && seen["data_base64"] {
			return errors.New("it has both data and data_base64")
		}
		return d.data(name, value)
	}
	text, err := textOf(name, value)
	if err != nil {
		return err
	}
	d.set(name, text)
	return nil
}

func (d *decoder) data(name string, value json.RawMessage) (err error) {
	if name == "data" {
		d.e.Data = value
		return nil
	}
	var text string
	if err := json.Unmarshal(value, &text); err != nil {
		return errors.New("data_base64 is no string")
	}
	if d.e.Data, err = base64.StdEncoding.DecodeString(text); err != nil {
		return fmt.Errorf("data_base64 is no base64: %w", err)
	}
	return nil
}

// textOf is the value of an attribute as a string. Extensions may be numbers and truth values too.
func textOf(name string, value json.RawMessage) (text string, err error) {
	switch c := value[0]; {
	case c == '"':
		err = json.Unmarshal(value, &text)
		return text, err
	case c == '{' || c == '[':
		return "", fmt.Errorf("attribute %.64s is a JSON object or array: attributes are strings, numbers, true or false", name)
	case fields[name] != none:
		return "", fmt.Errorf("attribute %.64s is %.64s, and must be a string", name, value)
	}
	return string(value), nil
}
