package bolt

// arena hands out memory for values. bbolt keeps a value until its transaction ends, and only then may the memory be used again.
type arena struct {
	buf  []byte
	full int // bytes handed out of earlier buffers since the last reset
}

// maxKept is how much memory an arena keeps from one transaction to the next.
const maxKept = 8 << 20

// take gives n bytes of capacity with nothing in them.
func (a *arena) take(n int) []byte {
	start := len(a.buf)
	if cap(a.buf)-start < n {
		a.full += start
		a.buf, start = make([]byte, 0, max(n, cap(a.buf), a.full)), 0
	}
	a.buf = a.buf[:start+n]
	return a.buf[start : start : start+n]
}

// giveBack takes back the end of what was last taken, of which only used bytes are used.
func (a *arena) giveBack(taken, used int) { a.buf = a.buf[:len(a.buf)-(taken-used)] }

// reset takes all memory back. The transaction that held it has ended.
func (a *arena) reset() {
	if need := a.full + len(a.buf); a.full > 0 && need <= maxKept/2 {
		a.buf = make([]byte, 0, need+need/4) // one buffer is enough for the next batch of this size
	}
	if a.full = 0; cap(a.buf) > maxKept {
		a.buf = nil
	}
	a.buf = a.buf[:0]
}
