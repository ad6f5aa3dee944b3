package sim

import "slices"

// The kinds of faults. Each history has some of them, at rates of its own.
const (
	crash           = "crash"
	appendRefused   = "append refused"
	appendLost      = "append unknown, not applied"
	appendTimeout   = "append unknown, applied"
	appendLate      = "append unknown, applied later"
	appendTwice     = "append applied twice"
	appendPart      = "append unknown, applied in part"
	appendSplit     = "append with another's message in between"
	readFails       = "read fails"
	boundsFail      = "bounds fail"
	commitLost      = "offsets lost"
	commitFails     = "offsets refused"
	offsetsBack     = "offsets set back"
	storeTimeout    = "store timeout, applied"
	storeLost       = "store timeout, not applied"
	storePart       = "store timeout, applied in part"
	storeThrottled  = "store throttled"
	storeDown       = "store down for a while"
	storeReadFails  = "store read fails"
	diskFails       = "file commit fails, not applied"
	diskUnknown     = "file commit fails, applied"
	rebalance       = "rebalance"
	zombie          = "zombie"
	pausing         = "pause"
	clockJump       = "clock jump"
	retention       = "retention"
	foreignCommand  = "foreign command"
	foreignCommit   = "foreign commit"
	garbageCommand  = "garbage command"
	garbageEvent    = "garbage in the log"
	garbageFeedback = "garbage feedback"
	garbageLetter   = "garbage dead letter"
	otherVersion    = "other version in the log"
	folderLost      = "folder lost"
	snapshotBack    = "snapshot restored"
	codeChanged     = "code changed"
	resend          = "dead letters sent again"
	madeAnew        = "topics made anew"
	truncated       = "log truncated"
	commandsAnew    = "commands made anew"
)

// kinds have the rate that is usual, per call or per tick.
var kinds = []struct {
	name string
	rate float64
}{
	{crash, 0.004},
	{appendRefused, 0.03}, {appendLost, 0.03}, {appendTimeout, 0.03}, {appendLate, 0.04}, {appendTwice, 0.02}, {appendPart, 0.03},
	{appendSplit, 0.03}, {readFails, 0.02}, {boundsFail, 0.02}, {commitLost, 0.2}, {commitFails, 0.05}, {offsetsBack, 0.004},
	{storeTimeout, 0.04}, {storeLost, 0.04}, {storePart, 0.06}, {storeThrottled, 0.04}, {storeDown, 0.001}, {storeReadFails, 0.03},
	{diskFails, 0.03}, {diskUnknown, 0.03},
	{rebalance, 0.006}, {zombie, 0.006}, {pausing, 0.004}, {clockJump, 0.003}, {retention, 0.02},
	{foreignCommand, 0.003}, {foreignCommit, 0.002}, {garbageCommand, 0.001}, {garbageEvent, 0.001}, {garbageFeedback, 0.001},
	{garbageLetter, 0.0005}, {otherVersion, 0.001}, {folderLost, 0.001}, {snapshotBack, 0.001}, {codeChanged, 0.0005}, {resend, 0.002},
}

// chooseFaults gives the history its faults: some kinds, some of them often. One in twelve has none, one in ten a disaster.
func (w *World) chooseFaults() {
	if w.rng.IntN(12) == 0 {
		w.count("history without faults")
		return
	}
	if w.rng.IntN(6) == 0 && w.archive != nil { // replicas that are built anew again and again
		for kind, rate := range map[string]float64{folderLost: 0.004, retention: 0.05, storeReadFails: 0.15, rebalance: 0.01, crash: 0.004} {
			w.rates[kind] = rate
		}
		w.count("history of rebuilds")
		return
	}
	share := 0.2 + 0.7*w.rng.Float64()
	for _, k := range kinds {
		on, factor := w.rng.Float64() < share, []float64{0.3, 1, 1, 3}[w.rng.IntN(4)]
		if on && !slices.Contains(w.opts.Without, k.name) {
			w.rates[k.name] = k.rate * factor
		}
	}
}

// happens draws whether a fault happens now.
func (w *World) happens(kind string) bool {
	rate := w.rates[kind]
	if rate == 0 || w.calm || w.opening {
		return false
	}
	if w.rng.Float64() >= rate {
		return false
	}
	w.count(kind)
	return true
}

// Kinds names all kinds of faults.
func Kinds() (names []string) {
	for _, k := range kinds {
		names = append(names, k.name)
	}
	return append(names, madeAnew, truncated, commandsAnew)
}
