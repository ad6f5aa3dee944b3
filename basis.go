package cqrs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Basis names a value: the shard, and the t there. It travels as text, such as "0-123": in a header, a link, or JSON.
//
// A value never changes, so a page made of nothing but a View is named by its Basis, and ETag is a strong ETag for it (together with what else
// the page depends on: its address, and the version of the program). To read what one has written, send Outcome.Basis along with the next
// request, and read there through Runtime.AtLeast.
type Basis struct {
	Shard int
	T     uint64
}

// String is the text form: the shard's number, "-", and t.
func (b Basis) String() string { return fmt.Sprintf("%d-%d", b.Shard, b.T) }

// ETag is the text form as HTTP's header fields ETag and If-None-Match have it, in quotes: "0-123".
func (b Basis) ETag() string { return strconv.Quote(b.String()) }

const maxShards = 4096

// ParseBasis reads the text form, and no other: no signs, spaces or leading zeros.
func ParseBasis(s string) (Basis, error) {
	shard, t, _ := strings.Cut(s, "-")
	n, err := strconv.ParseUint(shard, 10, 16)
	at, err2 := strconv.ParseUint(t, 10, 64)
	b := Basis{int(n), at}
	if errors.Join(err, err2) != nil || b.String() != s {
		return Basis{}, fmt.Errorf("cqrs: %.60q is no basis: it must be a shard's number and a t, such as 0-123", s)
	}
	if b.Shard >= maxShards {
		return Basis{}, fmt.Errorf("cqrs: %q is no basis: there are %d shards at the most", s, maxShards)
	}
	return b, nil
}

// MarshalText gives the text form.
func (b Basis) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText reads the text form; see ParseBasis.
func (b *Basis) UnmarshalText(text []byte) (err error) {
	*b, err = ParseBasis(string(text))
	return err
}

// Basis names the value. One that With made has the basis of the value that it stands on.
func (v View) Basis() Basis {
	if v.agg == nil {
		return Basis{}
	}
	return Basis{v.agg.shard, v.base()}
}

// Basis names the first value that shows the effect.
func (o Outcome) Basis() Basis { return Basis{o.Shard, o.T} }

// AtLeast waits until the shard has come to the basis, and gives its newest value: a request that brings the basis of what its sender wrote
// or saw last sees no older value than that. A basis may come from anybody, and lie in a far future: give ctx a deadline.
func (rt *Runtime) AtLeast(ctx context.Context, b Basis) (View, error) {
	s, err := rt.shardOf(b)
	if err != nil {
		return View{}, err
	}
	return s.AtLeast(ctx, b.T)
}

// At waits until the shard has come to the basis, and gives the value at it: the second page of the same value, say.
func (rt *Runtime) At(ctx context.Context, b Basis) (View, error) {
	s, err := rt.shardOf(b)
	if err != nil {
		return View{}, err
	}
	if _, err := s.AtLeast(ctx, b.T); err != nil {
		return View{}, err
	}
	return s.AsOf(b.T), nil
}

func (rt *Runtime) shardOf(b Basis) (*Shard, error) {
	if b.Shard < 0 || b.Shard >= len(rt.shards) {
		return nil, fmt.Errorf("cqrs: basis %s names shard %d, and there are %d", b, b.Shard, len(rt.shards))
	}
	return rt.shards[b.Shard], nil
}
