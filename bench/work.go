package main

import (
	"fmt"
	"math/rand"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"
)

const (
	users    = 10_000
	inFlight = 1000 // commands that have been sent and have not ended
	repeats  = 100  // one command in so many is sent again, under its id
)

// PageView is the payload of the work's command: about 160 bytes of JSON.
type PageView struct {
	User     string `json:"user"`
	URL      string `json:"url"`
	Referrer string `json:"referrer"`
	Agent    string `json:"agent"`
}

// work is what every contender is given: page views of users chosen by Zipf's law, each with an id, some of them twice.
type work struct {
	ids   []uuid.UUID
	users []int32
	first []int32 // the index at which the same command was sent first
}

// newWork draws the work from seed. The ids grow with time, as those that a sender makes do.
func newWork(n int, seed int64) (*work, error) {
	r := rand.New(rand.NewSource(seed))
	zipf := rand.NewZipf(r, 1.01, 1, users-1)
	w := &work{ids: make([]uuid.UUID, n), users: make([]int32, n), first: make([]int32, n)}
	for i := range n {
		if i > 0 && r.Intn(repeats) == 0 {
			w.repeat(i, w.first[r.Intn(i)])
			continue
		}
		id, err := uuid.NewV7()
		if err != nil {
			return nil, err
		}
		w.ids[i], w.users[i], w.first[i] = id, int32(zipf.Uint64()), int32(i)
	}
	return w, nil
}

func (w *work) repeat(i int, first int32) {
	w.ids[i], w.users[i], w.first[i] = w.ids[first], w.users[first], first
}

// favour gives every nth command to one user.
func (w *work) favour(user int32, nth int) {
	for i, first := range w.first {
		if first%int32(nth) == 0 {
			w.users[i] = user
		}
	}
}

// begun is the part of the work with its first n commands.
func (w *work) begun(n int) *work { return &work{w.ids[:n], w.users[:n], w.first[:n]} }

// once counts the commands without their repetitions.
func (w *work) once() (n int) {
	for i, first := range w.first {
		if first == int32(i) {
			n++
		}
	}
	return n
}

// sums gives the views that count, by user.
func (w *work) sums() []int {
	sums := make([]int, users)
	for i, first := range w.first {
		if first == int32(i) {
			sums[w.users[i]]++
		}
	}
	return sums
}

func (w *work) len() int { return len(w.ids) }

// view is the payload of a command. Every time it is sent it is the same.
func (w *work) view(i int) PageView { return viewOf(int(w.users[i])) }

func viewOf(user int) PageView {
	return PageView{
		User:     userName(user),
		URL:      "https://shop.example/items/0815?tab=reviews",
		Referrer: "https://search.example/find?q=boots",
		Agent:    "Mozilla/5.0 (X11; Linux x86_64)",
	}
}

func userName(user int) string { return names[user] }

// names are made beforehand, so that no contender pays for them.
var names = func() (list [users]string) {
	for i := range list {
		list[i] = fmt.Sprintf("user-%06d", i)
	}
	return list
}()

// check compares what a contender counted with what it was given: a repetition must not count.
func (w *work) check(count func(user string) (int, error)) error {
	for user, want := range w.sums() {
		got, err := count(userName(user))
		if err != nil {
			return fmt.Errorf("the views of %s can't be read: %w", userName(user), err)
		}
		if got != want {
			return fmt.Errorf("%s has %d views, and should have %d: the contender lost or repeated an effect, and its speed means nothing",
				userName(user), got, want)
		}
	}
	return nil
}

// checkMap compares a view that is a map.
func (w *work) checkMap(counts map[string]int) error {
	return w.check(func(user string) (int, error) { return counts[user], nil })
}

// each calls do for 0 to n-1, as many calls at a time as limit says, begun in order. It returns the first error, and begins no call behind it.
func each(n, limit int, do func(i int) error) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	var once sync.Once
	var first error
	for range min(n, limit) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					once.Do(func() { first = err })
					next.Store(int64(n))
					return
				}
			}
		})
	}
	wg.Wait()
	return first
}
