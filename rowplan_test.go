package cqrs

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

type planInner struct {
	Z int8
	A uint16 `json:"a"`
}

type planRow struct {
	Name     string `json:"name"`
	LongName string `json:"a-name-that-has-more-than-twenty-three-bytes"`
	N        int
	U        uint64
	Small    uint8
	B        bool
	D        time.Duration
	In       planInner
}

func anyPlanRow(t *rapid.T) planRow {
	return planRow{
		Name: rapid.String().Draw(t, "name"), LongName: rapid.StringN(0, 300, -1).Draw(t, "long"),
		N: rapid.Int().Draw(t, "n"), U: rapid.Uint64().Draw(t, "u"), Small: rapid.Uint8().Draw(t, "small"), B: rapid.Bool().Draw(t, "b"),
		D: time.Duration(rapid.Int64().Draw(t, "d")), In: planInner{rapid.Int8().Draw(t, "z"), rapid.Uint16().Draw(t, "a")},
	}
}

func encodeRow(t *rapid.T, row any) []byte {
	var buf bytes.Buffer
	if err := rowMode.MarshalToBuffer(row, &buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// What rowMode writes is read by the plan.
func TestRowPlan(t *testing.T) {
	p := newRowPlan(reflect.TypeFor[planRow]())
	rapid.Check(t, func(t *rapid.T) {
		want, got := anyPlanRow(t), anyPlanRow(t)
		if raw := encodeRow(t, want); !p.decode(raw, &got) || got != want {
			t.Fatalf("%x\ngot    %+v\nwanted %+v", raw, got, want)
		}
	})
}

// Whatever the plan reads, rowDecoder reads in the same way.
func TestRowPlanOfAnything(t *testing.T) {
	p := newRowPlan(reflect.TypeFor[planRow]())
	rapid.Check(t, func(t *rapid.T) {
		raw := encodeRow(t, anyPlanRow(t))
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			at := rapid.IntRange(0, len(raw)-1).Draw(t, "at")
			switch rapid.IntRange(0, 2).Draw(t, "how") {
			case 0:
				raw[at] = rapid.Byte().Draw(t, "byte")
			case 1:
				raw = append(raw[:at:at], raw[min(at+rapid.IntRange(1, 20).Draw(t, "n"), len(raw)):]...)
			default:
				raw = append(raw[:at:at], append([]byte{rapid.Byte().Draw(t, "byte")}, raw[at:]...)...)
			}
			if len(raw) == 0 {
				return
			}
		}
		var got, want planRow
		if !p.decode(raw, &got) {
			return
		}
		if err := rowDecoder.Unmarshal(raw, &want); err != nil || got != want {
			t.Fatalf("%x\ngot    %+v\nwanted %+v, %v", raw, got, want, err)
		}
	})
}

// A row of another shape goes to rowDecoder, and keeps nothing of the attempt.
func TestRowOfAnEarlierShape(t *testing.T) {
	type before struct {
		Name string `json:"name"`
		N    int
	}
	rapid.Check(t, func(t *rapid.T) {
		old := before{rapid.String().Draw(t, "name"), rapid.Int().Draw(t, "n")}
		core := tableCore{name: "rows", plan: newRowPlan(reflect.TypeFor[planRow]())}
		var got planRow
		if err := decodeRow(&core, encodeRow(t, old), &got); err != nil || got != (planRow{Name: old.Name, N: old.N}) {
			t.Fatalf("%+v, %v", got, err)
		}
	})
}

func TestNoRowPlan(t *testing.T) {
	for _, typ := range []reflect.Type{
		reflect.TypeFor[string](), reflect.TypeFor[*planRow](), reflect.TypeFor[time.Time](), reflect.TypeFor[struct{ F float64 }](),
		reflect.TypeFor[struct{ T time.Time }](), reflect.TypeFor[struct{ ID Digest }](),
		reflect.TypeFor[struct {
			A int `cbor:"1,keyasint"`
		}](), reflect.TypeFor[struct {
			A int `json:"a,omitempty"`
		}](),
	} {
		if newRowPlan(typ) != nil {
			t.Errorf("%v has a plan", typ)
		}
	}
}

func BenchmarkDecodeRow(b *testing.B) {
	var buf bytes.Buffer
	if err := rowMode.MarshalToBuffer(planRow{Name: "user-000123", N: 1234}, &buf); err != nil {
		b.Fatal(err)
	}
	p := newRowPlan(reflect.TypeFor[planRow]())
	for name, plan := range map[string]*rowPlan{"plan": p, "decoder": nil} {
		b.Run(name, func(b *testing.B) {
			core, row := tableCore{name: "rows", plan: plan}, new(planRow)
			b.ReportAllocs()
			for b.Loop() {
				if err := decodeRow(&core, buf.Bytes(), row); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
