package cloudevents

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs/queue"
)

// structuredText is the event as a JSON envelope, its data in base64.
func structuredText(e Event) string {
	members := map[string]string{"specversion": "1.0", "id": e.ID, "source": e.Source, "type": e.Type}
	for name, value := range map[string]string{"subject": e.Subject, "datacontenttype": e.ContentType} {
		if value != "" {
			members[name] = value
		}
	}
	if !e.Time.IsZero() {
		members["time"] = e.Time.Format(time.RFC3339Nano)
	}
	if e.Data != nil {
		members["data_base64"] = base64.StdEncoding.EncodeToString(e.Data)
	}
	for _, a := range e.Ext {
		members[a.Name] = a.Value
	}
	text, err := json.Marshal(members)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// Invariant 25: whatever comes from outside gives an event or an error, and an event can be written in both modes and read again.
func FuzzDecode(f *testing.F) {
	f.Add("ce_specversion: 1.0\nce_id: 1\nce_source: s\nce_type: t\nce_time: 2018-04-05T17:31:00Z\ncontent-type: application/json\ntraceparent: x", []byte(`{}`))
	f.Add("ce_specversion: 1.0\nCE_Id: 1\nce_source: s\nce_type: t\nce_foo: \xff\nce_Foo: 1", []byte(nil))
	f.Add("content-type: application/cloudevents+json", []byte(`{"specversion":"1.0","id":"1","source":"s","type":"t","data":{"a":[1]},"n":5,"b":true}`))
	f.Add("content-type: application/cloudevents+json", []byte(`{"specversion":"1.0","id":"1","source":"s","type":"t","data_base64":"e30=","time":"0000-01-01T00:00:00+01:00"}`))
	f.Add("content-type: application/cloudevents-batch+json", []byte(`[]`))
	f.Fuzz(func(t *testing.T, headers string, value []byte) {
		e, is, err := Decode(message(string(value), strings.Split(headers, "\n")...))
		if !is || err != nil {
			if !reflect.DeepEqual(e, Event{}) || err != nil && !is {
				t.Fatalf("%+v, %v, %v", e, is, err)
			}
			return
		}
		m, err := e.Message()
		if err != nil {
			t.Fatalf("%+v was read and can't be written: %v", e, err)
		}
		for _, m := range []*queue.Message{&m, envelope(structuredText(e))} {
			again, is, err := Decode(m)
			if !is || err != nil || !reflect.DeepEqual(again, e) {
				t.Fatalf("%v, %v:\n%+v became\n%+v", is, err, e, again)
			}
		}
	})
}
