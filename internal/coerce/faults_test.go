package coerce

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

type line struct {
	Zip  int    `json:"zip" validate:"max=99999"`
	Text string `json:"text"`
}

type address struct {
	Lines []line          `json:"lines" validate:"max=3,dive"`
	Extra map[string]line `json:"extra,omitempty"`
}

type person struct {
	Name    string    `json:"name" validate:"required,min=2"`
	Age     uint8     `json:"age"`
	Born    time.Time `json:"born"`
	Address address   `json:"address"`
	Boss    *person   `json:"boss"`
	Color   string    `json:"color" validate:"omitempty,oneof=red green"`
	//lint:ignore U1000 it is here to be passed over
	hidden  int
	Skipped string `json:"-"`
}

func TestAllFaultsAtOnce(t *testing.T) {
	sameFaults[person](t, `{
		"nam": "Bob", "age": "300", "Color": "red", "color": "blue",
		"address": {"lines": [{"zip": "1"}, {"zip": 100000}, {"zip": "x", "street": 1}], "extra": {"home": {"zip": null}}},
		"boss": {"name": "B", "born": "yesterday", "age": true}, "born": []}`,
		`age is "300", which does not fit in uint8 (0 to 255)`,
		`address.lines[2].zip is "x", which is no whole number`,
		`address.extra[home].zip is null, which is no whole number`,
		`boss.born is "yesterday", which is no time: use RFC 3339, yyyy-MM-dd, yyyy/MM/dd, yyyy-MM-dd HH:mm:ss.S, or seconds or `+
			`milliseconds since 1970`,
		`boss.age is true, which is no whole number`,
		`born is a list, which is no time: use RFC 3339, yyyy-MM-dd, yyyy/MM/dd, yyyy-MM-dd HH:mm:ss.S, or seconds or milliseconds since 1970`,
		`nam is unknown`,
		`Color is unknown; it is spelled color`,
		`address.lines[2].street is unknown`,
		`name is required`,
		`address.lines[1].zip must be at most 99999`,
		`boss.name must have at least 2 characters`,
		`color must be one of red green`,
	)
}

func TestFaultPathsAreSeparate(t *testing.T) {
	_, err := mustCompile[person](t).New([]byte(`{"name":"Bob","address":{"lines":[{"zip":"x"}]}}`))
	want := &Error{[]Fault{{"address.lines[0].zip", `is "x", which is no whole number`}}}
	if !reflect.DeepEqual(err, want) {
		t.Errorf("got %#v", err)
	}
	if err.Error() != `address.lines[0].zip is "x", which is no whole number` {
		t.Errorf("got %s", err)
	}
}

func TestNoObject(t *testing.T) {
	for data, want := range map[string]string{
		``:                    "the data is empty; it must be a JSON object",
		" \n":                 "the data is empty; it must be a JSON object",
		`{"name":`:            "the data is no JSON: unexpected end of JSON input, at byte 8",
		`{"name":"Bob"} x`:    "the data is no JSON: invalid character 'x' after top-level value, at byte 16",
		`{"name":"Bob",}`:     "the data is no JSON: invalid character '}' looking for beginning of object key string, at byte 15",
		"{\"name\":\"\xff\"}": "the data is no JSON: it is not UTF-8 at byte 10",
		`null`:                "is null, which is no object",
		`[{}]`:                "is a list, which is no object",
		`"x"`:                 `is "x", which is no object`,
		` 12 `:                "is 12, which is no object",
	} {
		if got := faultsOf[person](t, data); !slices.Equal(got, []string{want}) {
			t.Errorf("%q: got %q, want %q", data, got, want)
		}
	}
}

func TestKeysAreExactAndSingle(t *testing.T) {
	sameFaults[line](t, `{"zip":1,"zip":"x","text":"","text":""}`, "zip stands twice in the data", "text stands twice in the data")
	sameFaults[line](t, `{"ZIP":1}`, "ZIP is unknown; it is spelled zip")
	sameFaults[line](t, `{"":1,"a b":2,"x.y":3,"\n":4}`, `"" is unknown`, `"a b" is unknown`, `"x.y" is unknown`, `"\n" is unknown`)
	sameFaults[line](t, `{"`+strings.Repeat("k", 100)+`":1}`, strings.Repeat("k", 40)+"... is unknown")
	sameFaults[person](t, `{"name":"Bob","hidden":1,"Skipped":"","-":""}`, "hidden is unknown", "Skipped is unknown", "- is unknown")
	if got := mustNew[line](t, ` { "te\u0078t" : "a" , "z\u0069p" : 1 } `); got != (line{1, "a"}) {
		t.Errorf("got %+v", got)
	}
}

func TestManyFaultsAreCounted(t *testing.T) {
	var b strings.Builder
	for i := range 25 {
		fmt.Fprintf(&b, `,"k%d":0`, i)
	}
	got := faultsOf[line](t, `{"zip":1`+b.String()+`}`)
	if len(got) != 21 || got[19] != "k19 is unknown" || got[20] != "5 more fields are unknown" {
		t.Errorf("got %d: %q", len(got), got)
	}
	got = faultsOf[one[[]int]](t, `{"f":[`+strings.TrimSuffix(strings.Repeat(`"x",`, 130), ",")+`]}`)
	if len(got) != 101 || got[100] != "30 more values can't be read" {
		t.Errorf("got %d: %q", len(got), got[100:])
	}
}

type nest struct {
	Next *nest `json:"next"`
	List nestL `json:"list"`
}

type nestL []nestL

func TestNestingIsBounded(t *testing.T) {
	chain := func(n int) string { return strings.Repeat(`{"next":`, n) + "null" + strings.Repeat("}", n) }
	if _, err := mustCompile[nest](t).New([]byte(chain(maxDepth))); err != nil {
		t.Error(err)
	}
	for name, data := range map[string]string{
		"structs": chain(maxDepth + 1), "lists": `{"list":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`,
	} {
		got := faultsOf[nest](t, data)
		if len(got) != 1 || !strings.HasSuffix(got[0], " is nested too deep: the limit is 1000 levels") || len(got[0]) > 300 {
			t.Errorf("%s: got %d faults: %.400q", name, len(got), got)
		}
	}
	if got := faultsOf[nest](t, chain(10001)); !strings.Contains(got[0], "exceeded max depth") {
		t.Errorf("got %q", got)
	}
}

// Faults of one use must not reach the next, and a plan serves many goroutines.
func TestPlanIsUsedByMany(t *testing.T) {
	p := mustCompile[person](t)
	done := make(chan error)
	for g := range 8 {
		go func() {
			for i := range 300 {
				if _, err := p.New([]byte(`{"name":1,"x":1}`)); len(err.(*Error).Faults) != 2 {
					done <- err
					return
				}
				made, err := p.New(fmt.Appendf(nil, `{"name":"n%d","age":"%d","address":{"lines":[{"zip":%d}]}}`, g, i%256, i))
				if err != nil || made.(person).Name != fmt.Sprint("n", g) || made.(person).Address.Lines[0].Zip != i || made.(person).Boss != nil {
					done <- fmt.Errorf("%+v: %w", made, err)
					return
				}
			}
			done <- nil
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestAllocations(t *testing.T) {
	p := mustCompile[schedule](t)
	allocs := testing.AllocsPerRun(200, func() {
		if _, err := p.New(scheduleJSON); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 3 { // the value, and one string that all its strings share; the race detector adds one now and then
		t.Errorf("%v allocations", allocs)
	}
	if made := mustNew[schedule](t, string(scheduleJSON)); made.Distance != 1400 || !made.Departure.Equal(time.Unix(1357017300, 0)) {
		t.Errorf("got %+v", made)
	}
}

func TestErrorsAreJSONFree(t *testing.T) {
	var syntax *json.SyntaxError
	if _, err := mustCompile[line](t).New([]byte(`{`)); errors.As(err, &syntax) {
		t.Error("a fault of the data carries an error of encoding/json")
	}
}
