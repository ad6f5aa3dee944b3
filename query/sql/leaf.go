package sqlview

import (
	"database/sql/driver"
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"

	"github.com/google/uuid"
)

// leaf is a part of a key that has no parts itself. The parts of a key, in their order, are compared as the columns' SQL values are.
type leaf struct {
	steps []int // fields and elements on the way to it
	typ   reflect.Type
	class class
}

// leavesOf lists the parts of a key type.
func leavesOf(t reflect.Type, steps []int) (leaves []leaf, err error) {
	c := classOf(t)
	switch {
	case c >= text && c <= blob && t.Kind() != reflect.Slice:
		return []leaf{{steps, t, c}}, nil
	case c == marshaled:
		return nil, fmt.Errorf("keys with a %v have another order in SQL, where it is the text of its MarshalText", t)
	case t.Kind() == reflect.Struct:
		for i := range t.NumField() {
			more, err := leavesOf(t.Field(i).Type, append(steps[:len(steps):len(steps)], i))
			if err != nil {
				return nil, err
			}
			leaves = append(leaves, more...)
		}
		return leaves, nil
	case t.Kind() == reflect.Array:
		for i := range t.Len() {
			more, err := leavesOf(t.Elem(), append(steps[:len(steps):len(steps)], i))
			if err != nil {
				return nil, err
			}
			leaves = append(leaves, more...)
		}
		return leaves, nil
	}
	return nil, fmt.Errorf("keys with a %v can't be compared in SQL", t)
}

// of is that part of a key.
func (l *leaf) of(key reflect.Value) reflect.Value {
	for _, i := range l.steps {
		if key.Kind() == reflect.Struct {
			key = key.Field(i)
		} else {
			key = key.Index(i)
		}
	}
	return key
}

// at gives the smallest value that is not below x as SQL compares, and whether it equals x. It is not ok when there is none, or when
// it takes SQLite to know.
func (l *leaf) at(x driver.Value) (v reflect.Value, exact, ok bool) {
	v = reflect.New(l.typ).Elem()
	switch l.class {
	case text:
		s, isText := x.(string)
		v.SetString(strings.Clone(s)) // it is SQLite's
		return v, true, isText
	case integer, unsigned:
		exact, ok = l.atInteger(v, x)
	case real:
		ok = l.atReal(v, x)
		exact = ok
	case boolean:
		i, isInt := x.(int64)
		v.SetBool(i == 1)
		return v, true, isInt && (i == 0 || i == 1)
	case moment:
		s, _ := x.(string)
		var t time.Time
		if t, exact, ok = parseMoment(s); ok {
			v.Set(reflect.ValueOf(t).Convert(l.typ))
		}
	case id:
		s, _ := x.(string)
		u, err := uuid.Parse(s)
		v.Set(reflect.ValueOf(u))
		return v, true, err == nil && u.String() == s
	case blob:
		b, isBlob := x.([]byte)
		ok = isBlob && len(b) == v.Len()
		exact = ok
		reflect.Copy(v, reflect.ValueOf(b))
	}
	return v, exact, ok
}

const exactFloats = 1 << 53 // up to here every integer has a float64 of its own

func (l *leaf) atInteger(v reflect.Value, x driver.Value) (exact, ok bool) {
	i, exact := x.(int64)
	if f, isFloat := x.(float64); isFloat && math.Abs(f) <= exactFloats {
		i, exact, ok = int64(math.Ceil(f)), f == math.Ceil(f), true
	}
	if !exact && !ok {
		return false, false
	}
	if l.class == integer {
		v.SetInt(i)
		return exact, !v.OverflowInt(i)
	}
	if i < 0 {
		return false, true // 0 is the smallest
	}
	v.SetUint(uint64(i))
	return exact, !v.OverflowUint(uint64(i))
}

func (l *leaf) atReal(v reflect.Value, x driver.Value) bool {
	f, ok := x.(float64)
	if i, isInt := x.(int64); isInt && i >= -exactFloats && i <= exactFloats {
		f, ok = float64(i), true
	}
	v.SetFloat(f)
	return ok && v.Float() == f
}

// parseMoment reads a time, or the beginning of one: SQL compares texts, in which "2013-01-10" comes before all times of that day.
func parseMoment(s string) (t time.Time, exact, ok bool) {
	for _, layout := range [...]string{time.DateOnly, "2006-01-02 15:04"} {
		if t, err := time.Parse(layout, s); err == nil && t.Format(layout) == s {
			return t, false, true
		}
	}
	t, err := time.Parse(time.DateTime, s) // a fraction may follow
	switch at := t.Format(timeLayout); {
	case err != nil:
		return t, false, false
	case at == s:
		return t, true, true
	case at == withoutZeros(s):
		return t.Add(1), false, true // "05.250" comes behind "05.25"
	}
	return t, false, false
}

// withoutZeros takes the zeros at the end of a fraction away.
func withoutZeros(s string) string {
	whole, fraction, _ := strings.Cut(s, ".")
	if fraction = strings.TrimRight(fraction, "0"); fraction == "" {
		return whole
	}
	return whole + "." + fraction
}

// least is the smallest value.
func (l *leaf) least() reflect.Value {
	v := reflect.New(l.typ).Elem()
	switch l.class {
	case integer:
		v.SetInt(math.MinInt64 >> (64 - l.typ.Bits()))
	case real:
		v.SetFloat(math.NaN()) // it comes first
	case moment:
		v.Set(reflect.ValueOf(time.Date(-1e6, 1, 1, 0, 0, 0, 0, time.UTC)).Convert(l.typ)) // no column can show such a time
	}
	return v
}

// next is the smallest value above v. The largest has none.
func (l *leaf) next(v reflect.Value) (reflect.Value, bool) {
	n := reflect.New(l.typ).Elem()
	n.Set(v)
	switch l.class {
	case text:
		n.SetString(v.String() + "\x00")
	case integer:
		n.SetInt(v.Int() + 1)
		return n, v.Int() != math.MaxInt64>>(64-l.typ.Bits())
	case unsigned:
		n.SetUint(v.Uint() + 1)
		return n, v.Uint() != math.MaxUint64>>(64-l.typ.Bits())
	case real:
		return n, l.nextReal(n, v.Float())
	case boolean:
		n.SetBool(true)
		return n, !v.Bool()
	case moment:
		n.Set(reflect.ValueOf(v.Convert(goTime).Interface().(time.Time).Add(1)).Convert(l.typ))
	case id, blob:
		return n, nextBytes(n)
	}
	return n, true
}

func (l *leaf) nextReal(n reflect.Value, f float64) bool {
	if math.IsInf(f, 1) {
		return false
	}
	if l.typ.Kind() == reflect.Float32 {
		n.SetFloat(float64(math.Nextafter32(float32(f), float32(math.Inf(1)))))
	} else {
		n.SetFloat(math.Nextafter(f, math.Inf(1)))
	}
	return true
}

func nextBytes(n reflect.Value) bool {
	for i := n.Len() - 1; i >= 0; i-- {
		b := n.Index(i)
		b.SetUint((b.Uint() + 1) & 0xff)
		if b.Uint() != 0 {
			return true
		}
	}
	return false
}
