// Package dynamoserver runs DynamoDB Local for tests.
package dynamoserver

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cqrs-server/cqrs/internal/servers/java"
)

// Artifact is the server that is run.
var Artifact = java.Artifact{Name: "dynamodb-local-2.6.1", Modules: []string{"com.amazonaws:DynamoDBLocal:2.6.1"}}

// Home names the environment variable with the folder of the server's jars.
const Home = "CQRS_DYNAMODB_HOME"

const patience = 2 * time.Minute

// Server is a DynamoDB Local in a process of its own. It takes any credentials and any region.
type Server struct {
	// URL is where it answers. It stays the same over Restart.
	URL string

	options Options
	port    int
	process *java.Process
}

// Options say how to run a server.
type Options struct {
	Libs string // the folder with the jars
	Dir  string // a folder for its log, and for its data when they are kept
	Keep bool   // its data outlive it. Defaults to data in memory
}

// Run starts a server and waits until it answers.
func Run(ctx context.Context, o Options) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var err error
	for range 3 { // a port may be taken by another process before the server gets it
		var s *Server
		if s, err = attempt(ctx, o); err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "already in use") {
			return s, err
		}
	}
	return nil, err
}

func attempt(ctx context.Context, o Options) (*Server, error) {
	ports, err := java.FreePorts(1)
	if err != nil {
		return nil, err
	}
	s := &Server{URL: fmt.Sprintf("http://127.0.0.1:%d", ports[0]), options: o, port: ports[0]}
	return s, s.start(ctx)
}

func (s *Server) start(ctx context.Context) error {
	p, err := java.Start(filepath.Join(s.options.Dir, "dynamodb.log"), s.args()...)
	if err != nil {
		return err
	}
	if err := p.Ready(ctx, func(ctx context.Context) error { return Answers(ctx, s.URL) }); err != nil {
		p.Kill()
		return fmt.Errorf("DynamoDB Local at %s: %w", s.URL, err)
	}
	s.process = p
	return nil
}

func (s *Server) args() []string {
	args := java.Args(s.options.Libs, "-Djava.library.path="+s.options.Libs,
		"com.amazonaws.services.dynamodbv2.local.main.ServerRunner", "-disableTelemetry", "-sharedDb", "-port", strconv.Itoa(s.port))
	if s.options.Keep {
		return append(args, "-dbPath", s.options.Dir)
	}
	return append(args, "-inMemory")
}

// Answers tells whether a server answers at a URL. It refuses what is asked here, and that is an answer.
func Answers(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Kill ends the server as a crash would.
func (s *Server) Kill() { s.process.Kill() }

// Stop shuts the server down.
func (s *Server) Stop() { s.process.Stop(10 * time.Second) }

// Restart starts the server again after Kill or Stop, at the same URL, and waits until it answers. Without Keep it is empty.
func (s *Server) Restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return s.start(ctx)
}

// Pause stops the server where it is, with its connections open, until Resume.
func (s *Server) Pause() error { return s.process.Pause() }

// Resume lets the server go on after Pause.
func (s *Server) Resume() error { return s.process.Resume() }

// TB is what Start needs of a *testing.T.
type TB interface {
	Helper()
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
	TempDir() string
}

// Start runs a server for one test, which may kill it. Its data outlive it, until the test ends. The test is skipped where the
// jars of the server are not known: they are when the tests run under `go run ./internal/servers -- go test ...`.
func Start(t TB) *Server {
	t.Helper()
	libs := os.Getenv(Home)
	if libs == "" {
		t.Skipf("a DynamoDB Local of its own is needed: `make test` runs it, and so does `go run ./internal/servers -- go test ...` (%s is not set)", Home)
	}
	s, err := Run(context.Background(), Options{Libs: libs, Dir: t.TempDir(), Keep: true})
	if err != nil {
		t.Fatalf("start DynamoDB Local: %v", err)
	}
	t.Cleanup(s.Kill)
	return s
}
