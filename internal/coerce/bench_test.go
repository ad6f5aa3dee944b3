package coerce

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

// schedule is a command of a real stream: strings, of which a time and a number are coerced.
type schedule struct {
	Flight    string    `json:"flight"`
	Number    string    `json:"number"`
	Carrier   string    `json:"carrier"`
	Origin    string    `json:"origin"`
	Dest      string    `json:"dest"`
	Departure time.Time `json:"departure"`
	Distance  int       `json:"distance"`
	Tail      string    `json:"tail"`
}

type scheduleChecked struct {
	Flight    string    `json:"flight" validate:"required"`
	Number    string    `json:"number" validate:"required"`
	Carrier   string    `json:"carrier" validate:"required,len=2"`
	Origin    string    `json:"origin" validate:"required"`
	Dest      string    `json:"dest" validate:"required"`
	Departure time.Time `json:"departure" validate:"required"`
	Distance  int       `json:"distance" validate:"min=1"`
	Tail      string    `json:"tail"`
}

// schedulePlain is the same without coercion, for encoding/json.
type schedulePlain struct {
	Flight    string `json:"flight"`
	Number    string `json:"number"`
	Carrier   string `json:"carrier"`
	Origin    string `json:"origin"`
	Dest      string `json:"dest"`
	Departure string `json:"departure"`
	Distance  string `json:"distance"`
	Tail      string `json:"tail"`
}

var scheduleJSON = []byte(`{"flight":"UA1545/2013-01-01/EWR","number":"UA1545","carrier":"UA","origin":"EWR","dest":"IAH",` +
	`"departure":"2013-01-01 05:15:00.0","distance":"1400","tail":"N14228"}`)

func BenchmarkNew(b *testing.B) {
	for _, t := range []reflect.Type{reflect.TypeFor[schedule](), reflect.TypeFor[*schedule](), reflect.TypeFor[scheduleChecked]()} {
		b.Run(t.String(), func(b *testing.B) {
			p, err := Compile(t)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(scheduleJSON)))
			for b.Loop() {
				if _, err := p.New(scheduleJSON); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkEncodingJSON is what the same costs with encoding/json, without any coercion.
func BenchmarkEncodingJSON(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(scheduleJSON)))
	for b.Loop() {
		var s schedulePlain
		if err := json.Unmarshal(scheduleJSON, &s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkValid(b *testing.B) {
	for name, check := range map[string]func([]byte) bool{"ours": valid, "encoding-json": json.Valid} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(scheduleJSON)))
			for b.Loop() {
				if !check(scheduleJSON) {
					b.Fatal("not valid")
				}
			}
		})
	}
}
