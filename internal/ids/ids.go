// Package ids derives the ids that must be the same on every node, attempt and day.
package ids

import (
	"crypto/sha1"
	"strconv"

	"github.com/google/uuid"
)

// Event is the id of the event at index of a command's list, in the given segment:
// v5(OID namespace, "<command id>:<index>/<segment>"), RFC 9562 section 5.5.
func Event(command uuid.UUID, index int, segment string) uuid.UUID {
	var buf [96]byte
	name := append(buf[:0], uuid.NameSpaceOID[:]...)
	name = appendUUID(name, command)
	name = append(name, ':')
	name = strconv.AppendInt(name, int64(index), 10)
	name = append(name, '/')
	name = append(name, segment...)
	return v5(name)
}

// Fresh is the nth new id that a command's decision asks for. The '#' keeps it apart from event ids.
func Fresh(command uuid.UUID, n int) uuid.UUID {
	var buf [96]byte
	name := append(buf[:0], uuid.NameSpaceOID[:]...)
	name = appendUUID(name, command)
	name = append(name, '#')
	name = strconv.AppendInt(name, int64(n), 10)
	return v5(name)
}

// Foreign is the id that stands for a text which some other program uses as one, within a source of its own. The '?' keeps it
// apart from the others.
func Foreign(source, id string) uuid.UUID {
	name := append(uuid.NameSpaceOID[:len(uuid.NameSpaceOID):len(uuid.NameSpaceOID)], '?')
	name = append(strconv.AppendQuote(name, source), id...)
	return v5(name)
}

// v5 hashes namespace and name, which stand one behind the other in data.
func v5(data []byte) uuid.UUID {
	sum := sha1.Sum(data)
	id := uuid.UUID(sum[:16])
	id[6] = id[6]&0x0f | 0x50
	id[8] = id[8]&0x3f | 0x80
	return id
}

func appendUUID(dst []byte, id uuid.UUID) []byte {
	const digits = "0123456789abcdef"
	for i, b := range id {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst = append(dst, '-')
		}
		dst = append(dst, digits[b>>4], digits[b&15])
	}
	return dst
}
