package coerce

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxShown is how many bytes of the input a fault shows of one value; maxDetail bounds the text of an error from elsewhere.
const (
	maxShown  = 40
	maxDetail = 200
)

// wrong notes that the token is no what.
func (w *walker) wrong(t token, what string) {
	w.fault("is " + t.show() + ", which is no " + what)
}

// refused notes the error of code that reads a value by itself.
func (w *walker) refused(t token, err error) {
	w.fault("is " + t.show() + ": " + cut(err.Error(), maxDetail))
}

// show is the token as a fault shows it.
func (t token) show() string {
	switch t.kind {
	case text:
		return quote(t.text)
	case object:
		return "an object"
	case array:
		return "a list"
	}
	return cut(string(t.text[:min(len(t.text), maxShown+utf8.UTFMax)]), maxShown)
}

func quote(b []byte) string {
	return strconv.Quote(cut(string(b[:min(len(b), maxShown+utf8.UTFMax)]), maxShown))
}

// cut shortens a text to at most limit bytes, marks that it did, and leaves no half rune.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	end := limit
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "..."
}

// nameText writes a name as a step of a path, quoted if it could be taken for something else.
func nameText(name string) string {
	short := cut(name, maxShown)
	odd := func(r rune) bool {
		return r < '!' || r == '.' || r == '[' || r == ']' || r == '"' || !strconv.IsPrint(r)
	}
	if short == "" || strings.ContainsFunc(strings.TrimSuffix(short, "..."), odd) {
		return strconv.Quote(short)
	}
	return short
}

func indexText(i int) string { return "[" + strconv.Itoa(i) + "]" }
