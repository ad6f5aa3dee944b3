package coerce

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

type kind uint8

const (
	null kind = iota
	boolean
	number
	text
	object
	array
)

// token is one JSON value. Its text is as it was written; that of a string has lost its quotes and escapes, and is valid until the next
// token is read.
type token struct {
	kind kind
	text []byte
	at   int // where the text begins in the data; -1 if it was unescaped
}

// space goes to the next byte that is no white space.
func (w *walker) space() {
	for w.pos < len(w.data) && isSpace(w.data[w.pos]) {
		w.pos++
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// next goes to the next element or key of an array or object. It is false at the closing bracket, which it passes.
func (w *walker) next() bool {
	for {
		switch w.data[w.pos] {
		case ' ', '\t', '\n', '\r', ',':
			w.pos++
		case ']', '}':
			w.pos++
			return false
		default:
			return true
		}
	}
}

// key reads the key of an object's member, and goes to its value.
func (w *walker) key() token {
	t := w.token()
	w.space()
	w.pos++
	w.space()
	return t
}

// passKey passes a key that is written like this name, and goes to its value. It is false, and goes nowhere, when another key is next.
func (w *walker) passKey(name string) bool {
	end := w.pos + 1 + len(name)
	if end >= len(w.data) || w.data[end] != '"' || string(w.data[w.pos+1:end]) != name {
		return false
	}
	w.pos = end + 1
	w.space()
	w.pos++
	w.space()
	return true
}

func (w *walker) kind() kind {
	switch w.data[w.pos] {
	case '"':
		return text
	case '{':
		return object
	case '[':
		return array
	case 'n':
		return null
	case 't', 'f':
		return boolean
	}
	return number
}

// token reads the value at the present position, and passes it.
func (w *walker) token() token {
	k := w.kind()
	if k == text {
		return w.stringToken()
	}
	start := w.pos
	w.skip()
	return token{k, w.data[start:w.pos:w.pos], start}
}

func (w *walker) stringToken() token {
	start := w.pos + 1
	escaped := w.skipString()
	t := token{text, w.data[start : w.pos-1 : w.pos-1], start}
	if escaped {
		w.scratch = unescape(w.scratch[:0], t.text)
		t.text, t.at = w.scratch, -1
	}
	return t
}

// string is the token's text as a string of its own.
func (w *walker) string(t token) string {
	if t.at < 0 || len(w.data) > shareBelow {
		return string(t.text)
	}
	if w.shared == "" {
		w.shared = string(w.data)
	}
	return w.shared[t.at : t.at+len(t.text)]
}

// skip passes the value at the present position.
func (w *walker) skip() {
	switch w.kind() {
	case text:
		w.skipString()
	case object, array:
		w.skipNested()
	default:
		for w.pos < len(w.data) && !endsScalar(w.data[w.pos]) {
			w.pos++
		}
	}
}

func endsScalar(c byte) bool { return c == ',' || c == ']' || c == '}' || isSpace(c) }

// skipString passes a string, and says whether it has escapes.
func (w *walker) skipString() (escaped bool) {
	for i := w.pos + 1; ; i++ {
		switch w.data[i] {
		case '"':
			w.pos = i + 1
			return escaped
		case '\\':
			escaped = true
			i++
		}
	}
}

func (w *walker) skipNested() {
	for depth := 0; ; {
		switch w.data[w.pos] {
		case '"':
			w.skipString()
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		w.pos++
		if depth == 0 {
			return
		}
	}
}

// unescape appends a JSON string's inner text without its escapes. Half a surrogate pair becomes U+FFFD, as in encoding/json.
func unescape(dst, s []byte) []byte {
	for {
		i := bytes.IndexByte(s, '\\')
		if i < 0 {
			return append(dst, s...)
		}
		dst = append(dst, s[:i]...)
		c := s[i+1]
		s = s[i+2:]
		if c == 'u' {
			dst, s = unescapeRune(dst, s)
		} else {
			dst = append(dst, plainEscape(c))
		}
	}
}

func plainEscape(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

// unescapeRune reads the digits of a \u escape, and the low half of a surrogate pair behind it.
func unescapeRune(dst, s []byte) (out, rest []byte) {
	r, s := hex4(s), s[4:]
	if utf16.IsSurrogate(r) {
		pair := utf8.RuneError
		if len(s) >= 6 && s[0] == '\\' && s[1] == 'u' {
			pair = utf16.DecodeRune(r, hex4(s[2:]))
		}
		if pair != utf8.RuneError {
			s = s[6:]
		}
		r = pair
	}
	return utf8.AppendRune(dst, r), s
}

func hex4(s []byte) rune {
	var r rune
	for _, c := range s[:4] {
		switch {
		case c <= '9':
			c -= '0'
		case c <= 'F':
			c -= 'A' - 10
		default:
			c -= 'a' - 10
		}
		r = r<<4 | rune(c)
	}
	return r
}
