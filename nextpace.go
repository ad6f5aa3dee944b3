package cqrs

import "time"

// pace is how much of the next version is built at a time, and how close it must come. Others may have to wait for a transaction: so it
// is short, and while others write, a rest follows that is as long.
type pace struct {
	fixed bool      // in a simulation the clock decides nothing, and one transaction follows when it is asked for
	most  int       // commits in a transaction
	speed float64   // commits in a second
	wrote int       // the number of its last transaction
	met   time.Time // when another's transaction was met last

	slack float64 // how many times more than wished may be left
	left  uint64  // when this was looked at last
}

const (
	stepFor   = 20 * time.Millisecond  // about, of a transaction with its commit
	quietFor  = 100 * time.Millisecond // where nobody else has written for a while
	quietFrom = time.Second            // on
	dueWithin = 20 * time.Millisecond  // of building that is left, about
	dueLeft   = 16                     // commits that may be left in any case
)

func newPace(fixed bool) pace {
	p := pace{fixed: fixed, most: 64, slack: 1, left: 1 << 62}
	if fixed { // where little is built, something must be left for the take-over
		p.most = 4
	}
	return p
}

// others tells whether somebody else has written since the last transaction, when one has this number.
func (p *pace) others(number int) bool { return p.wrote > 0 && number != p.wrote+1 }

// target is how long the transaction with this number may take.
func (p *pace) target(number int, now time.Time) time.Duration {
	if p.others(number) || p.met.IsZero() {
		p.met = now
	}
	if now.Sub(p.met) > quietFrom {
		return quietFor
	}
	return stepFor
}

// wentBy learns from a transaction, and gives how long to rest behind it.
func (p *pace) wentBy(number, commits int, target, took time.Duration) (rest time.Duration) {
	if p.others(number) {
		rest = took
	}
	p.wrote = number
	if p.fixed {
		return 0
	}
	took = max(took, time.Microsecond) // clocks may be coarse
	p.speed = float64(commits) / took.Seconds()
	if commits >= p.most || took > target {
		change := min(max(target.Seconds()/took.Seconds(), 0.5), 2)
		p.most = min(max(int(change*float64(p.most)), dueLeft), stepCommits)
	}
	return rest
}

func (p *pace) reach() uint64 { return uint64(max(dueLeft, p.speed*dueWithin.Seconds()) * p.slack) }

// near tells whether what is left can be folded between two batches. When the building comes no closer any more, because so much is written
// meanwhile, more may be left.
func (p *pace) near(left uint64) bool {
	if left > p.left/2 {
		p.slack = min(2*p.slack, 1<<16)
	}
	p.left = left
	return left <= p.reach()
}
