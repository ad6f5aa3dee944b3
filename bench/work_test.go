package main

import (
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
)

func testWork(t *testing.T, n int) *work {
	t.Helper()
	w, err := newWork(n, 1)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestWorkIsWhatItSays(t *testing.T) {
	const n = 100_000
	w := testWork(t, n)
	if again := n - w.once(); again < n/repeats*8/10 || again > n/repeats*12/10 {
		t.Errorf("%d of %d commands are repetitions, and about one in %d should be", again, n, repeats)
	}
	if top := w.sums()[0]; top < n/12 || top > n/8 {
		t.Errorf("the first user has %d views of %d, and Zipf's law gives about a tenth", top, n)
	}
	payload, err := json.Marshal(w.view(0))
	if err != nil || len(payload) < 150 || len(payload) > 170 {
		t.Errorf("the payload has %d bytes, and should have about 160 (%v)", len(payload), err)
	}
	event, err := json.Marshal(viewed(w.ids[0], w.view(0)))
	if err != nil || len(event) < 275 || len(event) > 305 {
		t.Errorf("the event has %d bytes, and should have about 291 (%v)", len(event), err)
	}
}

func TestRepetitionsAreTheSameCommand(t *testing.T) {
	for name, favour := range map[string]bool{"as drawn": false, "with a favourite": true} {
		t.Run(name, func(t *testing.T) {
			w := testWork(t, 20_000)
			if favour {
				w.favour(0, 2)
			}
			users, total := map[uuid.UUID]int32{}, 0
			for i, id := range w.ids {
				if before, ok := users[id]; ok && before != w.users[i] {
					t.Fatalf("command %d is of user %d, and of user %d when it is sent again", i, before, w.users[i])
				}
				users[id] = w.users[i]
			}
			for _, n := range w.sums() {
				total += n
			}
			if total != len(users) || w.once() != len(users) {
				t.Errorf("%d views count and %d commands differ, of %d ids", total, w.once(), len(users))
			}
			if top := w.sums()[0]; favour && top < 10_000 {
				t.Errorf("the favourite has %d views", top)
			}
		})
	}
}

func TestCheckFindsWhatIsLostOrRepeated(t *testing.T) {
	w := testWork(t, 2000)
	for name, wrong := range map[string]int{"right": 0, "lost": -1, "repeated": 1} {
		t.Run(name, func(t *testing.T) {
			counts := map[string]int{}
			for user, n := range w.sums() {
				counts[userName(user)] = n
			}
			counts[userName(0)] += wrong
			if err := w.checkMap(counts); (err != nil) != (wrong != 0) {
				t.Errorf("check gave %v", err)
			}
		})
	}
}

func TestBegunIsThePartThatWasDone(t *testing.T) {
	w := testWork(t, 5000)
	part := w.begun(3000)
	if part.len() != 3000 || part.once() >= w.once() {
		t.Errorf("%d commands, %d different ones of %d", part.len(), part.once(), w.once())
	}
}

func TestEach(t *testing.T) {
	var calls, now, most atomic.Int64
	err := each(500, 7, func(int) error {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		calls.Add(1)
		now.Add(-1)
		return nil
	})
	if err != nil || calls.Load() != 500 || most.Load() > 7 {
		t.Errorf("%d calls, %d at a time, error %v", calls.Load(), most.Load(), err)
	}
}

func TestEachStopsAtAnError(t *testing.T) {
	var calls atomic.Int64
	err := each(1_000_000, 2, func(i int) error {
		calls.Add(1)
		if i == 10 {
			return errors.New("broken")
		}
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "broken") || calls.Load() == 1_000_000 {
		t.Errorf("error %v after %d calls", err, calls.Load())
	}
}
