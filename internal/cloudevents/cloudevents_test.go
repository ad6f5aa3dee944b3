package cloudevents

import (
	"encoding/base64"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cqrs-server/cqrs/queue"
)

// message has headers given as "name: value".
func message(value string, headers ...string) *queue.Message {
	m := &queue.Message{Offset: 7, Value: []byte(value)}
	for _, h := range headers {
		name, text, _ := strings.Cut(h, ": ")
		m.Headers = append(m.Headers, queue.Header{Key: name, Value: []byte(text)})
	}
	return m
}

func envelope(text string) *queue.Message {
	return message(text, "content-type: application/cloudevents+json; charset=UTF-8")
}

var moment1 = time.Date(2018, 4, 5, 17, 31, 0, 0, time.UTC)

// The examples of the CloudEvents specification, with JSON for data.
func TestDecode(t *testing.T) {
	tests := []struct {
		name string
		m    *queue.Message
		want Event
	}{
		{"binary", message(`{"a":1}`, "ce_specversion: 1.0", "ce_type: com.example.someevent", "ce_source: /mycontext/subcontext", "ce_id: 1234-1234-1234",
			"ce_time: 2018-04-05T03:56:24.5Z", "content-type: application/json; charset=utf-8", "ce_subject: Ölfaß"),
			Event{ID: "1234-1234-1234", Source: "/mycontext/subcontext", Type: "com.example.someevent", Subject: "Ölfaß",
				Time: time.Date(2018, 4, 5, 3, 56, 24, 5e8, time.UTC), ContentType: "application/json; charset=utf-8", Data: []byte(`{"a":1}`)}},
		{"the least", message(``, "ce_specversion: 1.0", "ce_id: 1", "ce_source: s", "ce_type: t"), Event{ID: "1", Source: "s", Type: "t", Data: []byte{}}},
		{"any case, and other headers", message(`{}`, "foo: bar", "CE_SpecVersion: 1.0", "Ce_Id: 1", "ce_SOURCE: s", "ce_type: t", "Content-Type: application/x+JSON", "CE_Two: B", "ce_one: A"),
			Event{ID: "1", Source: "s", Type: "t", ContentType: "application/x+JSON", Data: []byte(`{}`), Ext: []Attr{{"one", "A"}, {"two", "B"}}}},
		{"time in a zone", message(`{}`, "ce_specversion: 1.0", "ce_id: 1", "ce_source: s", "ce_type: t", "ce_time: 2018-04-05T19:31:00+02:00"),
			Event{ID: "1", Source: "s", Type: "t", Data: []byte(`{}`), Time: moment1}},
		{"trace of the transport", message(`{}`, "traceparent: old", "ce_specversion: 1.0", "ce_id: 1", "ce_source: s", "ce_type: t", "Traceparent: new", "tracestate: x=1"),
			Event{ID: "1", Source: "s", Type: "t", Data: []byte(`{}`), Ext: []Attr{{"traceparent", "new"}, {"tracestate", "x=1"}}}},
		{"trace of the event", message(`{}`, "traceparent: transport", "ce_specversion: 1.0", "ce_id: 1", "ce_source: s", "ce_type: t", "ce_traceparent: own"),
			Event{ID: "1", Source: "s", Type: "t", Data: []byte(`{}`), Ext: []Attr{{"traceparent", "own"}}}},
		{"structured", envelope(`{"specversion":"1.0","type":"com.example.someevent","source":"/mycontext","subject":null,"id":"C234-1234-1234",
			"time":"2018-04-05T17:31:00Z","comexampleextension1":"value","comexampleothervalue":5,"flag":true,"datacontenttype":"application/vnd.apache.thrift+json",
			"data": {"a" : [1, 2.50]}, "dataschema": "http://x/y"}`),
			Event{ID: "C234-1234-1234", Source: "/mycontext", Type: "com.example.someevent", Time: moment1, ContentType: "application/vnd.apache.thrift+json",
				Data: []byte(`{"a" : [1, 2.50]}`), Ext: []Attr{{"comexampleextension1", "value"}, {"comexampleothervalue", "5"}, {"dataschema", "http://x/y"}, {"flag", "true"}}}},
		{"structured in base64", envelope(`{"specversion":"1.0","type":"t","source":"s","id":"\u00e9","data_base64":"` + base64.StdEncoding.EncodeToString([]byte(`{"b":2}`)) + `"}`),
			Event{ID: "é", Source: "s", Type: "t", Data: []byte(`{"b":2}`)}},
		{"structured without data", message(`{"specversion":"1.0","type":"t","source":"s","id":"1","data":null}`, "CONTENT-TYPE: Application/CloudEvents+JSON", "traceparent: t"),
			Event{ID: "1", Source: "s", Type: "t", Ext: []Attr{{"traceparent", "t"}}}},
		{"both modes: the content type says which", message(`{"specversion":"1.0","type":"t","source":"s","id":"1"}`, "content-type: application/cloudevents+json", "ce_specversion: 1.0", "ce_id: 2"),
			Event{ID: "1", Source: "s", Type: "t"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e, is, err := Decode(test.m)
			if !is || err != nil || !reflect.DeepEqual(e, test.want) {
				t.Errorf("%v, %v\n%+v, and this was expected:\n%+v", is, err, e, test.want)
			}
		})
	}
}

func TestNoCloudEvent(t *testing.T) {
	for _, m := range []*queue.Message{message(``), message(`{"specversion":"1.0"}`, "content-type: application/json"), message(`{}`, "ce_id: 1", "ce_type: t", "traceparent: x")} {
		if e, is, err := Decode(m); is || err != nil || !reflect.DeepEqual(e, Event{}) {
			t.Errorf("%+v: %+v, %v, %v", m, e, is, err)
		}
	}
}

// binary has the required attributes, and these headers.
func binary(headers ...string) *queue.Message {
	return message(`{}`, append([]string{"ce_specversion: 1.0", "ce_id: 4711", "ce_source: s", "ce_type: t"}, headers...)...)
}

func TestFaults(t *testing.T) {
	long := strings.Repeat("x", maxValue+1)
	many := make([]string, maxExt+5)
	members := make([]string, maxMembers+5)
	for i := range many {
		many[i] = fmt.Sprintf("ce_x%d: y", i)
	}
	for i := range members {
		members[i] = fmt.Sprintf(`"x%d":null`, i)
	}
	tests := []struct {
		name string
		m    *queue.Message
		want []string
	}{
		{"version", message(`{}`, "ce_specversion: 0.3", "ce_id: 1", "ce_source: s", "ce_type: t"), []string{`"1"`, "specversion", `"0.3"`}},
		{"all that is missing", message(`{}`, "ce_specversion: 1.0", "ce_type: "), []string{"attribute id is missing", "attribute source is missing", "attribute type is missing"}},
		{"time", binary("ce_time: yesterday"), []string{`"4711"`, "time", `"yesterday"`, "RFC 3339"}},
		{"empty time", binary("ce_time: "), []string{"time"}},
		{"content type", binary("content-type: application/xml"), []string{"datacontenttype", "application/xml", "JSON"}},
		{"no content type", binary("content-type: ///"), []string{"datacontenttype", "///"}},
		{"charset", binary("content-type: application/json; charset=utf-16"), []string{"datacontenttype", "UTF-8"}},
		{"long id", message(`{}`, "ce_specversion: 1.0", "ce_id: "+long, "ce_source: s", "ce_type: t"), []string{"attribute id has 16385 bytes", "16384"}},
		{"long extension", binary("ce_foo: " + long), []string{"attribute foo has 16385 bytes"}},
		{"many extensions", binary(many...), []string{"more than 128 extension"}},
		{"twice", binary("CE_ID: 1"), []string{"attribute id is there twice"}},
		{"extension twice", binary("ce_foo: 1", "ce_Foo: 1"), []string{"attribute foo is there twice"}},
		{"control character", binary("ce_subject: a\x00b"), []string{"attribute subject", "U+0000"}},
		{"noncharacter", binary("ce_subject: \ufffe"), []string{"attribute subject", "U+FFFE"}},
		{"no UTF-8", binary("ce_foo: \xff"), []string{"attribute foo is not UTF-8"}},
		{"name", binary("ce_foo-bar: 1"), []string{`"foo-bar"`, "a-z"}},
		{"no name", binary("ce_: 1"), []string{"name of 0 bytes"}},
		{"long name", binary("ce_" + strings.Repeat("a", 65) + ": 1"), []string{"name of 65 bytes"}},
		{"reserved name", binary("ce_data: 1"), []string{"attribute data"}},
		{"batch", message(`[]`, "content-type: application/cloudevents-batch+json"), []string{"batches are not taken"}},
		{"other format", message(`x`, "content-type: application/cloudevents+avro"), []string{"application/cloudevents+avro", "application/cloudevents+json"}},
		{"bad format", message(`x`, "content-type: application/cloudevents+json;;"), []string{"no media type"}},
		{"cut off", envelope(`{"specversion":"1.0","id":"1"`), []string{"no JSON"}},
		{"an array", envelope(`[]`), []string{"no object"}},
		{"nothing", envelope(``), []string{"no JSON"}},
		{"more behind it", envelope(`{} {}`), []string{"something follows"}},
		{"member without a value", envelope(`{"id"}`), []string{"no JSON"}},
		{"structured: missing", envelope(`{"id":"9"}`), []string{`"9"`, "specversion is missing", "source is missing", "type is missing"}},
		{"structured: version", envelope(`{"specversion":"2.0","id":"9","source":"s","type":"t"}`), []string{"specversion", "2.0"}},
		{"structured: number", envelope(`{"specversion":1.0}`), []string{"attribute specversion is 1.0, and must be a string"}},
		{"structured: object", envelope(`{"foo":{}}`), []string{"attribute foo is a JSON object"}},
		{"structured: twice", envelope(`{"id":"1","id":"2"}`), []string{"attribute id is there twice"}},
		{"structured: two data", envelope(`{"data":1,"data_base64":"eA=="}`), []string{"both data and data_base64"}},
		{"structured: base64", envelope(`{"data_base64":"?"}`), []string{"no base64"}},
		{"structured: base64 of a number", envelope(`{"data_base64":1}`), []string{"data_base64 is no string"}},
		{"structured: name", envelope(`{"Id":"1"}`), []string{`"Id"`, "a-z"}},
		{"structured: not UTF-8", envelope("{\"id\":\"\xff\"}"), []string{"not UTF-8"}},
		{"structured: content type", envelope(`{"datacontenttype":"text/plain","data":"x"}`), []string{"datacontenttype", "text/plain"}},
		{"structured: many", envelope("{" + strings.Join(members, ",") + "}"), []string{"more than 256 members"}},
		{"structured: deep", envelope(`{"data":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + "}"), []string{"no JSON"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e, is, err := Decode(test.m)
			if !is || err == nil || !reflect.DeepEqual(e, Event{}) {
				t.Fatalf("%+v, %v, %v", e, is, err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("this says nothing of %q: %v", want, err)
				}
			}
			if len(err.Error()) > 20000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func TestMessage(t *testing.T) {
	e := Event{ID: "1", Source: "s", Type: "t", Subject: "é", Time: time.Date(2018, 4, 5, 19, 31, 0, 1e6, time.FixedZone("", 7200)), ContentType: "application/json",
		Data: []byte(`{}`), Ext: []Attr{{"z", ""}, {"partitionkey", "p"}, {"a", "1"}}}
	want := message(`{}`, "ce_specversion: 1.0", "ce_id: 1", "ce_source: s", "ce_type: t", "ce_subject: é", "ce_time: 2018-04-05T17:31:00.001Z",
		"content-type: application/json", "ce_a: 1", "ce_partitionkey: p", "ce_z: ")
	want.Offset, want.Key, want.Time = 0, []byte("p"), 1522949460001
	before := slices.Clone(e.Ext)
	for range 2 {
		m, err := e.Message()
		if err != nil || !reflect.DeepEqual(m, *want) {
			t.Errorf("%v: %+v, and this was expected: %+v", err, m, *want)
		}
	}
	if !slices.Equal(before, e.Ext) {
		t.Error("it has changed the event")
	}
}

func TestMessageFaults(t *testing.T) {
	good := Event{ID: "1", Source: "s", Type: "t"}
	for want, change := range map[string]func(*Event){
		"attribute id is missing": func(e *Event) { e.ID = "" },
		"attribute source":        func(e *Event) { e.Source = "a\nb" },
		"datacontenttype":         func(e *Event) { e.ContentType = "text/plain" },
		"year 10000":              func(e *Event) { e.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		`"aB"`:                    func(e *Event) { e.Ext = []Attr{{"aB", "x"}} },
		"none of the extensions":  func(e *Event) { e.Ext = []Attr{{"time", "x"}} },
		"attribute a is there twice": func(e *Event) {
			e.Ext = []Attr{{"a", "x"}, {"a", "x"}}
		},
	} {
		e := good
		change(&e)
		if _, err := e.Message(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, and an error with %q was expected", err, want)
		}
	}
}

// text is what CloudEvents takes for a string.
func text(least int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return rapid.StringN(least, 20, 200).Filter(func(s string) bool { return checkValue("x", s) == nil }).Draw(t, "text")
	})
}

func events() *rapid.Generator[Event] {
	return rapid.Custom(func(t *rapid.T) Event {
		e := Event{ID: text(1).Draw(t, "id"), Source: text(1).Draw(t, "source"), Type: text(1).Draw(t, "type"), Subject: text(0).Draw(t, "subject"),
			ContentType: rapid.SampledFrom([]string{"", "application/json", "text/json;charset=utf-8", "application/a.b+json"}).Draw(t, "content"),
			Data:        rapid.SliceOf(rapid.Byte()).Draw(t, "data")}
		if rapid.Bool().Draw(t, "timed") {
			e.Time = time.Unix(rapid.Int64Range(-6e10, 2.5e11).Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns")).UTC()
		}
		name := rapid.StringMatching(`[a-z0-9]{1,20}`).Filter(func(s string) bool { return checkName(s) == nil })
		for name, value := range rapid.MapOfN(name, text(0), 0, 5).Draw(t, "ext") {
			e.Ext = append(e.Ext, Attr{name, value})
		}
		if len(e.Ext) > 0 {
			e.Ext = sorted(e.Ext)
		}
		return e
	})
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := events().Draw(t, "event")
		m, err := e.Message()
		if err != nil {
			t.Fatal(err)
		}
		again, is, err := Decode(&m)
		if !is || err != nil || !reflect.DeepEqual(e, again) {
			t.Fatalf("%v, %v:\n%+v became\n%+v", is, err, e, again)
		}
	})
}

// Both modes are the same event.
func TestRoundTripStructured(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := events().Draw(t, "event")
		again, is, err := Decode(envelope(structuredText(e)))
		if !is || err != nil || !reflect.DeepEqual(e, again) {
			t.Fatalf("%v, %v:\n%+v became\n%+v", is, err, e, again)
		}
	})
}
