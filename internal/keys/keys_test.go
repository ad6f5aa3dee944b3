package keys

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

type (
	name  string
	level int8
	day   time.Time

	place struct {
		City  string
		Floor int16
	}
	visit struct {
		Who   name
		Where place
		At    time.Time
		Score float64
		Tags  [2]string
		Last  bool
	}
)

func mustEncoder[K any](t testing.TB) func([]byte, K) []byte {
	t.Helper()
	f, err := Encoder[K]()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func mustDecoder[K any](t testing.TB) func([]byte) (K, error) {
	t.Helper()
	f, err := Decoder[K]()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// checkKey holds the keys of a type against their natural order: order, injectivity (equal encodings only for equal keys), the way back,
// and appending behind other bytes.
func checkKey[K any](t *testing.T, values *rapid.Generator[K], order func(a, b K) int) {
	t.Helper()
	encode, decode := mustEncoder[K](t), mustDecoder[K](t)
	t.Run(reflect.TypeFor[K]().String(), func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			a, b := values.Draw(t, "a"), values.Draw(t, "b")
			x, y := encode(nil, a), encode(nil, b)
			if got, want := bytes.Compare(x, y), sign(order(a, b)); got != want {
				t.Fatalf("%v and %v: %x and %x compare as %d, want %d", a, b, x, y, got, want)
			}
			back, err := decode(x)
			if err != nil || order(a, back) != 0 {
				t.Fatalf("%v came back as %v, %v", a, back, err)
			}
			if behind := encode([]byte("x"), a); !bytes.Equal(behind, append([]byte("x"), x...)) {
				t.Fatalf("%v behind other bytes: %x", a, behind)
			}
		})
	})
}

func sign(n int) int { return cmp.Compare(n, 0) }

// text draws strings in which the bytes that matter to the escapes are common.
var text = rapid.Custom(func(t *rapid.T) string {
	return string(rapid.SliceOfN(rapid.OneOf(rapid.SampledFrom([]byte{0, 1, 2, 0xfe, 0xff, 'a'}), rapid.Byte()), 0, 6).Draw(t, "bytes"))
})

// floats draws the odd ones often.
var floats = rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{
	0, math.Copysign(0, -1), math.NaN(), -math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, -math.MaxFloat64, 5e-324, -5e-324,
}))

var times = rapid.Custom(func(t *rapid.T) time.Time {
	seconds := rapid.OneOf(rapid.Int64Range(-3, 3), rapid.Int64Range(-1<<36, 1<<36), rapid.Int64()).Draw(t, "seconds")
	zone := time.FixedZone("z", rapid.IntRange(-86400, 86400).Draw(t, "zone"))
	return time.Unix(seconds, rapid.OneOf(rapid.Int64Range(0, 2), rapid.Int64Range(0, 999999999)).Draw(t, "nanos")).In(zone)
})

var ids = rapid.Custom(func(t *rapid.T) uuid.UUID {
	return uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
})

func small[K any](wide *rapid.Generator[K], few ...K) *rapid.Generator[K] {
	return rapid.OneOf(wide, rapid.SampledFrom(few))
}

func TestSingleKeys(t *testing.T) {
	checkKey(t, text, strings.Compare)
	checkKey(t, rapid.Map(text, func(s string) name { return name(s) }), cmp.Compare[name])
	checkKey(t, small(rapid.Int(), -1, 0, 1), cmp.Compare[int])
	checkKey(t, small(rapid.Int8(), -1, 0, 1), cmp.Compare[int8])
	checkKey(t, small(rapid.Int16(), -1, 0, 1), cmp.Compare[int16])
	checkKey(t, small(rapid.Int32(), -1, 0, 1), cmp.Compare[int32])
	checkKey(t, small(rapid.Int64(), -1, 0, 1, math.MinInt64, math.MaxInt64), cmp.Compare[int64])
	checkKey(t, rapid.Map(rapid.Int8(), func(i int8) level { return level(i) }), cmp.Compare[level])
	checkKey(t, rapid.Uint(), cmp.Compare[uint])
	checkKey(t, rapid.Uint8(), cmp.Compare[uint8])
	checkKey(t, rapid.Uint16(), cmp.Compare[uint16])
	checkKey(t, rapid.Uint32(), cmp.Compare[uint32])
	checkKey(t, small(rapid.Uint64(), 0, math.MaxUint64), cmp.Compare[uint64])
	// cmp.Compare puts NaN first and takes -0 for 0, as we do.
	checkKey(t, floats, cmp.Compare[float64])
	checkKey(t, rapid.Map(floats, func(f float64) float32 { return float32(f) }), cmp.Compare[float32])
	checkKey(t, rapid.Bool(), compareBool)
	checkKey(t, ids, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	checkKey(t, rapid.Map(ids, func(id uuid.UUID) [3]byte { return [3]byte(id[:3]) }), func(a, b [3]byte) int { return bytes.Compare(a[:], b[:]) })
	checkKey(t, times, time.Time.Compare)
	checkKey(t, rapid.Map(times, func(t time.Time) day { return day(t) }), func(a, b day) int { return time.Time(a).Compare(time.Time(b)) })
}

func compareBool(a, b bool) int {
	number := map[bool]int{true: 1}
	return number[a] - number[b]
}

var visits = rapid.Custom(func(t *rapid.T) visit {
	return visit{
		Who: name(small(text, "", "a").Draw(t, "who")), Where: place{small(text, "", "a").Draw(t, "city"), rapid.Int16Range(-1, 1).Draw(t, "floor")},
		At: small(times, time.Time{}, time.Unix(0, 0)).Draw(t, "at"), Score: floats.Draw(t, "score"),
		Tags: [2]string{text.Draw(t, "tag"), text.Draw(t, "tag")}, Last: rapid.Bool().Draw(t, "last"),
	}
})

func comparePlaces(a, b place) int {
	return cmp.Or(strings.Compare(a.City, b.City), cmp.Compare(a.Floor, b.Floor))
}

func compareVisits(a, b visit) int {
	return cmp.Or(cmp.Compare(a.Who, b.Who), comparePlaces(a.Where, b.Where), a.At.Compare(b.At), cmp.Compare(a.Score, b.Score),
		slices.Compare(a.Tags[:], b.Tags[:]), compareBool(a.Last, b.Last))
}

func TestCompositeKeys(t *testing.T) {
	checkKey(t, visits, compareVisits)
	places := rapid.Map(visits, func(v visit) place { return v.Where })
	checkKey(t, places, comparePlaces)
	checkKey(t, rapid.Map(visits, func(v visit) [2]string { return v.Tags }), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	checkKey(t, rapid.Custom(func(t *rapid.T) [2]place { return [2]place{places.Draw(t, "0"), places.Draw(t, "1")} }),
		func(a, b [2]place) int { return slices.CompareFunc(a[:], b[:], comparePlaces) })
}

func TestEncodings(t *testing.T) {
	for _, row := range []struct{ got, want string }{
		{hex(t, "a\x00b"), "610062"}, {hex(t, 1), "8000000000000001"}, {hex(t, int64(-1)), "7fffffffffffffff"}, {hex(t, uint64(1)), "0000000000000001"},
		{hex(t, int8(-128)), "00"}, {hex(t, uint16(258)), "0102"}, {hex(t, true), "01"}, {hex(t, 1.0), "bff0000000000000"}, {hex(t, float32(-1)), "407fffff"},
		{hex(t, math.NaN()), "0000000000000000"}, {hex(t, uuid.UUID{1, 2}), "01020000000000000000000000000000"},
		{hex(t, place{"a\x00b", 1}), "6100ff6200018001"}, {hex(t, [2]string{"", "a"}), "0001610001"},
		{hex(t, time.Time{}), "800000000000000000000000"}, {hex(t, time.Unix(0, 1)), "8000000e7791f70000000001"},
	} {
		if row.got != row.want {
			t.Errorf("got %s, want %s", row.got, row.want)
		}
	}
}

func hex[K any](t *testing.T, k K) string {
	return fmt.Sprintf("%x", mustEncoder[K](t)(nil, k))
}

func TestDecodedTimesAreUTC(t *testing.T) {
	at := time.Date(2015, 2, 9, 12, 34, 56, 789, time.FixedZone("", 3600))
	got, err := mustDecoder[time.Time](t)(mustEncoder[time.Time](t)(nil, at))
	if err != nil || got != at.UTC() {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestWhatCantBeAKey(t *testing.T) {
	type inner struct {
		hidden int
		M      map[string]int
	}
	type outer struct {
		A  inner
		B  []byte
		C  *int
		OK string
		D  [2]any
		E  struct{}
	}
	_, err := Encoder[outer]()
	want := "type keys.outer can't be a key: " + strings.Join([]string{
		"field A.hidden is not exported", "field A.M is a map[string]int, which has no order as a key", "field B is a []uint8, which has no order as a key",
		"field C is a *int, which has no order as a key", "field D[] is a interface {}, which has no order as a key",
		"field E is a struct without fields, which has one value only",
	}, "\n")
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	refused[any](t)
	refused[[]byte](t)
	refused[complex128](t)
	refused[uintptr](t)
	refused[struct{}](t)
	refused[[0]int](t)
	refused[*string](t)
	refused[error](t)
	_ = inner{}.hidden
}

func refused[K any](t *testing.T) {
	t.Helper()
	if _, err := Encoder[K](); err == nil {
		t.Errorf("an encoder of %v", reflect.TypeFor[K]())
	}
	if _, err := Decoder[K](); err == nil {
		t.Errorf("a decoder of %v", reflect.TypeFor[K]())
	}
}

func TestFastKeysDoNotAllocate(t *testing.T) {
	id := uuid.New()
	noAllocs(t, "a key")
	noAllocs(t, 7)
	noAllocs(t, int64(-7))
	noAllocs(t, uint64(7))
	noAllocs(t, id)
}

func noAllocs[K any](t *testing.T, k K) {
	t.Helper()
	encode, dst := mustEncoder[K](t), make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() { dst = encode(dst[:0], k) }); n != 0 {
		t.Errorf("%T: %v allocations", k, n)
	}
}
