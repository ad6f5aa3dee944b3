package sim

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
)

// kind is a kind of fault. Each history has some of them, at rates of its own.
type kind int

const (
	none kind = iota
	crash
	crashOpening
	appendRefused
	appendLost
	appendTimeout
	appendLate
	appendTwice
	appendPart
	appendSplit
	readFails
	boundsFail
	commitLost
	commitFails
	offsetsBack
	storeTimeout
	storeLost
	storePart
	storeThrottled
	storeDown
	storeReadFails
	outputFails
	diskFails
	diskUnknown
	powerCut
	rebalance
	zombie
	pausing
	clockJump
	retention
	foreignCommand
	foreignCommit
	garbageCommand
	garbageEvent
	garbageFeedback
	garbageLetter
	otherVersion
	folderLost
	builtSlowly
	snapshotBack
	codeChanged
	versionChanged
	nextVersion
	resend
	madeAnew
	truncated
	commandsAnew

	numKinds
)

// kinds have the rate that is usual, per call or per tick; 0 for those that few histories have.
var kinds = [numKinds]struct {
	name string
	rate float64
}{
	crash:           {"crash", 0.004},
	crashOpening:    {"crash while it is opened", 0.02},
	appendRefused:   {"append refused", 0.03},
	appendLost:      {"append unknown, not applied", 0.03},
	appendTimeout:   {"append unknown, applied", 0.03},
	appendLate:      {"append unknown, applied later", 0.04},
	appendTwice:     {"append applied twice", 0.02},
	appendPart:      {"append unknown, applied in part", 0.03},
	appendSplit:     {"append with another's message in between", 0.03},
	readFails:       {"read fails", 0.02},
	boundsFail:      {"bounds fail", 0.02},
	commitLost:      {"offsets lost", 0.2},
	commitFails:     {"offsets refused", 0.05},
	offsetsBack:     {"offsets set back", 0.004},
	storeTimeout:    {"store timeout, applied", 0.04},
	storeLost:       {"store timeout, not applied", 0.04},
	storePart:       {"store timeout, applied in part", 0.06},
	storeThrottled:  {"store throttled", 0.04},
	storeDown:       {"store down for a while", 0.001},
	storeReadFails:  {"store read fails", 0.03},
	outputFails:     {"output fails", 0.02},
	diskFails:       {"file commit fails, not applied", 0.03},
	diskUnknown:     {"file commit fails, applied", 0.03},
	powerCut:        {"power cut in a commit", 0},
	rebalance:       {"rebalance", 0.006},
	zombie:          {"zombie", 0.006},
	pausing:         {"pause", 0.004},
	clockJump:       {"clock jump", 0.003},
	retention:       {"retention", 0.02},
	foreignCommand:  {"foreign command", 0.003},
	foreignCommit:   {"foreign commit", 0.002},
	garbageCommand:  {"garbage command", 0.001},
	garbageEvent:    {"garbage in the log", 0.001},
	garbageFeedback: {"garbage feedback", 0.001},
	garbageLetter:   {"garbage dead letter", 0.0005},
	otherVersion:    {"other version in the log", 0.001},
	folderLost:      {"folder lost", 0.001},
	builtSlowly:     {"replica stopped while it is built", 0.0005},
	snapshotBack:    {"snapshot restored", 0.001},
	codeChanged:     {"code changed", 0.0005},
	versionChanged:  {"version of the aggregate changed", 0.001},
	nextVersion:     {"version of the aggregate built beside", 0.002},
	resend:          {"dead letters sent again", 0.002},
	madeAnew:        {"topics made anew", 0},
	truncated:       {"log truncated", 0},
	commandsAnew:    {"commands made anew", 0},
}

func (k kind) String() string { return kinds[k].name }

// chance is how often a kind of fault happens in the history, and when.
type chance struct {
	rate float64
	dice *rand.Rand // of its own, so that one kind does not change when another does
	n    int        // how often it was to happen
	off  bool       // and does not
}

// on tells whether the history has that kind of fault, even if all of its faults are left out.
func (c *chance) on() bool { return c.rate > 0 }

// chooseFaults gives the history its faults: some kinds, some of them often. One in twelve has none, one in ten a disaster.
func (w *World) chooseFaults() {
	for k := range numKinds {
		w.chances[k].dice = rand.New(rand.NewPCG(w.opts.Seed, nameSeed(k.String())))
		w.chances[k].off = slices.Contains(w.opts.Without, k.String())
	}
	if w.rng.IntN(12) == 0 {
		w.count("history without faults")
		return
	}
	if c := &w.chances[powerCut]; c.dice.IntN(9) == 0 {
		c.rate = 0.12
	}
	switch n := w.rng.IntN(12); {
	case n < 2 && w.archive != nil:
		w.choose("history of rebuilds", rebuilds)
		return
	case n == 2:
		w.choose("history of owners that overtake each other", overtakings)
		return
	case n == 3:
		w.choose("history of senders that are ahead of the owner", chases)
		return
	case n == 4 && w.archive != nil:
		w.choose("history of replicas that fall far behind", falls)
		w.refusing, w.toSend = true, 2*w.toSend
		return
	}
	share := 0.2 + 0.7*w.rng.Float64()
	for k := range numKinds {
		c := &w.chances[k]
		if on, factor := c.dice.Float64() < share, []float64{0.3, 1, 1, 3}[c.dice.IntN(4)]; on {
			c.rate = kinds[k].rate * factor
		}
	}
}

// What some histories have in the place of a little of everything, since it takes much of one thing to come to what is rare.
var (
	// replicas that are built anew again and again, and fall behind what the log still has
	rebuilds = map[kind]float64{folderLost: 0.004, retention: 0.05, storeReadFails: 0.15, rebalance: 0.01, crash: 0.004, pausing: 0.01}
	// batches that fall apart
	// decisions that rest on what the owner does not know yet
	chases = map[kind]float64{foreignCommit: 0.015, appendSplit: 0.1, pausing: 0.01, rebalance: 0.003}
	// pieces of the log that are gone when a replica that is half built comes to them
	falls       = map[kind]float64{builtSlowly: 0.006, retention: 0.01, rebalance: 0.015, pausing: 0.002}
	overtakings = map[kind]float64{foreignCommit: 0.01, appendLate: 0.1, appendSplit: 0.2, zombie: 0.01, rebalance: 0.01, pausing: 0.01}
)

func (w *World) choose(what string, rates map[kind]float64) {
	w.count(what)
	for k, rate := range rates {
		w.chances[k].rate = rate
	}
}

// nameSeed makes a number of a name.
func nameSeed(name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return h.Sum64()
}

// has tells whether a kind of fault is one of the history's.
func (w *World) has(k kind) bool { return w.chances[k].rate > 0 && !w.chances[k].off }

// faulty tells whether there are any faults in the history.
func (w *World) faulty() bool {
	return slices.ContainsFunc(w.chances[:], func(c chance) bool { return c.rate > 0 })
}

// happens draws whether a fault happens now. What more there is to draw about it is drawn from lot: what is left out changes as little as
// possible of what comes later.
func (w *World) happens(k kind) bool { return !w.opening && w.draw(k) }

func (w *World) draw(k kind) bool {
	c := &w.chances[k]
	if c.rate == 0 || w.calm || c.dice.Float64() >= c.rate {
		return false
	}
	c.n++
	id := FaultID{int(k), c.n}
	if c.off || !w.opts.wants(id) {
		return false
	}
	w.lotSource.Seed(w.opts.Seed, uint64(k)<<32|uint64(c.n))
	w.happened = append(w.happened, id)
	w.count(k.String())
	if w.opts.Trace != nil {
		w.tracef("fault %s: %s", id, k)
	}
	return true
}

// FaultID is the number of a kind of fault, and which one of its kind in a history.
type FaultID struct{ Kind, N int }

func (f FaultID) String() string { return fmt.Sprintf("%d.%d", f.Kind, f.N) }

// wants tells whether a fault is one of those that are to happen.
func (o *Options) wants(id FaultID) bool { return o.Only == nil || slices.Contains(o.Only, id) }

// Kinds names all kinds of faults.
func Kinds() (names []string) {
	for _, k := range kinds[crash:] {
		names = append(names, k.name)
	}
	return names
}
