package cqrs_test

import (
	"fmt"
	"os"
	"testing"
)

// figure notes what a test has counted, for make faults, which writes it into docs/faults.md.
func figure(t *testing.T, name, format string, args ...any) {
	t.Helper()
	value := fmt.Sprintf(format, args...)
	t.Logf("%s: %s", name, value)
	path := os.Getenv("CQRS_TEST_FIGURES")
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := fmt.Fprintf(f, "%s\t%s\n", name, value); err != nil {
		t.Fatal(err)
	}
}
