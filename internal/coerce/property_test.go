package coerce

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// plain holds what json.Marshal writes and New reads without loss.
type plain struct {
	Bool   bool
	Int    int64          `json:"int"`
	Small  int8           `json:"small,omitempty"`
	Uint   uint64         `json:"a.b"`
	Byte   uint8          `json:",string"`
	Float  float64        `json:"float"`
	Single float32        `json:"<single>&"`
	Text   string         `json:"text"`
	ID     uuid.UUID      `json:"id"`
	Wait   time.Duration  `json:"wait"`
	Bytes  []byte         `json:"bytes"`
	List   []inner        `json:"list"`
	Array  [3]int16       `json:"array"`
	Map    map[string]int `json:"map"`
	ByID   map[uint8]bool `json:"by_id"`
	Ptr    *inner         `json:"ptr"`
	Any    any            `json:"any"`
}

type inner struct {
	S string   `json:"s"`
	L []string `json:"l"`
	P *inner   `json:"p"`
}

var (
	texts  = rapid.String()
	inners = rapid.Custom(func(t *rapid.T) inner { return inner{texts.Draw(t, "s"), rapid.SliceOf(texts).Draw(t, "l"), nil} })
	plains = rapid.Custom(func(t *rapid.T) plain {
		p := plain{
			Bool: rapid.Bool().Draw(t, "bool"), Int: rapid.Int64().Draw(t, "int"), Small: rapid.Int8().Draw(t, "small"),
			Uint: rapid.Uint64().Draw(t, "uint"), Byte: rapid.Uint8().Draw(t, "byte"), Float: rapid.Float64().Draw(t, "float"),
			Single: rapid.Float32().Draw(t, "single"), Text: texts.Draw(t, "text"), Wait: time.Duration(rapid.Int64().Draw(t, "wait")),
			Bytes: rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"), List: rapid.SliceOf(inners).Draw(t, "list"),
			Map: rapid.MapOf(texts, rapid.Int()).Draw(t, "map"), ByID: rapid.MapOf(rapid.Uint8(), rapid.Bool()).Draw(t, "by id"),
			Ptr: rapid.Ptr(inners, true).Draw(t, "ptr"), Any: texts.Draw(t, "any"),
		}
		copy(p.ID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		for i := range p.Array {
			p.Array[i] = rapid.Int16().Draw(t, "element")
		}
		if p.Ptr != nil {
			p.Ptr.P = rapid.Ptr(inners, true).Draw(t, "ptr of ptr")
		}
		return p
	})
)

func TestMarshalThenNew(t *testing.T) {
	values, pointers := mustCompile[plain](t), mustCompile[*plain](t)
	rapid.Check(t, func(t *rapid.T) {
		want := plains.Draw(t, "value")
		data, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if rapid.Bool().Draw(t, "indented") {
			var b bytes.Buffer
			_ = json.Indent(&b, data, "\t", "\r\n ")
			data = b.Bytes()
		}
		for _, p := range []*Plan{values, pointers} {
			made, err := p.New(data)
			if err != nil {
				t.Fatalf("%s: %v", data, err)
			}
			if got := reflect.Indirect(reflect.ValueOf(made)).Interface(); !reflect.DeepEqual(got, want) {
				t.Fatalf("%s\n got %+v\nwant %+v", data, got, want)
			}
		}
	})
}

func TestTimesComeBack(t *testing.T) {
	p := mustCompile[one[time.Time]](t)
	rapid.Check(t, func(t *rapid.T) {
		zone := time.FixedZone("", 60*rapid.IntRange(-23*60-59, 23*60+59).Draw(t, "offset"))
		want := time.Unix(rapid.Int64Range(-62135510400, 253402214400).Draw(t, "seconds"), rapid.Int64Range(0, 999999999).Draw(t, "nanos"))
		data, err := json.Marshal(one[time.Time]{want.In(zone)})
		if err != nil {
			t.Fatal(err)
		}
		made, err := p.New(data)
		if err != nil || made.(one[time.Time]).F != want.UTC() {
			t.Fatalf("%s: got %v, %v, want %v", data, made, err, want.UTC())
		}
	})
}

// TestOneFormOneInstant compares the forms with one another, and with the parser of the standard library.
func TestOneFormOneInstant(t *testing.T) {
	p := mustCompile[one[time.Time]](t)
	rapid.Check(t, func(t *rapid.T) {
		want := time.Unix(rapid.Int64Range(-62135510400, 253402214400).Draw(t, "seconds"), 0).UTC()
		day := want.Truncate(24 * time.Hour)
		for layout, want := range map[string]time.Time{
			"2006-01-02": day, "2006-1-2": day, "2006/01/02": day, "2006/1/2": day, "2006-01-02 15:04:05": want, "2006-1-2 15:4:5.0": want,
			time.RFC3339: want, time.RFC3339Nano: want,
		} {
			text := want.Format(layout)
			made, err := p.New([]byte(`{"f":"` + text + `"}`))
			if err != nil || made.(one[time.Time]).F != want {
				t.Fatalf("%s: got %v, %v", text, made, err)
			}
		}
	})
}

type (
	flat struct {
		B bool
		I int `json:"i,omitempty"`
		J int8
		U uint64
		F float64 `json:",omitempty"`
		G float32
		S string `json:"<s>"`
		A [2]deep
		D time.Duration
		X uuid.UUID
		Y [3]byte
		M time.Month
	}
	deep struct {
		S string
		//lint:ignore SA5008 encoding/json takes it as the name "-"
		F float64 `json:"-,"`
	}
	Exported struct{ A int }
	named    string
	writer   struct{ A int }
)

func (writer) MarshalText() ([]byte, error) { return []byte("x"), nil }

func TestRoundTrips(t *testing.T) {
	for typ, want := range map[reflect.Type]bool{
		reflect.TypeFor[flat](): true, reflect.TypeFor[deep](): true, reflect.TypeFor[struct{}](): true, reflect.TypeFor[uuid.UUID](): true,
		reflect.TypeFor[one[named]](): true, reflect.TypeFor[[2]int](): true, reflect.TypeFor[one[time.Duration]](): true,
		reflect.TypeFor[*flat](): false, reflect.TypeFor[[]int](): false, reflect.TypeFor[one[*int]](): false, reflect.TypeFor[one[[]byte]](): false,
		reflect.TypeFor[one[map[string]int]](): false, reflect.TypeFor[one[any]](): false, reflect.TypeFor[time.Time](): false,
		reflect.TypeFor[one[[1]time.Time]](): false, reflect.TypeFor[one[json.Number]](): false, reflect.TypeFor[one[writer]](): false,
		reflect.TypeFor[one[color]](): false, reflect.TypeFor[one[pair]](): false, reflect.TypeFor[embedding](): false, reflect.TypeFor[period](): false,
		reflect.TypeFor[one[complex64]](): false, reflect.TypeFor[one[chan int]](): false, reflect.TypeFor[one[uintptr]](): false,
		reflect.TypeFor[struct {
			A int `json:"-"`
		}](): false,
		reflect.TypeFor[struct {
			A int `json:"x"`
			B int `json:"X"`
		}](): false,
		reflect.TypeFor[struct {
			A int `json:"k"`
			B int `json:"\u212a"` // the sign for Kelvin, which folds to k
		}](): false,
		reflect.TypeFor[struct {
			A int `json:",string"`
		}](): false,
		reflect.TypeFor[struct {
			A int `json:",omitzero"`
		}](): false,
		reflect.TypeFor[struct {
			A int
			_ int
		}](): false,
		reflect.TypeFor[struct{ Exported }](): false,
	} {
		if got := RoundTrips(typ); got != want {
			t.Errorf("%v: got %v", typ, got)
		}
	}
}

func TestRoundTripsTellsTheTruth(t *testing.T) {
	values := rapid.Make[flat]()
	rapid.Check(t, func(t *rapid.T) {
		want := values.Draw(t, "value")
		want.S, want.A[0].S, want.A[1].S = texts.Draw(t, "s"), texts.Draw(t, "s0"), texts.Draw(t, "s1")
		data, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got flat
		if err := json.Unmarshal(data, &got); err != nil || got != want {
			t.Fatalf("%s: got %+v, %v, want %+v", data, got, err, want)
		}
	})
}
