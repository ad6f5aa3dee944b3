//go:build !race

package cqrs_test

// underRace says that the race detector slows everything down.
const underRace = false
