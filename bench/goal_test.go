package main

import (
	"math"
	"testing"
)

func TestLines(t *testing.T) {
	least, most := atLeast("a", 1.2, 3), atMost("b", 0.6, 0.25)
	cases := []struct {
		goal   goal
		value  float64
		line   string
		passes bool
	}{
		{least, 3.004, "bench a ratio=3 must=>=1.2 then=>=3 then-met", true},
		{least, 1.2, "bench a ratio=1.2 must=>=1.2 then=>=3 met", true},
		{least, 1.19, "bench a ratio=1.19 must=>=1.2 then=>=3 MISSED", false},
		{most, 0.25, "bench b ratio=0.25 must=<=0.6 then=<=0.25 then-met", true},
		{most, 0.6, "bench b ratio=0.6 must=<=0.6 then=<=0.25 met", true},
		{most, 0.61, "bench b ratio=0.61 must=<=0.6 then=<=0.25 MISSED", false},
		{most, math.NaN(), "bench b ratio=NaN must=<=0.6 then=<=0.25 MISSED", false},
		{atMost("c", 256, 0).absolute(), 12, "bench c value=12 must=<=256 met", true},
		{shown("d").absolute(), 8679.4, "bench d value=8679", true},
		{shown("e"), 0.5, "bench e ratio=0.5", true},
	}
	for _, c := range cases {
		if got := c.goal.line(c.value); got != c.line {
			t.Errorf("got  %s\nwant %s", got, c.line)
		}
		if got := c.goal.passes(c.value); got != c.passes {
			t.Errorf("%s: passes is %v", c.line, got)
		}
	}
}

func TestRatioIsTheMedianOfTheRounds(t *testing.T) {
	pairs := []pair{{usage{n: 8}, usage{n: 1}}, {usage{n: 2}, usage{n: 1}}, {usage{n: 3}, usage{n: 1}}}
	if got := ratio(pairs, func(u usage) float64 { return float64(u.n) }); got != 3 {
		t.Errorf("got %v", got)
	}
	if got := median([]float64{4, 1, 2, 3}); got != 2.5 {
		t.Errorf("the median of an even number is %v", got)
	}
}
