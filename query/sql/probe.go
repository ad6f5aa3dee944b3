package sqlview

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"time"
)

const probes = 96 // made-up rows

// probe tries what is declared with rows that are made up, always the same ones. It learns which indexes leave rows out.
func (s *Source) probe() {
	random := rand.New(rand.NewPCG(1, 2))
	for range probes {
		row := reflect.New(s.row).Elem()
		makeUp(random, row, 0)
		for _, p := range s.paths() {
			if err := s.try(p, row); err != nil {
				s.fail(err)
				return
			}
		}
	}
}

// try checks a path with a row. A function that can't work on the row proves nothing, nor does a row with a value that SQL can't show.
func (s *Source) try(p *path, row reflect.Value) (err error) {
	defer func() {
		if recover() != nil {
			err = nil
		}
	}()
	if len(p.columns) == 0 {
		return nil
	}
	if _, n := p.keys(row); n == 0 && s.columns[p.columns[0]].empty(row) {
		p.sparse = p != s.key
		return nil
	}
	if err = p.check(s, row); !errors.Is(err, errDeclared) {
		err = nil
	}
	return err
}

const deepest = 4 // pointers, slices and maps in one another

// makeUp sets a value to something: often to something small, as enumerations want it, and sometimes to its zero.
func makeUp(r *rand.Rand, v reflect.Value, depth int) {
	if r.IntN(6) == 0 || depth > deepest || !v.CanSet() {
		return
	}
	switch kind := v.Kind(); {
	case kind == reflect.Struct && v.Type().ConvertibleTo(goTime):
		v.Set(reflect.ValueOf(time.UnixMilli(r.Int64N(4e12)).UTC()).Convert(v.Type()))
	case kind == reflect.Struct:
		for i := range v.NumField() {
			makeUp(r, v.Field(i), depth)
		}
	case kind == reflect.Array:
		for i := range v.Len() {
			makeUp(r, v.Index(i), depth)
		}
	case kind == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		makeUp(r, v.Elem(), depth+1)
	case kind == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		makeUp(r, v.Index(0), depth+1)
		makeUp(r, v.Index(1), depth+1)
	case kind == reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
	default:
		makeUpScalar(r, v)
	}
}

func makeUpScalar(r *rand.Rand, v reflect.Value) {
	small := r.Int64N(10)
	if r.IntN(3) == 0 {
		small = r.Int64N(1e12) - 5e11
	}
	switch kind := v.Kind(); {
	case kind == reflect.String:
		b := make([]byte, 1+r.IntN(9))
		for i := range b {
			b[i] = " aBcDeF-/.123xYz"[r.IntN(16)]
		}
		v.SetString(string(b))
	case kind == reflect.Bool:
		v.SetBool(true)
	case kind >= reflect.Int && kind <= reflect.Int64:
		v.SetInt(small)
	case kind >= reflect.Uint && kind <= reflect.Uint64:
		v.SetUint(uint64(max(small, -small)))
	case kind == reflect.Float32 || kind == reflect.Float64:
		v.SetFloat(float64(small) / 8)
	}
}
