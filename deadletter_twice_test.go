package cqrs_test

import (
	"testing"

	"github.com/cqrs-server/cqrs"
)

// A letter that was written twice, because a process died in between, is one letter, and is done with at once.
func TestDeadLetterThatWasWrittenTwice(t *testing.T) {
	rt, _, _ := start(t, t.TempDir(), counterConfig())
	for _, mode := range []string{"panic", "panic", "fold-error"} {
		_, _ = do(t, rt, add{Name: "a", By: 1, Mode: mode})
	}
	cqrs.RepeatDead(t, rt)
	letters, err := rt.DeadLetters(t.Context())
	if err != nil || len(letters) != 3 {
		t.Fatalf("%d letters, %v", len(letters), err)
	}
	for i, l := range letters {
		if l.Offset != int64(i) {
			t.Errorf("letter %d is at offset %d", i, l.Offset)
		}
	}
	if err := rt.Discard(t.Context(), letters[0], letters[2]); err != nil {
		t.Fatal(err)
	}
	if letters, err = rt.DeadLetters(t.Context()); err != nil || len(letters) != 1 || letters[0].Offset != 1 {
		t.Errorf("%+v %v", letters, err)
	}
}
