package coerce

import (
	"bytes"
	"math/bits"
)

// whole is a whole number: its digits, and as many zeros behind them. Zero has no digits.
type whole struct {
	negative bool
	digits   []byte
	zeros    int64
}

// parseWhole reads a whole number in decimal: an optional sign and digits, with leading zeros or not. A loose one may have a fraction
// or an exponent, as long as its value is whole. It may not have anything else (no 0x10, 1_000, 1/2, 1N, and no spaces).
func parseWhole(b []byte, loose bool) (whole, bool) {
	var n whole
	b, n.negative = cutSign(b)
	integer, rest := cutDigits(b)
	if len(integer) == 0 || len(rest) > 0 && !loose {
		return n, false
	}
	var fraction []byte
	if len(rest) > 0 && rest[0] == '.' {
		if fraction, rest = cutDigits(rest[1:]); len(fraction) == 0 {
			return n, false
		}
	}
	exponent, ok := parseExponent(rest)
	if !ok {
		return n, false
	}
	n.digits = integer
	if len(fraction) > 0 {
		n.digits = append(append(make([]byte, 0, len(b)), integer...), fraction...)
	}
	return n, n.normalize(exponent - int64(len(fraction)))
}

// normalize takes the zeros off both ends of the digits. It is false if the number times ten to the exponent is not whole.
func (n *whole) normalize(exponent int64) bool {
	n.digits = bytes.TrimLeft(n.digits, "0")
	short := bytes.TrimRight(n.digits, "0")
	n.zeros = exponent + int64(len(n.digits)-len(short))
	n.digits = short
	if len(short) == 0 {
		n.zeros = 0
	}
	return n.zeros >= 0
}

func cutSign(b []byte) (rest []byte, negative bool) {
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		return b[1:], b[0] == '-'
	}
	return b, false
}

func cutDigits(b []byte) (digits, rest []byte) {
	i := 0
	for i < len(b) && isDigit(b[i]) {
		i++
	}
	return b[:i], b[i:]
}

// maxExponent stands for every exponent that is larger: no number of a size that matters has one.
const maxExponent = 1 << 40

// parseExponent reads e5, E-5 and the like. Nothing is 0.
func parseExponent(b []byte) (int64, bool) {
	if len(b) == 0 {
		return 0, true
	}
	if b[0]|0x20 != 'e' {
		return 0, false
	}
	b, negative := cutSign(b[1:])
	digits, rest := cutDigits(b)
	if len(digits) == 0 || len(rest) > 0 {
		return 0, false
	}
	var n int64
	for _, c := range digits {
		n = min(n*10+int64(c-'0'), maxExponent)
	}
	if negative {
		n = -n
	}
	return n, true
}

// magnitude is the number without its sign. It is false if that needs more than 64 bits.
func (n whole) magnitude() (uint64, bool) {
	if int64(len(n.digits))+n.zeros > 20 {
		return 0, false
	}
	var m uint64
	ok := true
	for _, c := range n.digits {
		m, ok = timesTen(m, uint64(c-'0'), ok)
	}
	for range n.zeros {
		m, ok = timesTen(m, 0, ok)
	}
	return m, ok
}

func timesTen(m, digit uint64, ok bool) (uint64, bool) {
	high, low := bits.Mul64(m, 10)
	sum, carry := bits.Add64(low, digit, 0)
	return sum, ok && high == 0 && carry == 0
}

// isDecimal says whether a text is made of what decimal numbers are made of, which keeps out NaN, Inf, 0x1p-2 and 1_000.
func isDecimal(b []byte) bool {
	for _, c := range b {
		switch {
		case isDigit(c):
		case c == '-', c == '+', c == '.', c|0x20 == 'e':
		default:
			return false
		}
	}
	return len(b) > 0
}
