// Package fail names the steps of the library at which a process can be made to die, or to wait, by tests. Outside of them a step costs
// the look at a variable that is nil.
package fail

// hook is set once, by a test's process, before it begins.
var hook func(step string)

// Hook has f called at each step from now on. It must be called before any goroutine of the library runs, by a test only.
func Hook(f func(step string)) { hook = f }

// Here is a step.
func Here(step string) {
	if hook != nil {
		hook(step)
	}
}

// At is a step that is taken for many things, each by its name.
func At(step, name string) {
	if hook != nil {
		hook(step + " " + name)
	}
}
