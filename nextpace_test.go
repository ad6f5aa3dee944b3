package cqrs

import (
	"testing"
	"time"
)

// What commands may have to wait for is short, and a rest follows it while others write.
func TestPaceOfTheNextVersion(t *testing.T) {
	p, now := newPace(false), time.Unix(1000, 0)
	step := func(number, commits int, took, wantTarget, wantRest time.Duration, wantMost int) {
		t.Helper()
		target := p.target(number, now)
		rest := p.wentBy(number, commits, target, took)
		if target != wantTarget || rest != wantRest || p.most != wantMost {
			t.Errorf("transaction %d: target %v, rest %v, then %d commits; wanted %v, %v, %d", number, target, rest, p.most, wantTarget, wantRest, wantMost)
		}
		now = now.Add(300 * time.Millisecond)
	}
	const ms = time.Millisecond
	step(7, 64, 5*ms, stepFor, 0, 128)          // quick: twice as many
	step(9, 128, 80*ms, stepFor, 80*ms, 64)     // another has written, and it took too long
	step(10, 64, 20*ms, stepFor, 0, 64)         // just right
	step(11, 3, 2*ms, stepFor, 0, 64)           // there was no more to fold
	step(12, 64, 16*ms, stepFor, 0, 80)         // a little quicker
	step(13, 80, 50*ms, quietFor, 0, 160)       // nobody has written for a while
	step(15, 160, 100*ms, stepFor, 100*ms, 80)  // somebody has
	step(16, 1, 10*time.Second, stepFor, 0, 40) // a slow disk
	for i := range 10 {
		step(17+i, p.most, 10*time.Second, p.target(17+i, now), 0, max(p.most/2, dueLeft))
	}
}

// The owner takes over when little is left; where it comes no closer, more may be left each time.
func TestNextVersionComesNearEnough(t *testing.T) {
	p := newPace(false)
	p.speed = 10_000
	for _, c := range []struct {
		left uint64
		near bool
	}{{1_000_000, false}, {50_000, false}, {201, false}, {200, true}} {
		p.slack = 1
		if p.near(c.left) != c.near {
			t.Errorf("%d left, at %v commits a second: near %v", c.left, p.speed, !c.near)
		}
	}
	p = newPace(false)
	p.speed = 10_000
	tries := 0
	for tries = 1; !p.near(3000); tries++ {
	}
	if tries != 5 { // 200 at first, and it doubles from the second on
		t.Errorf("3000 were near enough at try %d", tries)
	}
	p = newPace(false)
	if !p.near(dueLeft) {
		t.Error("the least is not near enough")
	}
}
