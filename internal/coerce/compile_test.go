package coerce

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

type base1 struct {
	ID   int `json:"id" validate:"min=3"`
	Note string
}

type embedding struct {
	base1
	Note []int // hides the one that is embedded
}

func TestEmbeddedFieldsArePromoted(t *testing.T) {
	got := mustNew[embedding](t, `{"id":"7","Note":["1"]}`)
	if !reflect.DeepEqual(got, embedding{base1{ID: 7}, []int{1}}) {
		t.Errorf("got %+v", got)
	}
	sameFaults[embedding](t, `{"id":1,"base1":{}}`, "base1 is unknown", "id must be at least 3")
}

func TestRest(t *testing.T) {
	type rest struct {
		A    int            `json:"a"`
		Rest map[string]any `json:"-" cqrs:"rest"`
	}
	got := mustNew[rest](t, `{"b":"1","a":"1","Rest":{"c":[2]}}`)
	if !reflect.DeepEqual(got, rest{1, map[string]any{"b": "1", "Rest": map[string]any{"c": []any{2.0}}}}) {
		t.Errorf("got %+v", got)
	}
	if got := mustNew[rest](t, `{"a":1}`); got.Rest != nil {
		t.Errorf("got %+v", got)
	}
	sameFaults[rest](t, `{"b":1,"b":2,"c":1e400}`, "b stands twice in the data",
		"c is 1e400: json: cannot unmarshal number 1e400 into Go value of type float64")
}

func TestManyFields(t *testing.T) {
	var fields []reflect.StructField
	for i := range 70 {
		fields = append(fields, reflect.StructField{Name: fmt.Sprintf("F%d", i), Type: reflect.TypeFor[int]()})
	}
	p, err := Compile(reflect.StructOf(fields))
	if err != nil {
		t.Fatal(err)
	}
	made, err := p.New([]byte(`{"F69":"5","F3":1}`))
	if err != nil || reflect.ValueOf(made).Field(69).Int() != 5 || reflect.ValueOf(made).Field(3).Int() != 1 {
		t.Errorf("got %+v, %v", made, err)
	}
	if _, err := p.New([]byte(`{"F69":1,"F69":1}`)); err == nil {
		t.Error("a key stood twice, and was taken")
	}
}

type unusable struct {
	Ch   chan int
	Ch2  chan int
	Fn   func()
	Ok   int
	In   []struct{ C complex64 }
	St   fmt.Stringer
	Keys map[float64]int
	PP   **int
	Str  string `json:"str,string"`
	//lint:ignore SA5008 it is here to be refused
	Odd  int            `json:"a\"b"`
	Rest map[string]int `cqrs:"rest"`
	*line
	uuid.UUID
	netip.Addr
}

func TestCompileListsAllProblems(t *testing.T) {
	_, err := Compile(reflect.TypeFor[unusable]())
	e, ok := err.(*TypeError)
	if !ok {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{
		"field Ch is a chan int", "field Ch2 is a chan int", "field Fn is a func()", "field In[].C is a complex64", "field St is a fmt.Stringer", "field Keys is a map[float64]int",
		"field PP is a **int", "field str is a string with the json option", "field Odd has a json name", "field Addr is an embedded netip.Addr",
		"field Rest is tagged cqrs", "field line is an embedded pointer",
	} {
		if !slices.ContainsFunc(e.Problems, func(p string) bool { return strings.HasPrefix(p, want) }) {
			t.Errorf("nothing begins with %q in\n%s", want, strings.Join(e.Problems, "\n"))
		}
	}
	if len(e.Problems) != 12 {
		t.Errorf("%d problems:\n%s", len(e.Problems), strings.Join(e.Problems, "\n"))
	}
	for _, typ := range []reflect.Type{nil, reflect.TypeFor[int](), reflect.TypeFor[**line](), reflect.TypeFor[map[string]int]()} {
		if _, err := Compile(typ); err == nil {
			t.Errorf("%v was compiled", typ)
		}
	}
}

func TestCompileRefusesTwoOfOneName(t *testing.T) {
	number := reflect.TypeFor[int]()
	field := func(name, tag string) reflect.StructField {
		return reflect.StructField{Name: name, Type: number, Tag: reflect.StructTag(tag)}
	}
	_, err := Compile(reflect.StructOf([]reflect.StructField{field("A", `json:"two"`), field("B", `json:"two"`), field("C", "")}))
	if err == nil || !strings.HasSuffix(err.Error(), ": field two stands for two fields: rename one") {
		t.Errorf("got %v", err)
	}
}

func TestCompileRefusesACommandReadFromText(t *testing.T) {
	type embeds struct {
		uuid.UUID // and with it its UnmarshalText
		Name      string
	}
	_, err := Compile(reflect.TypeFor[embeds]())
	if err == nil || !strings.Contains(err.Error(), "UnmarshalText") {
		t.Errorf("got %v", err)
	}
}

type unseen struct {
	//lint:ignore U1000 it is here to be refused
	name string
}

func TestCompileRefusesWhatJSONSeesNothingOf(t *testing.T) {
	_, err := Compile(reflect.TypeFor[unseen]())
	if err == nil || !strings.HasSuffix(err.Error(), "field name is not exported, nor is any other: JSON sees nothing of the type") {
		t.Errorf("got %v", err)
	}
	type embeds struct{ line }
	for _, typ := range []reflect.Type{
		reflect.TypeFor[struct{}](), reflect.TypeFor[struct{ _ int }](), reflect.TypeFor[embeds](), reflect.TypeFor[person](), reflect.TypeFor[time.Time](),
	} {
		if field := Unseen(typ); field != "" {
			t.Errorf("%v: %s", typ, field)
		}
	}
}

func TestCompileRefusesBadRules(t *testing.T) {
	type inner struct {
		A int `validate:"no_such_rule"`
	}
	_, err := Compile(reflect.TypeFor[one[[]*inner]]())
	if err == nil || !strings.Contains(err.Error(), "inner has a validate tag that can't be used: Undefined validation function 'no_such_rule'") {
		t.Errorf("got %v", err)
	}
}
