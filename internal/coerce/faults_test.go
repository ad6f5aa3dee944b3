package coerce

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
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
	Str  string         `json:"str,string"`
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

func TestCompileRefusesBadRules(t *testing.T) {
	type inner struct {
		A int `validate:"no_such_rule"`
	}
	_, err := Compile(reflect.TypeFor[one[[]*inner]]())
	if err == nil || !strings.Contains(err.Error(), "inner has a validate tag that can't be used: Undefined validation function 'no_such_rule'") {
		t.Errorf("got %v", err)
	}
}

type period struct {
	From int `json:"from"`
	To   int `json:"to" validate:"gtefield=From"`
	ran  *int
}

func (p period) Validate() error {
	if p.To == 13 {
		panic(errors.New("thirteen"))
	}
	if p.From > p.To {
		return errors.Join(errors.New("it ends before it begins"), errors.New("and so on"))
	}
	if p.From < 0 {
		return fmt.Errorf("a period with %w and %w", errors.New("one"), errors.New("two"))
	}
	return nil
}

func TestValidateMethod(t *testing.T) {
	sameFaults[period](t, `{"from":5,"to":3}`, "to breaks the rule gtefield=From", "it ends before it begins", "and so on")
	sameFaults[period](t, `{"from":-5,"to":3}`, "a period with one and two")
	// A value that could not be read is not validated: neither by Validate, nor by rules that compare with it.
	sameFaults[period](t, `{"from":5,"to":"x"}`, `to is "x", which is no whole number`)
	sameFaults[period](t, `{"from":"x","to":-1}`, `from is "x", which is no whole number`)
	if got := mustNew[period](t, `{"from":1,"to":3}`); got != (period{From: 1, To: 3}) {
		t.Errorf("got %+v", got)
	}
}

func TestPanicIsNoFault(t *testing.T) {
	p := mustCompile[period](t)
	made, err := p.New([]byte(`{"to":13}`))
	panicked, ok := err.(*PanicError)
	if !ok || made != nil || panicked.Value.(error).Error() != "thirteen" || !strings.Contains(string(panicked.Stack), "Validate") {
		t.Fatalf("got %v and %#v", made, err)
	}
	if panicked.Error() != "reading a coerce.period panicked: thirteen" || errors.Unwrap(err) == nil {
		t.Errorf("got %v", err)
	}
	if _, err := p.New([]byte(`{"to":14}`)); err != nil {
		t.Errorf("after a panic: %v", err)
	}
}

type cleaned struct {
	Name string
	self *cleaned
}

func (c *cleaned) Validate() error {
	c.Name, c.self = strings.TrimSpace(c.Name), c
	return nil
}

func TestValidateOfAPointer(t *testing.T) {
	p := mustCompile[cleaned](t)
	a, _ := p.New([]byte(`{"Name":" a "}`))
	_, _ = p.New([]byte(`{"Name":" b "}`))
	if got := a.(cleaned); got.Name != "a" || got.self.Name != "a" {
		t.Errorf("got %+v: the value was used again although its address was kept", got)
	}
	made, err := mustCompile[*cleaned](t).New([]byte(`{"Name":" c "}`))
	if got := made.(*cleaned); err != nil || got.self != got || got.Name != "c" {
		t.Errorf("got %+v, %v", got, err)
	}
}

// A rule on what holds a value that could not be read says nothing.
func TestRulesNearAFaultAreSilent(t *testing.T) {
	type holder struct {
		A struct {
			N int `json:"n" validate:"required"`
		} `json:"a" validate:"required"`
		AB int `json:"ab" validate:"required"`
	}
	sameFaults[holder](t, `{"a":{"n":"x"}}`, `a.n is "x", which is no whole number`, "ab is required")
}

func TestRuleTexts(t *testing.T) {
	type rules struct {
		Len    []int          `validate:"len=2"`
		Email  string         `validate:"email"`
		Eq     int            `validate:"eq=3"`
		Ne     string         `validate:"ne="`
		Gt     int            `validate:"gt=3"`
		Uniq   []int          `validate:"unique"`
		Alpha  string         `validate:"alpha"`
		Starts string         `validate:"startswith=a"`
		Map    map[string]int `validate:"dive,max=3"`
	}
	sameFaults[rules](t, `{"Len":[],"Email":"x","Uniq":[1,1],"Alpha":"1","Map":{"k":4}}`,
		"Len must have exactly 2 elements", "Email must be a valid email", "Eq must be 3", "Ne must not be ", "Gt must be more than 3",
		"Uniq must not hold the same twice", "Alpha breaks the rule alpha", "Starts breaks the rule startswith=a", "Map[k] must be at most 3")
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
