package bolt

import "sync"

// wakes tells readers that a partition has grown.
type wakes struct {
	mu      sync.Mutex
	waiting map[partition]chan struct{} // closed and taken out when the partition grows
	notify  map[partition]map[*func()]struct{}
}

// next is closed when the partition grows.
func (w *wakes) next(p partition) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.waiting[p]
	if c == nil {
		c = make(chan struct{})
		if w.waiting == nil {
			w.waiting = map[partition]chan struct{}{}
		}
		w.waiting[p] = c
	}
	return c
}

func (w *wakes) wake(p partition) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wakeLocked(p)
}

func (w *wakes) wakeLocked(p partition) {
	if c := w.waiting[p]; c != nil {
		close(c)
		delete(w.waiting, p)
	}
	for f := range w.notify[p] {
		(*f)()
	}
}

// wakeAll is for when it is not known which partitions have grown.
func (w *wakes) wakeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := range w.waiting {
		close(w.waiting[p])
		delete(w.waiting, p)
	}
	for p := range w.notify {
		w.wakeLocked(p)
	}
}

// Notify has f called after each commit that appended to the partition, and when it may have grown unnoticed. f is called
// under a lock: it must not wait, nor call the queue. After stop it is not called any more.
func (q *Queue) Notify(topic string, shard int, f func()) (stop func()) {
	p, w := partition{topic, shard}, &q.wakes
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.notify == nil {
		w.notify = map[partition]map[*func()]struct{}{}
	}
	if w.notify[p] == nil {
		w.notify[p] = map[*func()]struct{}{}
	}
	w.notify[p][&f] = struct{}{}
	return func() { w.forget(p, &f) }
}

func (w *wakes) forget(p partition, f *func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.notify[p], f)
	if len(w.notify[p]) == 0 {
		delete(w.notify, p)
	}
}
