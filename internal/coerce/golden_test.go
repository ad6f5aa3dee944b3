package coerce

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// goldenTypes gives the Go type that stands for each schema of the original.
var goldenTypes = map[string]reflect.Type{
	"#{s/Int}": reflect.TypeFor[struct {
		F []int64 `json:"f" validate:"required,unique"`
	}](),
	`(s/enum "a" "b")`: reflect.TypeFor[struct {
		F string `json:"f" validate:"oneof=a b"`
	}](),
	"(s/enum :a :b)": reflect.TypeFor[struct {
		F string `json:"f" validate:"oneof=a b"`
	}](),
	"(s/maybe s/Int)": reflect.TypeFor[one[*int64]](),
	"Double":          reflect.TypeFor[one[float64]](),
	"Long":            reflect.TypeFor[one[int64]](),
	"[s/Int]":         reflect.TypeFor[one[[]int64]](),
	"s/Any":           reflect.TypeFor[one[any]](),
	"s/Bool":          reflect.TypeFor[one[bool]](),
	"s/Inst":          reflect.TypeFor[one[time.Time]](),
	"s/Int":           reflect.TypeFor[one[int64]](),
	"s/Keyword":       reflect.TypeFor[one[string]](),
	"s/Num":           reflect.TypeFor[one[float64]](),
	"s/Str":           reflect.TypeFor[one[string]](),
	"s/Uuid":          reflect.TypeFor[one[uuid.UUID]](),
	"string_to_inst":  reflect.TypeFor[one[time.Time]](),
	"util/Inst":       reflect.TypeFor[one[time.Time]](),
	"{:n s/Int}": reflect.TypeFor[one[struct {
		N *int64 `json:"n" validate:"required"` // a pointer, so that 0 is there
	}]](),
}

// one is a command with one field.
type one[T any] struct {
	F T `json:"f"`
}

const (
	noSuchJSON = "JSON has no keywords, sets or Joda instants"
	dates      = "the original's field schema refused what its own date function had read; dates are wanted"
)

// deviations are the rows where we want something else than the original, by schema and input: what we give ("" is a fault), and why.
var deviations = map[string]struct{ want, why string }{
	`(s/enum "a" "b") {"kw":"a"}`:                  {"", noSuchJSON},
	`(s/enum :a :b) {"kw":"a"}`:                    {"", noSuchJSON},
	`[s/Int] {"set":[{"int":"1"}]}`:                {"", noSuchJSON},
	`s/Str {"kw":"k"}`:                             {"", noSuchJSON},
	`util/Inst {"joda_instant_ms":1423485296789}`:  {"", noSuchJSON},
	`Double {"int":"3"}`:                           {"3", "Go programs write whole floats without a point"},
	`Double {"str":"1e400"}`:                       {"", "it is out of range; Infinity is another number"},
	`s/Num {"str":"1e400"}`:                        {"", "it is out of range; Infinity is another number"},
	`s/Num {"str":"##NaN"}`:                        {"", "a Clojure literal, and no number"},
	`s/Num {"str":"1/3"}`:                          {"", "Go has no ratios"},
	`s/Bool {"str":""}`:                            {"", "nothing is not false"},
	`s/Int {"str":"08"}`:                           {"8", "the original took the leading zero for octal"},
	`s/Int {"str":"33 44"}`:                        {"", "the original read the first word only"},
	`s/Int {"str":"1N"}`:                           {"", "a Clojure literal"},
	`s/Int {"str":"99999999999999999999"}`:         {"", "it does not fit in an int64; a big.Int takes it"},
	`s/Uuid {"str":"1-1-1-1-1"}`:                   {"", "it is no uuid in the usual form"},
	`s/Inst {"str":"2015-02-09"}`:                  {"2015-02-09T00:00:00Z", dates},
	`s/Inst {"int":"1423485296789"}`:               {"2015-02-09T12:34:56.789Z", dates},
	`util/Inst {"str":"2015-02-09"}`:               {"2015-02-09T00:00:00Z", dates},
	`util/Inst {"str":"2015-02-09 12:34:56.7"}`:    {"2015-02-09T12:34:56.7Z", dates},
	`util/Inst {"str":"2015-02-09T12:34:56Z"}`:     {"2015-02-09T12:34:56Z", dates},
	`util/Inst {"str":"1423485296789"}`:            {"2015-02-09T12:34:56.789Z", dates},
	`util/Inst {"int":"1423485296"}`:               {"2015-02-09T12:34:56Z", dates},
	`string_to_inst {"str":"2015-02-09 12:34:56"}`: {"2015-02-09T12:34:56Z", "seconds without a fraction are common"},
	`string_to_inst {"int":"1423485296"}`:          {"2015-02-09T12:34:56Z", "JSON numbers are epoch times too"},
	`string_to_inst {"str":"9223372036854775807"}`: {"", "no year that can be written"},
	`string_to_inst {"str":"15-02-09"}`:            {"", "the original read the year 15; it may be 2015, or a day"},
}

type goldenRow struct {
	In  json.RawMessage `json:"in"`
	Out json.RawMessage `json:"out"`
	OK  bool            `json:"ok"`
}

type goldenFile struct {
	Fields       map[string][]goldenRow `json:"fields"`
	StringToInst struct {
		Vectors []goldenRow `json:"vectors"`
	} `json:"string_to_inst"`
}

func readGolden(t *testing.T) goldenFile {
	data, err := os.ReadFile("testdata/coercion.json")
	if err != nil {
		t.Fatal(err)
	}
	var file goldenFile
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	for i, row := range file.StringToInst.Vectors {
		// A date function that gives its input back has not understood it.
		file.StringToInst.Vectors[i].OK = strings.Contains(string(row.Out), "inst_ms")
	}
	file.Fields["string_to_inst"] = file.StringToInst.Vectors
	return file
}

// TestGolden runs every row of the original's cases. A row matches, or is named as a deviation with its reason; a deviation that matches
// after all, or has no row, is a failure too.
func TestGolden(t *testing.T) {
	used, rows := map[string]bool{}, 0
	for schema, cases := range readGolden(t).Fields {
		for _, row := range cases {
			rows++
			name := schema + " " + compact(row.In)
			used[name] = true
			t.Run(name, func(t *testing.T) { checkGolden(t, schema, name, row) })
		}
	}
	for name := range deviations {
		if !used[name] {
			t.Errorf("no row for the deviation %s", name)
		}
	}
	if rows != 84 {
		t.Errorf("%d rows, the file should have 84", rows)
	}
}

func checkGolden(t *testing.T, schema, name string, row goldenRow) {
	original := ""
	if row.OK {
		original = show(untag(row.Out))
	}
	want := original
	d, deviates := deviations[name]
	if deviates {
		want = d.want
		if want == original && d.why != noSuchJSON {
			t.Error("this is no deviation")
		}
	}
	if d.why == noSuchJSON {
		return
	}
	if got := coerceOne(t, goldenTypes[schema], untag(row.In)); got != want {
		t.Errorf("got %q, want %q, the original gave %q", got, want, original)
	}
}

// coerceOne gives the field f made of the value, as text, or "" for a fault.
func coerceOne(t *testing.T, typ reflect.Type, value any) string {
	t.Helper()
	data, err := json.Marshal(map[string]any{"f": value})
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(typ)
	if err != nil {
		t.Fatal(err)
	}
	made, err := p.New(data)
	if err != nil {
		return ""
	}
	return show(reflect.ValueOf(made).Field(0).Interface())
}

func show(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("%s", v)
	}
	if string(b) == "null" {
		return "[]"
	}
	return strings.Trim(string(b), `"`)
}

func compact(raw json.RawMessage) string {
	var v any
	_ = json.Unmarshal(raw, &v)
	b, _ := json.Marshal(v)
	return string(b)
}

// untag takes the type tags off a value of the golden file.
func untag(raw json.RawMessage) any {
	var tagged map[string]json.RawMessage
	if json.Unmarshal(raw, &tagged) != nil || len(tagged) != 1 {
		return nil
	}
	for tag, value := range tagged {
		return untagged(tag, value)
	}
	return nil
}

func untagged(tag string, value json.RawMessage) any {
	var s string
	_ = json.Unmarshal(value, &s)
	switch tag {
	case "int", "float", "bigint":
		return json.RawMessage(strings.Trim(string(value), `"`))
	case "inst_ms":
		var ms int64
		_ = json.Unmarshal(value, &ms)
		return time.UnixMilli(ms).UTC()
	case "list":
		var items []json.RawMessage
		_ = json.Unmarshal(value, &items)
		all := []any{}
		for _, item := range items {
			all = append(all, untag(item))
		}
		return all
	case "map":
		var entries map[string]json.RawMessage
		_ = json.Unmarshal(value, &entries)
		all := map[string]any{}
		for k, v := range entries {
			all[k] = untag(v)
		}
		return all
	case "bool":
		return value
	}
	return s
}

// TestGoldenRegister is the original's case "register-coerced-strings": an age in a string, and a key that the schema does not name.
func TestGoldenRegister(t *testing.T) {
	type register struct {
		Name  string                     `json:"name" validate:"required"`
		Email string                     `json:"email"`
		Age   int                        `json:"age"`
		Rest  map[string]json.RawMessage `json:"-" cqrs:"rest"`
	}
	got := mustNew[register](t, `{"age":"31","email":"b@x","extra":"kept","name":"Bob"}`)
	want := register{"Bob", "b@x", 31, map[string]json.RawMessage{"extra": json.RawMessage(`"kept"`)}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

func mustCompile[T any](t testing.TB) *Plan {
	t.Helper()
	p, err := Compile(reflect.TypeFor[T]())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustNew[T any](t testing.TB, data string) T {
	t.Helper()
	made, err := mustCompile[T](t).New([]byte(data))
	if err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	return made.(T)
}

// faultsOf gives the faults of data as texts; none at all fails the test.
func faultsOf[T any](t testing.TB, data string) []string {
	t.Helper()
	made, err := mustCompile[T](t).New([]byte(data))
	faults, ok := err.(*Error)
	if !ok || made != nil {
		t.Fatalf("%s: got %+v and error %v, want an *Error alone", data, made, err)
	}
	var texts []string
	for _, f := range faults.Faults {
		texts = append(texts, f.String())
	}
	return texts
}

func sameFaults[T any](t *testing.T, data string, want ...string) {
	t.Helper()
	if got := faultsOf[T](t, data); !slices.Equal(got, want) {
		t.Errorf("%s:\n got %s\nwant %s", data, fmt.Sprintf("%q", got), fmt.Sprintf("%q", want))
	}
}
