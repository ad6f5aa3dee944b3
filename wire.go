package cqrs

import "encoding/binary"

// wire reads the fields of a binary form. After the first field that is cut off, bad is set and all others are empty.
type wire struct {
	rest []byte
	bad  bool
}

func (r *wire) take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *wire) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *wire) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	return v * r.skip(n)
}

func (r *wire) varint() int64 {
	v, n := binary.Varint(r.rest)
	return v * int64(r.skip(n))
}

// skip passes over n bytes, and gives 1, or 0 when there was no number.
func (r *wire) skip(n int) uint64 {
	if n <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return 1
}

func (r *wire) bytes() []byte { return r.take(r.uvarint()) }

// interner gives the same string for the same bytes without allocating, for the few names that come again and again.
// It holds what the program registered, so that foreign input can't make it grow.
type interner struct{ names map[string]string }

func newInterner() *interner { return &interner{names: map[string]string{}} }

func (n *interner) add(names ...string) {
	for _, s := range names {
		n.names[s] = s
	}
}

func (n *interner) name(b []byte) string {
	if s, ok := n.names[string(b)]; ok {
		return s
	}
	return string(b)
}
