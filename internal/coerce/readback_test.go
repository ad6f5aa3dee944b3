package coerce

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

type backLevel string

type backInner struct {
	X int8
	Y [2]float32 `json:"y"`
}

// backAll has every kind of field that can be read back.
type backAll struct {
	S  string    `json:"s"`
	L  backLevel `json:"level,omitempty"`
	B  bool      `json:"b"`
	I  int
	I8 int8 `json:"i8,omitempty"`
	U  uint64
	U8 uint8   `json:"u-8"`
	F  float64 `json:"f"`
	G  float32
	ID uuid.UUID `json:"id"`
	A  [3]byte
	N  backInner `json:"n"`
	E  struct{}
}

func anyBack(t *rapid.T) backAll {
	text := rapid.OneOf(rapid.StringMatching(`[a-z0-9 /:]{0,12}`), rapid.String())
	v := backAll{
		S: text.Draw(t, "s"), L: backLevel(text.Draw(t, "l")), B: rapid.Bool().Draw(t, "b"),
		I: rapid.Int().Draw(t, "i"), I8: rapid.Int8().Draw(t, "i8"), U: rapid.Uint64().Draw(t, "u"), U8: rapid.Uint8().Draw(t, "u8"),
		F: rapid.Float64().Draw(t, "f"), G: rapid.Float32().Draw(t, "g"),
		N: backInner{X: rapid.Int8().Draw(t, "x"), Y: [2]float32{rapid.Float32().Draw(t, "y"), 0.5}},
	}
	copy(v.ID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
	copy(v.A[:], rapid.SliceOfN(rapid.Byte(), 3, 3).Draw(t, "a"))
	return v
}

var backType = reflect.TypeFor[backAll]()

// What json.Marshal writes is taken, and comes back equal.
func TestReadBack(t *testing.T) {
	b := NewReadBack(backType)
	rapid.Check(t, func(t *rapid.T) {
		want := anyBack(t)
		data, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := b.Read(data)
		if !ok || got != want {
			t.Fatalf("taken: %v: %s\ngot    %+v\nwanted %+v", ok, data, got, want)
		}
	})
}

// Whatever is taken of other data, json.Unmarshal makes the same value of it.
func TestReadBackOfAnything(t *testing.T) {
	b := NewReadBack(backType)
	rapid.Check(t, func(t *rapid.T) {
		data, _ := json.Marshal(anyBack(t))
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			data = spoil(t, data)
		}
		sameAsJSON(t, b, data)
	})
}

// spoil cuts a piece out, doubles one, or writes something over it.
func spoil(t *rapid.T, data []byte) []byte {
	from := rapid.IntRange(0, len(data)).Draw(t, "from")
	to := rapid.IntRange(from, min(from+rapid.SampledFrom([]int{0, 1, 1, 2, 30}).Draw(t, "length"), len(data))).Draw(t, "to")
	by := rapid.SampledFrom([]string{"", "", string(data[from:to]) + string(data[from:to]), "0", "-", ".", "e5", "null", " ", "\"", ",", "\xff",
		"\\", `\n`, `\u0026`, `\ud800`, `\u002`, `\x`, `\u+123`, "00", "1e400", "+1", "0x1", "_", "[", "}", "é", "Inf", "\t", "tru"}).Draw(t, "by")
	return []byte(string(data[:from]) + by + string(data[to:]))
}

type fatal interface{ Fatalf(string, ...any) }

func sameAsJSON(t fatal, b *ReadBack, data []byte) {
	got, ok := b.Read(data)
	if !ok {
		return
	}
	var want backAll
	if err := json.Unmarshal(data, &want); err != nil || got != want {
		t.Fatalf("%q\ngot    %+v\nwanted %+v, %v", data, got, want, err)
	}
}

var backSeeds = []string{
	`{}`, `{"s":"a"}`, `{"b":false,"I":-0}`, `{"I":01}`, `{"U":18446744073709551616}`, `{"u-8":256}`, `{"f":1.}`, `{"f":.5}`, `{"f":1e400}`, `{"f":0x1p1}`,
	`{"f":Inf}`, `{"f":1_0}`, `{"S":"a"}`, `{"s":"a","s":"b"}`, `{"I":1,"s":"a"}`, `{"s":"a",}`, `{"s":"a"} `, `{"A":[1,2]}`, `{"A":[1,2,3,4]}`,
	`{"id":"6ba7b810-9dad-11d1-80b4-00c04fd430c8"}`, `{"id":"{6ba7b810-9dad-11d1-80b4-00c04fd430c8}"}`, `{"id":"6ba7b810x9dad-11d1-80b4-00c04fd430c8"}`,
	`{"s":null}`, "{\"s\":\"\xff\"}", "{\"s\":\"\t\"}", `{"n":{"X":-128,"y":[1,2]},"E":{}}`, `{"n":{"X":-129}}`, `{"s":"a"`, `{`, ``, `null`,
}

func FuzzReadBack(f *testing.F) {
	for _, seed := range backSeeds {
		f.Add([]byte(seed))
	}
	b := NewReadBack(backType)
	f.Fuzz(func(t *testing.T, data []byte) { sameAsJSON(t, b, data) })
}

// A value that was read keeps its text when the data is used again, and nothing of it is left for the next one.
func TestReadBackCopies(t *testing.T) {
	b := NewReadBack(backType)
	data := []byte(`{"s":"first","U":7}`)
	got, _ := b.Read(data)
	copy(data, strings.Repeat("x", len(data)))
	if next, ok := b.Read([]byte(`{"I":1}`)); !ok || next != (backAll{I: 1}) {
		t.Errorf("the next one is %+v", next)
	}
	if got != (backAll{S: "first", U: 7}) {
		t.Errorf("got %+v", got)
	}
	if next, ok := b.Read([]byte(`{"s":"half","I":`)); ok {
		t.Errorf("half a text gives %+v", next)
	}
	if next, _ := b.Read([]byte(`{}`)); next != (backAll{}) {
		t.Errorf("something is left: %+v", next)
	}
}

// A plan makes the same of data whether it is read back or walked through.
func TestPlanReadsBackTheSame(t *testing.T) {
	type checked struct {
		Name string     `json:"name" validate:"required,min=2"`
		N    int        `json:"n" validate:"min=0"`
		B    bool       `json:"b"`
		F    float32    `json:"f"`
		ID   uuid.UUID  `json:"id"`
		A    [2]backAll `json:"a"`
	}
	fast, slow := mustCompile[checked](t), mustCompile[checked](t)
	if slow.back = nil; fast.back == nil {
		t.Fatal("nothing is read back")
	}
	rapid.Check(t, func(t *rapid.T) {
		v := checked{Name: rapid.String().Draw(t, "name"), N: rapid.Int().Draw(t, "n"), B: true, A: [2]backAll{anyBack(t), anyBack(t)}}
		data, _ := json.Marshal(v)
		for range rapid.IntRange(0, 2).Draw(t, "changes") {
			data = spoil(t, data)
		}
		got, err := fast.New(data)
		want, wantErr := slow.New(data)
		if got != want || fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Fatalf("%s\ngot    %+v, %v\nwanted %+v, %v", data, got, err, want, wantErr)
		}
	})
}

// A short text does not keep a long one in memory.
func TestReadBackOfLongData(t *testing.T) {
	type two struct{ Short, Long string }
	b := NewReadBack(reflect.TypeFor[two]())
	data, _ := json.Marshal(two{"short", strings.Repeat("x", shareBelow)})
	v, ok := b.Read(data)
	short, long := v.(two).Short, v.(two).Long
	if between := int(uintptr(unsafe.Pointer(unsafe.StringData(long))) - uintptr(unsafe.Pointer(unsafe.StringData(short)))); !ok || between == len(`short","Long":"`) {
		t.Errorf("taken: %v; the long text stands %d bytes behind the short one", ok, between)
	}
}

func TestNewReadBackRefuses(t *testing.T) {
	for _, typ := range []reflect.Type{
		reflect.TypeFor[*backAll](), reflect.TypeFor[string](), reflect.TypeFor[struct{ P *int }](), reflect.TypeFor[struct{ L []int }](),
		reflect.TypeFor[struct {
			A int `json:"a&b"`
		}](), reflect.TypeFor[struct {
			A int `json:"a,string"`
		}](), uuidType,
	} {
		if NewReadBack(typ) != nil {
			t.Errorf("%v is taken", typ)
		}
	}
	if NewReadBack(reflect.TypeFor[struct{ F float64 }]()) == nil {
		t.Error("a plain struct is refused")
	}
}

func BenchmarkReadBack(b *testing.B) {
	typ := reflect.TypeFor[schedulePlain]()
	r := NewReadBack(typ)
	data, _ := json.Marshal(schedulePlain{"UA1545/2013-01-01/EWR", "UA1545", "UA", "EWR", "IAH", "2013-01-01 05:15:00.0", "1400", "N14228"})
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, ok := r.Read(data); !ok {
			b.Fatal("not taken")
		}
	}
}
