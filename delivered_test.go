package cqrs_test

import (
	"io"
	"log/slog"
	"slices"
	"testing"
)

// An output outside the file that was down, or missed its flush, when the program was replaced by one with another version of the aggregate,
// gets what it missed all the same.
func TestAnotherVersionOwesOutputsTheSame(t *testing.T) {
	dir := t.TempDir()
	cfg := withAudit(counterConfig(), &audit{fail: 1 << 30})
	cfg.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	rt, _, stop := start(t, dir, cfg)
	mustDo(t, rt, add{Name: "a", By: 1})
	stop()

	a := &audit{}
	cfg = withAudit(counterConfig(), a)
	cfg.Version = "2"
	start(t, dir, cfg)
	for ctx := patience(t); len(a.all()) < 1; mustDeadline(t, ctx) {
	}
	if got := a.all(); !slices.Equal(got, []uint64{1}) {
		t.Errorf("the audit saw %v", got)
	}
}
