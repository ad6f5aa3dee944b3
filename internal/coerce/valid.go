package coerce

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// maxNesting is the limit of encoding/json.
const maxNesting = 10000

// valid says whether data is one JSON value in UTF-8. It agrees with json.Valid but for UTF-8, at a fraction of its time, which is
// most of the time that reading a command takes.
func valid(data []byte) bool {
	end := validValue(data, afterSpace(data, 0), 0)
	return end >= 0 && afterSpace(data, end) == len(data) && utf8.Valid(data)
}

// syntaxProblem tells what is wrong with data that is not valid.
func syntaxProblem(data []byte) string {
	if afterSpace(data, 0) == len(data) {
		return "the data is empty; it must be a JSON object"
	}
	var raw json.RawMessage
	err := json.Unmarshal(data, &raw)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Sprintf("the data is no JSON: %v, at byte %d", syntax, syntax.Offset)
	}
	return fmt.Sprintf("the data is no JSON: it is not UTF-8 at byte %d", badUTF8(data))
}

// badUTF8 is the number, from 1, of the first byte that is not UTF-8.
func badUTF8(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i + 1
		}
		i += size
	}
	return len(data)
}

// The functions below take the position where something begins, and give the position behind it, or -1 if it is not there.

func afterSpace(b []byte, i int) int {
	for i < len(b) && isSpace(b[i]) {
		i++
	}
	return i
}

func validValue(b []byte, i, depth int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		return validString(b, i)
	case '{':
		return validObject(b, i, depth+1)
	case '[':
		return validArray(b, i, depth+1)
	case 't':
		return validWord(b, i, "true")
	case 'f':
		return validWord(b, i, "false")
	case 'n':
		return validWord(b, i, "null")
	}
	return validNumber(b, i)
}

func validWord(b []byte, i int, word string) int {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}

func validObject(b []byte, i, depth int) int {
	i = afterSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		return i + 1
	}
	for depth <= maxNesting {
		if i = validMember(b, i, depth); i < 0 || i >= len(b) {
			return -1
		}
		switch b[i] {
		case '}':
			return i + 1
		case ',':
			i = afterSpace(b, i+1)
		default:
			return -1
		}
	}
	return -1
}

// validMember takes a key with its value and the space behind.
func validMember(b []byte, i, depth int) int {
	if i >= len(b) || b[i] != '"' {
		return -1
	}
	if i = validString(b, i); i < 0 {
		return -1
	}
	if i = afterSpace(b, i); i >= len(b) || b[i] != ':' {
		return -1
	}
	if i = validValue(b, afterSpace(b, i+1), depth); i < 0 {
		return -1
	}
	return afterSpace(b, i)
}

func validArray(b []byte, i, depth int) int {
	i = afterSpace(b, i+1)
	if i < len(b) && b[i] == ']' {
		return i + 1
	}
	for depth <= maxNesting {
		if i = validValue(b, i, depth); i < 0 {
			return -1
		}
		if i = afterSpace(b, i); i >= len(b) {
			return -1
		}
		switch b[i] {
		case ']':
			return i + 1
		case ',':
			i = afterSpace(b, i+1)
		default:
			return -1
		}
	}
	return -1
}

func validString(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c < ' ':
			return -1
		case c == '\\':
			if i = validEscape(b, i); i < 0 {
				return -1
			}
		}
	}
	return -1
}

// validEscape gives the position of the last byte of an escape.
func validEscape(b []byte, i int) int {
	if i++; i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i
	case 'u':
		if len(b)-i > 4 && isHex(b[i+1]) && isHex(b[i+2]) && isHex(b[i+3]) && isHex(b[i+4]) {
			return i + 4
		}
	}
	return -1
}

func isHex(c byte) bool { return isDigit(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func validNumber(b []byte, i int) int {
	if i < len(b) && b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if i = validDigits(b, i); i < 0 {
		return -1
	}
	if i < len(b) && b[i] == '.' {
		if i = validDigits(b, i+1); i < 0 {
			return -1
		}
	}
	if i >= len(b) || b[i]|0x20 != 'e' {
		return i
	}
	if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
		i++
	}
	return validDigits(b, i)
}

// validDigits takes one digit or more.
func validDigits(b []byte, i int) int {
	start := i
	for i < len(b) && isDigit(b[i]) {
		i++
	}
	if i == start {
		return -1
	}
	return i
}
