package keys

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestPrefixHoldsExactly(t *testing.T) {
	encode := mustEncoder[visit](t)
	rapid.Check(t, func(t *rapid.T) {
		a, b := visits.Draw(t, "a"), visits.Draw(t, "b")
		n := rapid.IntRange(0, 6).Draw(t, "fields")
		if rapid.Bool().Draw(t, "agree") {
			b.Who, b.Where = a.Who, a.Where
		}
		prefix, err := Prefix(a, n)
		if err != nil {
			t.Fatal(err)
		}
		cutA, cutB := firstFields(a, n), firstFields(b, n)
		if got, want := bytes.HasPrefix(encode(nil, b), prefix), compareVisits(cutA, cutB) == 0; got != want {
			t.Fatalf("%d fields of %v, against %v: got %v", n, a, b, got)
		}
		if n == 6 && !bytes.Equal(prefix, encode(nil, a)) {
			t.Fatal("the prefix of all fields is not the key")
		}
	})
}

// firstFields is the visit with the other fields zero.
func firstFields(v visit, n int) (first visit) {
	for i := range n {
		reflect.ValueOf(&first).Elem().Field(i).Set(reflect.ValueOf(v).Field(i))
	}
	return first
}

func TestPrefixErrors(t *testing.T) {
	_, few := Prefix(place{}, -1)
	_, many := Prefix(place{}, 3)
	_, text := Prefix("a", 1)
	_, moment := Prefix(time.Time{}, 1)
	_, odd := Prefix(struct{ A []int }{}, 1)
	for _, row := range []struct {
		err  error
		want string
	}{
		{few, "a key of type keys.place has 2 fields: a prefix of -1 can't be made"}, {many, "a key of type keys.place has 2 fields: a prefix of 3 can't be made"},
		{text, "a key of type string has no fields to make a prefix of"}, {moment, "a key of type time.Time has no fields to make a prefix of"},
		{odd, "type struct { A []int } can't be a key: field A is a []int, which has no order as a key"},
	} {
		if row.err == nil || row.err.Error() != row.want {
			t.Errorf("got %v, want %s", row.err, row.want)
		}
	}
}

func TestAfter(t *testing.T) {
	for _, row := range []struct{ prefix, want []byte }{
		{nil, nil}, {[]byte{}, nil}, {[]byte{0xff}, nil}, {[]byte{0xff, 0xff}, nil}, {[]byte{0}, []byte{1}}, {[]byte("ab"), []byte("ac")},
		{[]byte{'a', 0xff, 0xff}, []byte{'b'}}, {[]byte{0xff, 0, 0xff}, []byte{0xff, 1}},
	} {
		before := bytes.Clone(row.prefix)
		if got := After(row.prefix); !bytes.Equal(got, row.want) || (got == nil) != (row.want == nil) {
			t.Errorf("after %x: got %x, want %x", row.prefix, got, row.want)
		}
		if !bytes.Equal(before, row.prefix) {
			t.Errorf("the prefix %x was changed", before)
		}
	}
}

func TestAfterIsTheSmallestAboveThePrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prefix, key := []byte(text.Draw(t, "prefix")), []byte(text.Draw(t, "key"))
		after := After(prefix)
		above := after != nil && bytes.Compare(key, after) >= 0
		want := bytes.Compare(key, prefix) > 0 && !bytes.HasPrefix(key, prefix)
		if above != want {
			t.Fatalf("prefix %x, after %x, key %x: above is %v, want %v", prefix, after, key, above, want)
		}
	})
}
