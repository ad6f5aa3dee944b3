package cloudevents

import (
	"encoding/hex"
	"errors"
	"strconv"
	"time"

	"github.com/cqrs-server/cqrs/queue"
	"github.com/google/uuid"
)

// Writer writes messages in binary mode, header by header, into memory that they have in common. Begin starts a message, End gives it.
// Headers are named with their prefix. It is for whoever writes many events of one kind: that the required attributes are there, and
// none twice, is theirs to see to.
type Writer struct {
	headers []queue.Header
	values  []byte
	from    int   // of the message's headers
	err     error // what CloudEvents does not bear
}

// mostKept is how many bytes of values are kept for what is written next.
const mostKept = 1 << 20

// Reset lets the memory be written anew. Nobody may use the messages any more.
func (w *Writer) Reset() {
	if cap(w.values) > mostKept {
		*w = Writer{}
	}
	clear(w.headers)
	w.headers, w.values = w.headers[:0], w.values[:0]
}

// Begin starts a message.
func (w *Writer) Begin() {
	w.from, w.err = len(w.headers), nil
	w.Text(prefix+"specversion", specVersion)
}

// Text leaves out what is empty.
func (w *Writer) Text(name, value string) {
	if value == "" {
		return
	}
	if err := checkValue(name, value); err != nil {
		w.err = errors.Join(w.err, err)
	}
	w.close(name, append(w.values, value...))
}

// Number writes a number.
func (w *Writer) Number(name string, n uint64) { w.close(name, strconv.AppendUint(w.values, n, 10)) }

// ID writes a uuid.
func (w *Writer) ID(name string, id uuid.UUID) {
	var text [36]byte
	hex.Encode(text[:], id[:4])
	for i, at := range [...]int{9, 14, 19, 24} {
		text[at-1] = '-'
		hex.Encode(text[at:], id[4+2*i:min(6+2*i, 10)])
	}
	hex.Encode(text[24:], id[10:])
	w.close(name, append(w.values, text[:]...))
}

// Hex writes bytes.
func (w *Writer) Hex(name string, b []byte) { w.close(name, hex.AppendEncode(w.values, b)) }

// Time writes a time.
func (w *Writer) Time(name string, t time.Time) {
	if err := checkTime(t); err != nil {
		w.err = errors.Join(w.err, err)
	}
	w.close(name, t.UTC().AppendFormat(w.values, time.RFC3339Nano))
}

// close ends a header whose value is what has come to the values.
func (w *Writer) close(name string, values []byte) {
	from := len(w.values)
	w.values = values
	w.headers = append(w.headers, queue.Header{Key: name, Value: values[from:len(values):len(values)]})
}

// End gives the message. Its value is data, which it shares.
func (w *Writer) End(data []byte) (queue.Message, error) {
	n := len(w.headers)
	return queue.Message{Value: data, Headers: w.headers[w.from:n:n]}, w.err
}
