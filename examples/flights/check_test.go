package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

func TestAuditAndScrub(t *testing.T) {
	dir := filled(t)
	var out, errs bytes.Buffer
	if err := run(context.Background(), []string{"-data", dir, "-audit", "-scrub"}, nil, &out, &errs); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"audit: 6000 commands were decided again, and 0 come out otherwise\n",
		"scrub: 6000 commits, 6000 events and ", "rows were compared, and 0 things differ\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %s", want, out.String())
		}
	}
	if !strings.Contains(errs.String(), "audit [") || !strings.Contains(errs.String(), "100%  6000 of 6000 commands") ||
		!strings.Contains(errs.String(), "scrub [") {
		t.Errorf("progress %q", errs.String())
	}
}

func TestDamageIsNamed(t *testing.T) {
	dir := filled(t)
	lose(t, filepath.Join(dir, "shard-0.db"), "aggregate/main@/rows/carriers")
	var out bytes.Buffer
	err := run(context.Background(), []string{"-data", dir, "-scrub"}, nil, &out, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "differences") || !strings.Contains(out.String(), `carriers "`) ||
		!strings.Contains(out.String(), "it is missing") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// lose drops the first key of a bucket.
func lose(t *testing.T, path, bucket string) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(bucket))
		if b == nil {
			return errors.New("no bucket " + bucket)
		}
		k, _ := b.Cursor().First()
		return b.Delete(k)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestRateIsChecked(t *testing.T) {
	if err := run(context.Background(), []string{"-rate", "-1", slice}, nil, io.Discard, io.Discard); err == nil {
		t.Error("no error")
	}
}
