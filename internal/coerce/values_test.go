package coerce

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// value is a row of a table: the JSON of one field, and what it becomes, as text; the text of a fault begins with "is " or "has ".
type value struct{ json, want string }

func checkValues[T any](t *testing.T, rows []value) {
	t.Helper()
	p := mustCompile[one[T]](t)
	for _, row := range rows {
		made, err := p.New([]byte(`{"f":` + row.json + `}`))
		got := fmt.Sprint(err)
		if err == nil {
			got = fmt.Sprint(made.(one[T]).F)
		}
		if e, ok := err.(*Error); ok {
			got = e.Faults[0].Problem
			if len(e.Faults) != 1 || e.Faults[0].Path != "f" {
				t.Errorf("%s: faults %v, want one at f", row.json, e)
			}
		}
		if got != row.want {
			t.Errorf("%T from %s: got %q, want %q", *new(T), row.json, got, row.want)
		}
	}
}

func noWhole(shown string) string { return "is " + shown + ", which is no whole number" }

func TestInts(t *testing.T) {
	checkValues[int64](t, []value{
		{`0`, "0"}, {`-0`, "0"}, {`33`, "33"}, {`-7`, "-7"}, {`"33"`, "33"}, {`"-7"`, "-7"}, {`"+7"`, "7"}, {`"031"`, "31"}, {`"08"`, "8"},
		{`"-0"`, "0"}, {`"33.0"`, "33"}, {`"1e3"`, "1000"}, {`"1.5E1"`, "15"}, {`"1500e-2"`, "15"}, {`"0e99999999999999999999"`, "0"},
		{`"000000000000000000000000000000000000000000000012"`, "12"}, {`"\u0033\u0033"`, "33"},
		{`9223372036854775807`, "9223372036854775807"}, {`"-9223372036854775808"`, "-9223372036854775808"},
		{`9223372036854775808`, "is 9223372036854775808, which does not fit in int64 (-9223372036854775808 to 9223372036854775807)"},
		{`"-9223372036854775809"`, `is "-9223372036854775809", which does not fit in int64 (-9223372036854775808 to 9223372036854775807)`},
		{`"18446744073709551617"`, `is "18446744073709551617", which does not fit in int64 (-9223372036854775808 to 9223372036854775807)`},
		{`"1e99999999999999999999"`, `is "1e99999999999999999999", which does not fit in int64 (-9223372036854775808 to 9223372036854775807)`},
		{`33.0`, noWhole("33.0")}, {`33.5`, noWhole("33.5")}, {`1e3`, noWhole("1e3")}, {`"33.5"`, noWhole(`"33.5"`)},
		{`"1e-1"`, noWhole(`"1e-1"`)}, {`"1e-99999999999999999999"`, noWhole(`"1e-99999999999999999999"`)},
		{`"33 44"`, noWhole(`"33 44"`)}, {`"1/2"`, noWhole(`"1/2"`)}, {`""`, noWhole(`""`)}, {`"0x10"`, noWhole(`"0x10"`)},
		{`"1_000"`, noWhole(`"1_000"`)}, {`" 33"`, noWhole(`" 33"`)}, {`"33 "`, noWhole(`"33 "`)}, {`"33\n"`, noWhole(`"33\n"`)},
		{`"1N"`, noWhole(`"1N"`)}, {`"-"`, noWhole(`"-"`)}, {`"--1"`, noWhole(`"--1"`)}, {`"1e"`, noWhole(`"1e"`)}, {`"1e+"`, noWhole(`"1e+"`)},
		{`"33."`, noWhole(`"33."`)}, {`".5"`, noWhole(`".5"`)}, {`"1,000"`, noWhole(`"1,000"`)}, {`"١٢"`, noWhole(`"١٢"`)},
		{`"x"`, noWhole(`"x"`)}, {`true`, noWhole("true")}, {`null`, noWhole("null")}, {`{}`, noWhole("an object")}, {`[1]`, noWhole("a list")},
		{`"` + strings.Repeat("é", 30) + `"`, noWhole(`"` + strings.Repeat("é", 20) + `..."`)},
	})
	checkValues[int8](t, []value{
		{`127`, "127"}, {`"-128"`, "-128"}, {`128`, "is 128, which does not fit in int8 (-128 to 127)"},
		{`-129`, "is -129, which does not fit in int8 (-128 to 127)"},
	})
	checkValues[uint8](t, []value{
		{`255`, "255"}, {`"255"`, "255"}, {`-0`, "0"}, {`256`, "is 256, which does not fit in uint8 (0 to 255)"},
		{`-1`, "is -1, which does not fit in uint8 (0 to 255)"},
	})
	checkValues[uint64](t, []value{
		{`18446744073709551615`, "18446744073709551615"},
		{`18446744073709551616`, "is 18446744073709551616, which does not fit in uint64 (0 to 18446744073709551615)"},
		{`"99999999999999999999"`, `is "99999999999999999999", which does not fit in uint64 (0 to 18446744073709551615)`},
	})
}

func TestBigInt(t *testing.T) {
	checkValues[*big.Int](t, []value{
		{`"99999999999999999999"`, "99999999999999999999"}, {`99999999999999999999`, "99999999999999999999"}, {`"031"`, "31"},
		{`"-1e3"`, "-1000"}, {`0`, "0"}, {`null`, "<nil>"}, {`"0x10"`, noWhole(`"0x10"`)}, {`"1_000"`, noWhole(`"1_000"`)},
		{`"1e999999999"`, `is "1e999999999", which has more than 4096 digits`}, {`1.5`, noWhole("1.5")},
	})
	got := mustNew[one[big.Int]](t, `{"f":"-12"}`)
	if got.F.String() != "-12" {
		t.Errorf("got %s", got.F.String())
	}
}

func TestFloats(t *testing.T) {
	noNumber := func(shown string) string { return "is " + shown + ", which is no number" }
	checkValues[float64](t, []value{
		{`1.5`, "1.5"}, {`3`, "3"}, {`"1.5"`, "1.5"}, {`"3"`, "3"}, {`"-1e3"`, "-1000"}, {`1e400`, "is 1e400, which is too large for a float64"},
		{`"1e400"`, `is "1e400", which is too large for a float64`}, {`"1e-400"`, "0"}, {`"NaN"`, noNumber(`"NaN"`)}, {`"Inf"`, noNumber(`"Inf"`)},
		{`"-infinity"`, noNumber(`"-infinity"`)}, {`"0x1p-2"`, noNumber(`"0x1p-2"`)}, {`"1_0"`, noNumber(`"1_0"`)}, {`""`, noNumber(`""`)},
		{`"1/3"`, noNumber(`"1/3"`)}, {`"1.5.5"`, noNumber(`"1.5.5"`)}, {`" 1"`, noNumber(`" 1"`)}, {`true`, noNumber("true")}, {`null`, noNumber("null")},
	})
	checkValues[float32](t, []value{{`"0.1"`, "0.1"}, {`1e39`, "is 1e39, which is too large for a float32"}})
	checkValues[json.Number](t, []value{
		{`1.50`, "1.50"}, {`"1e400"`, "1e400"}, {`"x"`, noNumber(`"x"`)}, {`"01"`, noNumber(`"01"`)}, {`"1-"`, noNumber(`"1-"`)},
	})
}

func TestBools(t *testing.T) {
	no := func(shown string) string { return "is " + shown + ", which is neither true nor false" }
	checkValues[bool](t, []value{
		{`true`, "true"}, {`false`, "false"}, {`"true"`, "true"}, {`"False"`, "false"}, {`"TRUE"`, "true"}, {`""`, no(`""`)}, {`"1"`, no(`"1"`)},
		{`1`, no("1")}, {`0`, no("0")}, {`"yes"`, no(`"yes"`)}, {`null`, no("null")}, {`[]`, no("a list")},
	})
}

func TestStrings(t *testing.T) {
	no := func(shown string) string { return "is " + shown + ", which is no text" }
	checkValues[string](t, []value{
		{`"a"`, "a"}, {`""`, ""}, {`"a\"b\\c\/d\n\t\r\b\f"`, "a\"b\\c/d\n\t\r\b\f"}, {`"\u00e9\u20AC"`, "é€"}, {`"\ud83d\ude00"`, "😀"},
		{`"\ud83d"`, "\ufffd"}, {`"\ud83dx"`, "\ufffdx"}, {`"\ud83d\u0041"`, "\ufffdA"}, {`"\ude00\ud83d\ude00"`, "\ufffd😀"}, {`"\u0000"`, "\x00"},
		{`1`, no("1")}, {`true`, no("true")}, {`null`, no("null")}, {`{"a":"}"}`, no("an object")}, {`["]"]`, no("a list")},
	})
}

func TestUUIDs(t *testing.T) {
	const id = "11111111-1111-4111-8111-11111111abcd"
	no := func(shown string) string {
		return "is " + shown + ", which is no uuid in the form 00000000-0000-0000-0000-000000000000"
	}
	checkValues[uuid.UUID](t, []value{
		{`"` + id + `"`, id}, {`"` + strings.ToUpper(id) + `"`, id}, {`""`, no(`""`)}, {`1`, no("1")}, {`null`, no("null")},
		{`"urn:uuid:` + id + `"`, no(`"urn:uuid:11111111-1111-4111-8111-1111111..."`)}, {`"{` + id + `}"`, no(`"{` + id + `}"`)},
		{`"` + strings.ReplaceAll(id, "-", "") + `"`, no(`"` + strings.ReplaceAll(id, "-", "") + `"`)}, {`"1-1-1-1-1"`, no(`"1-1-1-1-1"`)},
		{`"11111111-1111-4111-8111-11111111abcg"`, no(`"11111111-1111-4111-8111-11111111abcg"`)},
		{`111111111111111111111111111111111111`, no("111111111111111111111111111111111111")},
	})
}

func TestTimes(t *testing.T) {
	const day, noon = "2015-02-09 00:00:00 +0000 UTC", "2015-02-09 12:34:56 +0000 UTC"
	checkValues[time.Time](t, []value{
		{`"2015-02-09"`, day}, {`"2015-2-9"`, day}, {`"2015/02/09"`, day}, {`"2015/2/9"`, day}, {`"2015-02-09 12:34:56"`, noon},
		{`"2015-02-09 12:34:56.0"`, noon}, {`"2015-02-09 12:34:56.7"`, "2015-02-09 12:34:56.7 +0000 UTC"},
		{`"2015-02-09 12:34:56.123456789"`, "2015-02-09 12:34:56.123456789 +0000 UTC"}, {`"2015-02-09T12:34:56Z"`, noon},
		{`"2015-02-09t12:34:56z"`, noon}, {`"2015-02-09T14:34:56+02:00"`, noon}, {`"2015-02-09T07:04:56-05:30"`, noon},
		{`"2015-02-09T14:34:56+0200"`, noon}, {`"2015-02-09T07:04:56-0530"`, noon}, {`"2015-02-09T14:34:56+02"`, noon},
		{`"2015-02-09T12:34:56.789Z"`, "2015-02-09 12:34:56.789 +0000 UTC"},
		{`"2015-02-09T12:34:56.1234567899Z"`, "2015-02-09 12:34:56.123456789 +0000 UTC"}, {`"2016-02-29"`, "2016-02-29 00:00:00 +0000 UTC"},
		{`1423485296`, noon}, {`"1423485296"`, noon}, {`1423485296789`, "2015-02-09 12:34:56.789 +0000 UTC"}, {`"1423485296000"`, noon},
		{`99999999999`, "5138-11-16 09:46:39 +0000 UTC"}, {`100000000000`, "1973-03-03 09:46:40 +0000 UTC"}, {`-1`, "1969-12-31 23:59:59 +0000 UTC"},
		{`-100000000000`, "1966-10-31 14:13:20 +0000 UTC"}, {`"20150209"`, "1970-08-22 05:16:49 +0000 UTC"}, {`0`, "1970-01-01 00:00:00 +0000 UTC"},
		{`"0001-01-01"`, "0001-01-01 00:00:00 +0000 UTC"}, {`"9999-12-31T23:59:59Z"`, "9999-12-31 23:59:59 +0000 UTC"},
	})
	checkFaults := []string{
		`"2015-02-29"`, `"2015-02-30"`, `"2015-13-01"`, `"2015-00-01"`, `"2015-01-00"`, `"2015-01-32"`, `"15-02-09"`, `"2015-02/09"`, `"2015/02-09"`,
		`"2015-02-09T12:34"`, `"2015-02-09T12:34:56"`, `"2015-02-09T12:34:56+2"`, `"2015-02-09T12:34:56+020"`, `"2015-02-09T12:34:56+02:"`, `"2015-02-09T12:34:56+02000"`, `"2015-02-09T12:34:56+24:00"`, `"2015-02-09T1:34:56Z"`,
		`"2015-02-09 24:00:00"`, `"2015-02-09 12:60:00"`, `"2015-02-09 12:00:60"`, `"2015-02-09 12:34:56."`, `"2015-02-09 12:34:56Z"`,
		`"2015-02-09 "`, `" 2015-02-09"`, `"2015-02-09T"`, `"2015-2-09T12:34:56Z"`, `""`, `"now"`, `"1.5"`, `1.5`, `1e9`, `"1e9"`, `true`, `null`, `{}`,
		`"2015-02-09T12:34:56,7Z"`, `"2015-02-09T12:34:56.Z"`, `"2015-02-09T12:34:56ZZ"`, `"12015-02-09"`, `"2015-02-09T12:34:56-"`,
	}
	for _, in := range checkFaults {
		if got := faultsOf[one[time.Time]](t, `{"f":`+in+`}`); len(got) != 1 || !strings.Contains(got[0], "which is no time: use RFC 3339") {
			t.Errorf("%s: %q", in, got)
		}
	}
	for _, in := range []string{
		`"0000-01-01"`, `"0001-01-01T00:00:00+00:01"`, `"9999-12-31T23:59:59-00:01"`, `9223372036854775807`, `-9223372036854775808`,
		`"99999999999999999999999"`, `253402300800000`, `-99999999999`,
	} {
		if got := faultsOf[one[time.Time]](t, `{"f":`+in+`}`); !strings.HasSuffix(got[0], "which is not within the years 1 to 9999") {
			t.Errorf("%s: %q", in, got)
		}
	}
}

func TestTimesAreUTC(t *testing.T) {
	for _, in := range []string{`0`, `1423485296789`, `"2015-02-09"`, `"2015-02-09T12:34:56+02:00"`} {
		if got := mustNew[one[time.Time]](t, `{"f":`+in+`}`); got.F.Location() != time.UTC {
			t.Errorf("%s is in %v", in, got.F.Location())
		}
	}
}

func TestDurations(t *testing.T) {
	no := func(shown string) string {
		return "is " + shown + ", which is no duration: use a text such as 1h30m, or nanoseconds"
	}
	checkValues[time.Duration](t, []value{
		{`"1h2m"`, "1h2m0s"}, {`"-1.5s"`, "-1.5s"}, {`1000`, "1µs"}, {`"1000"`, "1µs"}, {`-9223372036854775808`, "-2562047h47m16.854775808s"},
		{`9223372036854775808`, no("9223372036854775808")}, {`1.5`, no("1.5")}, {`"1 h"`, no(`"1 h"`)}, {`""`, no(`""`)}, {`null`, no("null")},
	})
}

func TestBytes(t *testing.T) {
	checkValues[[]byte](t, []value{
		{`"aGk="`, "[104 105]"}, {`""`, "[]"}, {`null`, "[]"}, {`[104,"105"]`, "[104 105]"}, {`"a"`, `is "a", which is no base64`},
		{`1`, "is 1, which is no list"},
	})
}

type color int

func (c *color) UnmarshalText(b []byte) error {
	if string(b) != "red" {
		return errors.New("there is red only")
	}
	*c = 7
	return nil
}

type pair [2]string

func (p *pair) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		p[0] = "nothing"
		return nil
	}
	return json.Unmarshal(b, (*[2]string)(p))
}

func TestTypesThatReadThemselves(t *testing.T) {
	checkValues[color](t, []value{
		{`"red"`, "7"}, {`"blue"`, `is "blue": there is red only`}, {`7`, "is 7, which is no text"}, {`null`, "is null, which is no text"},
	})
	checkValues[pair](t, []value{
		{`["a","b"]`, "[a b]"}, {`null`, "[nothing ]"}, {`1`, "is 1: json: cannot unmarshal number into Go value of type [2]string"},
	})
	checkValues[netip.Addr](t, []value{{`"10.0.0.1"`, "10.0.0.1"}})
	checkValues[json.RawMessage](t, []value{{` {"a" : 1} `, fmt.Sprint([]byte(`{"a" : 1}`))}, {`null`, "[110 117 108 108]"}})
	checkValues[any](t, []value{
		{`{"a":[1,"x",null]}`, "map[a:[1 x <nil>]]"}, {`null`, "<nil>"},
		{`1e400`, "is 1e400: json: cannot unmarshal number 1e400 into Go value of type float64"},
	})
	if got := mustNew[*one[*color]](t, `{"f":null}`); got.F != nil {
		t.Error("null made a pointer that is not nil")
	}
}

func TestContainers(t *testing.T) {
	checkValues[[]int](t, []value{
		{`["1", 2 ,"3"]`, "[1 2 3]"}, {`[]`, "[]"}, {`null`, "[]"}, {`{}`, "is an object, which is no list"},
	})
	checkValues[[2]int](t, []value{
		{`[1,"2"]`, "[1 2]"}, {`[1]`, "has 1 elements, and must have 2"}, {`[1,2,3]`, "has 3 elements, and must have 2"},
		{`null`, "is null, which is no list"},
	})
	checkValues[map[string]int](t, []value{{`{"a":"1","b":2}`, "map[a:1 b:2]"}, {`{}`, "map[]"}, {`null`, "map[]"}, {`[]`, "is a list, which is no object"}})
	checkValues[map[int8]bool](t, []value{{`{"-1":"true"}`, "map[-1:true]"}})
	checkValues[map[uint8]bool](t, []value{{`{"1":"true"}`, "map[1:true]"}})
	checkValues[map[uuid.UUID]int](t, []value{{`{"11111111-1111-4111-8111-111111111111":1}`, "map[11111111-1111-4111-8111-111111111111:1]"}})
	checkValues[map[color][]int](t, []value{{`{"red":["1"]}`, "map[7:[1]]"}})
	for data, want := range map[string]string{
		`{"a":1,"a":2}`: "f[a] stands twice in the data", `{"a.b":"x"}`: `f["a.b"] is "x", which is no whole number`,
	} {
		sameFaults[one[map[string]int]](t, `{"f":`+data+`}`, want)
	}
	sameFaults[one[map[int8]int]](t, `{"f":{"300":1,"1":2,"01":3}}`,
		"f[300] has a key that is no whole number that fits in int8", "f[01] stands twice in the data")
	sameFaults[one[map[color]int]](t, `{"f":{"blue":1}}`, "f[blue] has a key that can't be read: there is red only")
	sameFaults[one[map[uuid.UUID]int]](t, `{"f":{"1":1}}`, "f[1] has a key that is no uuid")
}

func TestNilAndEmptyDiffer(t *testing.T) {
	if got := mustNew[one[[]int]](t, `{"f":[]}`); got.F == nil {
		t.Error("an empty list became nil")
	}
	if got := mustNew[one[[]int]](t, `{"f":null}`); got.F != nil {
		t.Error("null became an empty list")
	}
	if got := mustNew[one[map[string]int]](t, `{"f":null}`); got.F != nil {
		t.Error("null became an empty map")
	}
}

// A value must not change when the data, or the walker's room, is used again.
func TestValuesStandAlone(t *testing.T) {
	type command struct {
		S string
		E string
		L []string
		R json.RawMessage
		M map[string]string
	}
	for _, padding := range []int{0, 2 * shareBelow} {
		p := mustCompile[command](t)
		data := []byte(`{"S":"aaa","E":"b\nb","L":["ccc"],"R":"ddd","M":{"eee":"fff"}` + strings.Repeat(" ", padding) + `}`)
		made, err := p.New(data)
		if err != nil {
			t.Fatal(err)
		}
		clear(data)
		if _, err := p.New([]byte(`{"S":"xxx","E":"y\ny","L":["zzz"],"R":"zzz","M":{"zzz":"z"}}`)); err != nil {
			t.Fatal(err)
		}
		want := command{"aaa", "b\nb", []string{"ccc"}, json.RawMessage(`"ddd"`), map[string]string{"eee": "fff"}}
		if !reflect.DeepEqual(made, want) {
			t.Errorf("got %+v", made)
		}
	}
}

// A short string must not keep a large command in memory.
func TestLargeDataIsNotShared(t *testing.T) {
	for size, shared := range map[int]bool{shareBelow: true, shareBelow + 1: false} {
		w := &walker{data: make([]byte, size)}
		w.string(token{text, w.data[:1], 0})
		if got := w.shared != ""; got != shared {
			t.Errorf("%d bytes: shared is %v", size, got)
		}
	}
}
