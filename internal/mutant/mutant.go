// Package mutant breaks the library on purpose: a test that the proofs can fail. At a place that a guarantee rests on, the code asks whether it
// is to do the wrong thing. In a program nothing is ever broken, and the question costs one load.
package mutant

// on is the mutant that is alive. It changes only while nothing of the library runs.
var on string

// Is tells whether that mutant is alive.
func Is(name string) bool { return on != "" && on == name }

// Wake brings a mutant to life, and gives what puts it back to sleep. Nothing of the library may be running at either moment.
func Wake(name string) (sleep func()) {
	on = name
	return func() { on = "" }
}

// Coin falls as the order of a map does.
func Coin() bool {
	for side := range map[bool]int{true: 1, false: 2} {
		return side
	}
	return false
}
