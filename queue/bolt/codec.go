package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cqrs-server/cqrs/queue"
)

// A message is stored as a version byte, the time (varint), the number of headers (uvarint), each header's key and
// value, the key and the value. Each of these bytes has its length plus one before it (uvarint); 0 stands for nil. The offset is
// the bucket's key.
const version = 1

// DamagedError says that a stored message can't be read. The messages around it can.
type DamagedError struct {
	Topic  string
	Shard  int
	Offset int64
	Reason string
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("queue: the message at offset %d of %q shard %d is damaged: %s", e.Offset, e.Topic, e.Shard, e.Reason)
}

var (
	errVersion = errors.New("it was written by a version of the library that this one does not know")
	errCutOff  = errors.New("it is cut off")
	errTooLong = errors.New("bytes follow its end")
	errMissing = errors.New("it is missing")
)

func encodeAll(msgs []queue.Message) [][]byte {
	encoded := make([][]byte, len(msgs))
	for i := range msgs {
		encoded[i] = encode(&msgs[i])
	}
	return encoded
}

func encode(m *queue.Message) []byte { return appendMessage(nil, m) }

func appendMessage(b []byte, m *queue.Message) []byte {
	const most = binary.MaxVarintLen64 // of the bytes before each part
	b = slices.Grow(b, 1+most*(4+2*len(m.Headers))+m.Size())
	b = append(b, version)
	b = binary.AppendVarint(b, m.Time)
	b = binary.AppendUvarint(b, uint64(len(m.Headers)))
	for _, h := range m.Headers {
		b = appendBytes(b, []byte(h.Key))
		b = appendBytes(b, h.Value)
	}
	b = appendBytes(b, m.Key)
	return appendBytes(b, m.Value)
}

func appendBytes(b, part []byte) []byte {
	if part == nil {
		return append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(part))+1)
	return append(b, part...)
}

// decode is the reverse of encode. The message shares the bytes of b.
func decode(b []byte) (queue.Message, error) {
	if len(b) == 0 || b[0] != version {
		return queue.Message{}, errVersion
	}
	d := decoder{rest: b[1:]}
	m := queue.Message{Time: d.varint(), Headers: d.headers(), Key: d.bytes(), Value: d.bytes()}
	if d.err == nil && len(d.rest) > 0 {
		d.err = errTooLong
	}
	if d.err != nil {
		return queue.Message{}, d.err
	}
	return m, nil
}

// decoder takes a message apart. After an error it gives zero values.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) headers() []queue.Header {
	n := d.uvarint()
	if n > uint64(len(d.rest))/2 { // each takes two bytes at least
		d.err = errCutOff
	}
	if d.err != nil || n == 0 {
		return nil
	}
	headers := make([]queue.Header, n)
	for i := range headers {
		headers[i] = queue.Header{Key: string(d.bytes()), Value: d.bytes()}
	}
	return headers
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n == 0 {
		return nil
	}
	if n--; n > uint64(len(d.rest)) {
		d.err = errCutOff
		return nil
	}
	part := d.rest[:n:n]
	d.rest = d.rest[n:]
	return part
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	return take(d, v, n)
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.rest)
	return take(d, v, n)
}

// take moves on behind a number of n bytes.
func take[T int64 | uint64](d *decoder, v T, n int) T {
	if n <= 0 {
		d.err = errCutOff
	}
	if d.err != nil {
		d.rest = nil
		return 0
	}
	d.rest = d.rest[n:]
	return v
}
