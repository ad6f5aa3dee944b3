package cqrs

import (
	"testing"

	"go.etcd.io/bbolt"
)

// Damage changes the first shard's file behind the runtime's back.
func Damage(t *testing.T, rt *Runtime, fn func(*bbolt.Tx) error) {
	t.Helper()
	if err := rt.files[0].Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// MarkBytes is the form of the mark of a command that was accepted as t, or refused when t is 0.
func MarkBytes(t uint64, payload [16]byte) []byte {
	m := mark{t: t, payload: payload, refusal: []byte("{}")}
	return m.append(nil)
}

// RowBytes is the form of a row that was written once, at t.
func RowBytes(t uint64, row []byte) []byte {
	v := version{n: 1}
	v.ts[0] = t
	return v.append(nil, row)
}

// RowOf is the row inside its form.
func RowOf(t *testing.T, raw []byte) []byte {
	t.Helper()
	var v version
	if err := v.decode(raw); err != nil {
		t.Fatal(err)
	}
	return v.row
}

// ChangePosition changes the position of the first shard's aggregate, in its file.
func ChangePosition(t *testing.T, rt *Runtime, fn func(failed *uint64, digest *Digest)) {
	t.Helper()
	a := rt.shards[0].agg()
	Damage(t, rt, func(tx *bbolt.Tx) error {
		p, err := a.positionIn(tx)
		if err != nil {
			return err
		}
		fn(&p.failed, &p.digest)
		return tx.Bucket(a.stateName).Put(positionKey, p.encode())
	})
}

// FailedKey is where a failed fold stands in its bucket.
func FailedKey(t uint64, index int) []byte { return failedKey(t, index) }

// PayloadOf is the digest in the mark of an envelope's command.
func PayloadOf(e Envelope) [16]byte {
	sum, _ := payloadDigest(&e, nil)
	return sum
}

// ChangeFollower changes the digest of the first shard's first aggregate beside the main one.
func ChangeFollower(t *testing.T, rt *Runtime) {
	t.Helper()
	a := rt.shards[0].followers[0].agg()
	err := a.file.Update(t.Context(), func(tx *bbolt.Tx) error {
		p, err := a.positionIn(tx)
		if err != nil {
			return err
		}
		p.digest[0] ^= 1
		return tx.Bucket(a.stateName).Put(positionKey, p.encode())
	})
	if err != nil {
		t.Fatal(err)
	}
}
