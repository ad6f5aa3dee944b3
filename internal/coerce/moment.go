package coerce

import (
	"reflect"
	"time"
)

// millisFrom is the number from which on a time is taken for milliseconds since 1970, and no longer for seconds.
const millisFrom = 100_000_000_000

// decodeTime reads the forms that the package comment lists.
func decodeTime(w *walker, v reflect.Value) {
	t := w.token()
	moment, ok := parseTime(t)
	if !ok {
		w.wrong(t, "time: use RFC 3339, yyyy-MM-dd, yyyy/MM/dd, yyyy-MM-dd HH:mm:ss.S, or seconds or milliseconds since 1970")
		return
	}
	if moment = moment.UTC(); moment.Year() < 1 || moment.Year() > 9999 {
		w.fault("is " + t.show() + ", which is not within the years 1 to 9999")
		return
	}
	*v.Addr().Interface().(*time.Time) = moment
}

func parseTime(t token) (time.Time, bool) {
	if t.kind != number && t.kind != text {
		return time.Time{}, false
	}
	if n, ok := parseWhole(t.text, false); ok {
		return epoch(n), true
	}
	if t.kind == number {
		return time.Time{}, false
	}
	return parseMoment(t.text)
}

// epoch takes a number of 8 digits such as 20150209 for seconds too, as the original does.
func epoch(n whole) time.Time {
	m, ok := n.magnitude()
	if !ok || m > 1<<62 {
		m = 1 << 62 // out of every year that is allowed
	}
	count := int64(m)
	if n.negative {
		count = -count
	}
	if m < millisFrom {
		return time.Unix(count, 0)
	}
	return time.UnixMilli(count)
}

// parseMoment reads a date, or a date and a time of day. Numbers need not be of full width, but in RFC 3339 they must.
func parseMoment(b []byte) (time.Time, bool) {
	c := &clock{rest: b, narrow: true}
	switch {
	case len(b) > 10 && b[10]|0x20 == 't':
		c.narrow = false
		c.date('-')
		c.rest = c.rest[min(1, len(c.rest)):]
		c.timeOfDay()
		c.zone()
	case len(b) > 4 && b[4] == '/':
		c.date('/')
	default:
		c.date('-')
		if len(c.rest) > 0 {
			c.take(' ')
			c.timeOfDay()
		}
	}
	return c.time()
}

// clock takes a date and time apart. Once something does not fit it is bad, and stays so.
type clock struct {
	rest                                       []byte
	narrow                                     bool // numbers of one digit are allowed where two are usual
	bad                                        bool
	year, month, day, hour, minute, sec, nanos int
	offset                                     int // seconds east of UTC
}

func (c *clock) date(separator byte) {
	c.year = c.number(4, 4, 9999)
	c.take(separator)
	c.month = c.pair(12)
	c.take(separator)
	c.day = c.pair(31)
	c.bad = c.bad || c.month == 0 || c.day == 0
}

func (c *clock) timeOfDay() {
	c.hour = c.pair(23)
	c.take(':')
	c.minute = c.pair(59)
	c.take(':')
	c.sec = c.pair(59)
	if len(c.rest) > 0 && c.rest[0] == '.' {
		c.fraction()
	}
}

// fraction keeps nine digits, as time.Time does, and passes the others.
func (c *clock) fraction() {
	digits, rest := cutDigits(c.rest[1:])
	c.rest = rest
	c.bad = c.bad || len(digits) == 0
	for i := range 9 {
		c.nanos *= 10
		if i < len(digits) {
			c.nanos += int(digits[i] - '0')
		}
	}
}

// zone takes Z, or an offset: +02:00, or as ISO 8601 has it, too, +0200 and +02.
func (c *clock) zone() {
	if len(c.rest) > 0 && c.rest[0]|0x20 == 'z' {
		c.rest = c.rest[1:]
		return
	}
	sign := 1
	if len(c.rest) > 0 && c.rest[0] == '-' {
		sign = -1
		c.take('-')
	} else {
		c.take('+')
	}
	c.offset = sign * c.pair(23) * 3600
	if len(c.rest) == 0 {
		return
	}
	if c.rest[0] == ':' {
		c.take(':')
	}
	c.offset += sign * c.pair(59) * 60
}

func (c *clock) take(want byte) {
	if len(c.rest) == 0 || c.rest[0] != want {
		c.bad = true
		return
	}
	c.rest = c.rest[1:]
}

func (c *clock) pair(limit int) int {
	if c.narrow {
		return c.number(1, 2, limit)
	}
	return c.number(2, 2, limit)
}

// number takes at least so many digits, and no more than most.
func (c *clock) number(least, most, limit int) int {
	n, i := 0, 0
	for i < most && i < len(c.rest) && isDigit(c.rest[i]) {
		n = n*10 + int(c.rest[i]-'0')
		i++
	}
	c.rest = c.rest[i:]
	c.bad = c.bad || i < least || n > limit
	return n
}

// time is false for what was bad, has something behind it, or is a day that its month does not have.
func (c *clock) time() (time.Time, bool) {
	if c.bad || len(c.rest) > 0 {
		return time.Time{}, false
	}
	t := time.Date(c.year, time.Month(c.month), c.day, c.hour, c.minute, c.sec, c.nanos, time.UTC)
	if t.Day() != c.day {
		return time.Time{}, false
	}
	return t.Add(-time.Duration(c.offset) * time.Second), true
}

func decodeDuration(w *walker, v reflect.Value) {
	t := w.token()
	if t.kind == text {
		if d, err := time.ParseDuration(string(t.text)); err == nil {
			v.SetInt(int64(d))
			return
		}
	}
	nanos, ok := t.nanos()
	if !ok {
		w.wrong(t, "duration: use a text such as 1h30m, or nanoseconds")
		return
	}
	v.SetInt(nanos)
}

// nanos reads a whole number that fits in an int64.
func (t token) nanos() (int64, bool) {
	if t.kind != number && t.kind != text {
		return 0, false
	}
	n, ok := parseWhole(t.text, false)
	m, fits := n.magnitude()
	switch {
	case !ok || !fits || m > 1<<63 || m == 1<<63 && !n.negative:
		return 0, false
	case n.negative:
		return -int64(m), true
	}
	return int64(m), true
}
