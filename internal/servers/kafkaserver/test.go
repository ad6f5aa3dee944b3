package kafkaserver

import (
	"context"
	"os"
	"path/filepath"
)

// TB is what Start needs of a *testing.T.
type TB interface {
	Helper()
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
	TempDir() string
}

// Start runs a broker for one test, which may kill it. The test is skipped where the jars of the broker are not known: they are
// when the tests run under `go run ./internal/servers -- go test ...`.
func Start(t TB) *Server {
	t.Helper()
	return StartWith(t, nil)
}

// StartWith is Start with properties on top of the defaults.
func StartWith(t TB, properties map[string]string) *Server {
	t.Helper()
	libs := os.Getenv(Home)
	if libs == "" {
		t.Skipf("a broker of its own is needed: `make test` runs it, and so does `go run ./internal/servers -- go test ...` (%s is not set)", Home)
	}
	dir := filepath.Join(t.TempDir(), "kafka")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatalf("%v", err)
	}
	s, err := Run(context.Background(), Options{Libs: libs, Dir: dir, Properties: properties})
	if err != nil {
		t.Fatalf("start a broker: %v", err)
	}
	t.Cleanup(s.Kill)
	return s
}
