package sim

import "slices"

// kind is a kind of fault. Each history has some of them, at rates of its own.
type kind int

const (
	none kind = iota
	crash
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
	diskFails
	diskUnknown
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
	snapshotBack
	codeChanged
	resend
	madeAnew
	truncated
	commandsAnew

	numKinds
)

// kinds have the rate that is usual, per call or per tick; 0 for disasters, which come once.
var kinds = [numKinds]struct {
	name string
	rate float64
}{
	crash:           {"crash", 0.004},
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
	diskFails:       {"file commit fails, not applied", 0.03},
	diskUnknown:     {"file commit fails, applied", 0.03},
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
	snapshotBack:    {"snapshot restored", 0.001},
	codeChanged:     {"code changed", 0.0005},
	resend:          {"dead letters sent again", 0.002},
	madeAnew:        {"topics made anew", 0},
	truncated:       {"log truncated", 0},
	commandsAnew:    {"commands made anew", 0},
}

func (k kind) String() string { return kinds[k].name }

// chooseFaults gives the history its faults: some kinds, some of them often. One in twelve has none, one in ten a disaster.
func (w *World) chooseFaults() {
	if w.rng.IntN(12) == 0 {
		w.count("history without faults")
		return
	}
	if w.rng.IntN(6) == 0 && w.archive != nil { // replicas that are built anew again and again
		for kind, rate := range map[kind]float64{folderLost: 0.004, retention: 0.05, storeReadFails: 0.15, rebalance: 0.01, crash: 0.004} {
			w.setRate(kind, rate)
		}
		w.count("history of rebuilds")
		return
	}
	share := 0.2 + 0.7*w.rng.Float64()
	for k := range numKinds {
		if kinds[k].rate == 0 {
			continue
		}
		on, factor := w.rng.Float64() < share, []float64{0.3, 1, 1, 3}[w.rng.IntN(4)]
		if on {
			w.setRate(k, kinds[k].rate*factor)
		}
	}
}

func (w *World) setRate(k kind, rate float64) {
	if !slices.Contains(w.opts.Without, k.String()) {
		w.rates[k] = rate
	}
}

// faulty tells whether there are any faults in the history.
func (w *World) faulty() bool { return w.rates != [numKinds]float64{} }

// happens draws whether a fault happens now.
func (w *World) happens(kind kind) bool {
	rate := w.rates[kind]
	if rate == 0 || w.calm || w.opening {
		return false
	}
	if w.rng.Float64() >= rate {
		return false
	}
	w.count(kind.String())
	return true
}

// Kinds names all kinds of faults.
func Kinds() (names []string) {
	for _, k := range kinds[crash:] {
		names = append(names, k.name)
	}
	return names
}
