package sqlview

import (
	"bytes"
	"database/sql/driver"
	"encoding/json"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/internal/keys"
	"github.com/google/uuid"
	"pgregory.net/rapid"
)

type stamp time.Time

type allParts struct {
	A int8
	B uint16
	C float32
	D float64
	E bool
	F [2]byte
	G uuid.UUID
	H stamp
	I string
	J struct{ K [2]int32 }
	L uint64
	M int
}

var edges = allParts{
	A: math.MaxInt8, B: math.MaxUint16, C: math.MaxFloat32, D: math.Inf(1), E: true, F: [2]byte{255, 255}, G: uuid.Max,
	H: stamp(time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)), I: "\xff", J: struct{ K [2]int32 }{[2]int32{math.MaxInt32, math.MaxInt32}},
	L: math.MaxUint64, M: math.MaxInt,
}

func drawParts(t *rapid.T) (p allParts) {
	v := reflect.ValueOf(&p).Elem()
	for i := range v.NumField() {
		if rapid.IntRange(0, 3).Draw(t, "edge") == 0 {
			v.Field(i).Set(reflect.ValueOf(edges).Field(i))
		}
	}
	if p.A == 0 {
		p.A, p.B = rapid.Int8().Draw(t, "a"), rapid.Uint16().Draw(t, "b")
	}
	if p.D == 0 {
		p.C, p.D = rapid.Float32().Draw(t, "c"), rapid.Float64().Draw(t, "d")
	}
	if p.F == [2]byte{} {
		p.F = [2]byte{rapid.Byte().Draw(t, "f"), rapid.SampledFrom([]byte{0, 255}).Draw(t, "g")}
	}
	if p.I == "" {
		p.I = rapid.SampledFrom([]string{"", "a", "a\x00", "a\x00b", "b", "ä"}).Draw(t, "i")
	}
	if time.Time(p.H).IsZero() {
		p.H = stamp(time.Unix(rapid.Int64Range(-6e10, 2e11).Draw(t, "h"), rapid.Int64Range(0, 999999999).Draw(t, "nanoseconds")).UTC())
	}
	return p
}

// tuple and after enclose exactly the keys that begin with the given parts.
func TestBoundsAreExact(t *testing.T) {
	encode, err := keys.Encoder[allParts]()
	if err != nil {
		t.Fatal(err)
	}
	p := path{keyType: reflect.TypeFor[allParts]()}
	if p.leaves, err = leavesOf(p.keyType, nil); err != nil || len(p.leaves) != 13 {
		t.Fatal(len(p.leaves), err)
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawParts(t), drawParts(t)
		n := rapid.IntRange(1, len(p.leaves)).Draw(t, "parts")
		var first []reflect.Value
		same := true
		for i := range n {
			l := &p.leaves[i]
			if rapid.IntRange(0, 9).Draw(t, "same") > 0 {
				l.of(reflect.ValueOf(&b).Elem()).Set(l.of(reflect.ValueOf(a)))
			}
			first = append(first, l.of(reflect.ValueOf(a)))
			x, err := toSQL(l.class, l.of(reflect.ValueOf(a)))
			y, err2 := toSQL(l.class, l.of(reflect.ValueOf(b)))
			same = same && (err != nil && err2 != nil || err == nil && err2 == nil && reflect.DeepEqual(x, y))
		}
		inside := bytes.Compare(encode(nil, b), encode(nil, p.tuple(first).Interface().(allParts))) >= 0
		if to, ok := p.after(first); ok && inside {
			inside = bytes.Compare(encode(nil, b), encode(nil, to.Interface().(allParts))) < 0
		}
		if inside != same {
			t.Fatalf("%d parts of %+v: %+v is inside: %v, has the same parts: %v", n, a, b, inside, same)
		}
	})
}

// at finds every value that a column shows, and says of nothing else that it is equal.
func TestAtFindsWhatIsShown(t *testing.T) {
	leaves, _ := leavesOf(reflect.TypeFor[allParts](), nil)
	rapid.Check(t, func(t *rapid.T) {
		a := drawParts(t)
		for _, l := range leaves {
			v := l.of(reflect.ValueOf(a))
			shown, err := toSQL(l.class, v)
			if err != nil || shown == nil {
				continue
			}
			got, exact, ok := l.at(shown)
			if i, isInt := shown.(int64); isInt && l.class == real && i > exactFloats {
				continue
			}
			back, _ := toSQL(l.class, got)
			if !ok || !exact || compareSQL(back, shown) != 0 {
				t.Fatalf("%v: %v comes back as %v (%v, %v)", l.typ, shown, back, exact, ok)
			}
		}
	})
}

// The smallest value that is not below: never above the first that SQL puts at or behind x.
func TestAtIsTheSmallest(t *testing.T) {
	for _, row := range []struct {
		key   any
		x     driver.Value
		want  any
		exact bool
		ok    bool
	}{
		{int8(0), int64(127), int8(127), true, true}, {int8(0), int64(128), nil, false, false}, {int8(0), 1.5, int8(2), false, true},
		{int8(0), -1.5, int8(-1), false, true}, {int8(0), "1", nil, false, false}, {uint8(0), int64(-1), uint8(0), false, true},
		{uint8(0), int64(256), nil, false, false}, {uint8(0), -0.5, uint8(0), false, true}, {0, 1e19, nil, false, false},
		{0, int64(math.MaxInt64), math.MaxInt, true, true}, {float32(0), 0.1, nil, false, false}, {float32(0), 0.5, float32(0.5), true, true},
		{0.0, int64(3), 3.0, true, true}, {0.0, int64(1<<53 + 1), nil, false, false}, {false, int64(2), nil, false, false}, {false, int64(1), true, true, true},
		{"", "x", "x", true, true}, {"", int64(5), nil, false, false}, {[2]byte{}, []byte{1, 2}, [2]byte{1, 2}, true, true},
		{[2]byte{}, []byte{1}, nil, false, false}, {uuid.UUID{}, strings.ToUpper(uuid.Max.String()), nil, false, false},
		{time.Time{}, "2013-01-01", epoch, false, true}, {time.Time{}, "2013-01-01 00:00", epoch, false, true},
		{time.Time{}, "2013-01-01 00:00:00", epoch, true, true}, {time.Time{}, "2013-01-01 00:00:00.0", epoch.Add(1), false, true},
		{time.Time{}, "2013-01-01 00:00:00.250", epoch.Add(250000001), false, true}, {time.Time{}, "2013-01-01 00:00:00,5", nil, false, false},
		{time.Time{}, "2013-01-01T00:00:00Z", nil, false, false}, {time.Time{}, "2013-01-01 0:00:00", nil, false, false}, {time.Time{}, "", nil, false, false},
	} {
		leaves, err := leavesOf(reflect.TypeOf(row.key), nil)
		if err != nil {
			t.Fatal(err)
		}
		got, exact, ok := leaves[0].at(row.x)
		if ok != row.ok || ok && (exact != row.exact || !reflect.DeepEqual(got.Interface(), row.want)) {
			t.Errorf("%T at %v: got %v, %v, %v; want %v, %v, %v", row.key, row.x, got, exact, ok, row.want, row.exact, row.ok)
		}
	}
}

type base struct{ Made string }

type oddRow struct {
	base
	Addr    netip.Addr
	Raw     json.RawMessage
	Renamed int    `cbor:"n"`
	ByKey   int    `cbor:"1,keyasint"`
	Gone    string `cbor:"-"`
	Point   *struct{ X, Y int }
	Next    *oddRow
	Any     any
	Fn      func()
	hidden  int
	Deep    **string
}

func TestColumnsOfOddTypes(t *testing.T) {
	var names []string
	for _, c := range columnsOf(reflect.TypeFor[oddRow]()) {
		names = append(names, c.name+" "+declared[c.class])
	}
	want := "made TEXT, addr TEXT, raw JSON TEXT, n INTEGER, bykey INTEGER, point_x INTEGER, point_y INTEGER, next JSON TEXT, any JSON TEXT, deep TEXT"
	if got := strings.Join(names, ", "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	text := "deep"
	p := &text
	row := oddRow{base: base{"m"}, Addr: netip.MustParseAddr("::1"), Raw: json.RawMessage(`{"a":1}`), Any: 7, Deep: &p}
	_ = row.hidden
	got := ""
	for _, c := range columnsOf(reflect.TypeFor[oddRow]()) {
		v, err := c.sql(reflect.ValueOf(&row).Elem())
		if err != nil {
			t.Fatal(err)
		}
		got += show(v) + " "
	}
	if want := `"m" "::1" "{\"a\":1}" "0" "0" NULL NULL NULL "7" "deep" `; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if columns := columnsOf(reflect.TypeFor[int]()); len(columns) != 1 || columns[0].name != "value" {
		t.Error("a row that is no struct has", len(columns), "columns")
	}
}

// An index that was added later is not used before.
func TestAnIndexThatIsYoungerThanTheView(t *testing.T) {
	dir := t.TempDir()
	young := cqrs.NewTable("parcels", func(p parcel) string { return p.ID })
	cfg := cqrs.Config{Commands: []cqrs.Command{write{}}, Events: []cqrs.Event{written{}}, Aggregator: foldYoung{young}, Tables: []cqrs.AnyTable{young}}
	rt := openAt(t, dir, cfg)
	first := send(t, rt, write{Parcels: many(20)})
	second := send(t, rt, write{Parcels: many(21)})
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	byKind := cqrs.NewIndex(young, "kind", func(p parcel) uint8 { return p.Kind })
	table := Table("parcels", young, Key("id"), Index(byKind, "kind"))
	rt = openAt(t, dir, cfg)
	for at, plan := range map[uint64]string{first: ":all rows", second: ":index(kind) (kind=?)"} {
		db, _ := mustOpen(t, rt.AsOf(at), table)
		if got := query(t, db, "SELECT count(*) FROM parcels WHERE kind = 2"); got[0] != "4" {
			t.Error(got)
		}
		if got := query(t, db, "EXPLAIN QUERY PLAN SELECT count(*) FROM parcels WHERE kind = 2"); !strings.HasSuffix(got[0], plan) {
			t.Errorf("t %d: %s, wanted %s", at, got, plan)
		}
	}
}
