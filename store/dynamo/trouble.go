package dynamo

import (
	"fmt"
	"sync"
	"time"
)

// trouble is that of a call that is made again.
type trouble struct {
	mu    sync.Mutex
	since time.Time
	err   error
}

func (t *trouble) note(since time.Time, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.since, t.err = since, err
}

// usual is how long a call may be tried again before that is a trouble. A request that is throttled now and then is none.
const usual = time.Second

// Trouble implements store.Troubled: it is the last error of the call that has been tried again for the longest time.
func (s *Store) Trouble() error {
	since := time.Now().Add(-usual)
	var err error
	s.troubles.Range(func(key, _ any) bool {
		t := key.(*trouble)
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.since.Before(since) {
			since, err = t.since, t.err
		}
		return true
	})
	if err == nil {
		return nil
	}
	return fmt.Errorf("store: table %s: trying again since %s: %w", s.table, since.Format(time.TimeOnly), err)
}
