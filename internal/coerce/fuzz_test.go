package coerce

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"
	"unicode/utf8"
)

// loose has only fields for which, whatever both accept, encoding/json and we must agree.
type loose struct {
	B bool           `json:"b"`
	I int            `json:"i"`
	U uint8          `json:"u"`
	F float64        `json:"f"`
	G float32        `json:"g"`
	S string         `json:"s"`
	T time.Time      `json:"t"`
	Y []byte         `json:"y"`
	L []*loose       `json:"l"`
	A [2]string      `json:"a"`
	M map[string]int `json:"m"`
	N map[int]string `json:"n"`
	X any            `json:"x"`
	P *loose         `json:"p"`
	R json.Number    `json:"r"`
}

var fuzzSeeds = []string{
	`{}`, `null`, ` {"b":true,"i":-7,"u":255,"f":1e3,"g":0.1,"s":"\u00e9\ud83d\ude00\n"} `, `{"t":"2015-02-09T12:34:56.789+02:00"}`,
	`{"t":"2015-02-09 12:34:56.7","i":"031","f":"1.5","b":"TRUE"}`, `{"y":"aGk=","l":[{},null,{"l":[]}],"a":["x","y"],"m":{"k":1},"n":{"-1":"z"}}`,
	`{"x":{"a":[1,2.5,"s",null,true]},"p":{"p":{"p":null}},"r":1.50}`, `{"i":1,"i":2,"I":3}`, `{"u":256,"i":1e400,"s":1,"zz":[[{"]":"}"}]]}`,
	`{"s":"\ud800\u0041\\\"\/\b\f\r\t","t":1423485296789}`, "{\"s\":\"\xff\"}", `{"i":"1e99999999999"}`, `{"r":"-0.5E+10","t":-1}`, `[`, `{"a":["x"]}`,
}

// FuzzNew looks for panics, for values that encoding/json reads differently, and for errors that say nothing.
func FuzzNew(f *testing.F) {
	for _, seed := range fuzzSeeds {
		f.Add([]byte(seed))
	}
	p := mustCompile[loose](f)
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		made, err := p.New(data)
		if !bytes.Equal(before, data) {
			t.Fatal("the data was changed")
		}
		if err != nil {
			checkFaults(t, err)
			return
		}
		var want loose
		d := json.NewDecoder(bytes.NewReader(data))
		d.DisallowUnknownFields()
		if d.Decode(&want) != nil {
			return
		}
		inUTC(&want)
		if !reflect.DeepEqual(made, want) {
			t.Fatalf("%s\nours   %+v\ntheirs %+v", data, made, want)
		}
	})
}

func checkFaults(t *testing.T, err error) {
	e, ok := err.(*Error)
	if !ok || len(e.Faults) == 0 {
		t.Fatalf("got %T: %v", err, err)
	}
	for _, fault := range e.Faults {
		if fault.Problem == "" || len(fault.Path) > 2000 || len(fault.Problem) > 600 || !utf8.ValidString(fault.String()) {
			t.Fatalf("the fault %q", fault)
		}
	}
}

func inUTC(l *loose) {
	if l == nil {
		return
	}
	l.T = l.T.UTC()
	inUTC(l.P)
	for _, item := range l.L {
		inUTC(item)
	}
}

// FuzzValid holds our check of the syntax against that of encoding/json.
func FuzzValid(f *testing.F) {
	for _, seed := range fuzzSeeds {
		f.Add([]byte(seed))
	}
	for _, seed := range []string{`01`, `-`, `1.`, `1e+`, `-0.0E-0`, `"\u12g4"`, `"\x"`, "\"\x1f\"", `[1,]`, `{"a":1,}`, `{"a"}`, `tru`, `nul`, `[}`, `1 2`, "\ufeff1"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, want := valid(data), json.Valid(data) && utf8.Valid(data); got != want {
			t.Fatalf("%q: got %v, want %v", data, got, want)
		}
	})
}

func TestValidAtTheLimitOfNesting(t *testing.T) {
	for _, n := range []int{9999, 10000, 10001} {
		for _, pair := range []string{"[]", "{}"} {
			data := []byte{}
			for range n {
				if data = append(data, pair[0]); pair[0] == '{' {
					data = append(data, `"":`...)
				}
			}
			data = append(data, '1')
			data = append(data, bytes.Repeat([]byte{pair[1]}, n)...)
			if got, want := valid(data), json.Valid(data); got != want {
				t.Errorf("%d of %s: got %v, want %v", n, pair, got, want)
			}
		}
	}
}
