// Package kafkaserver runs Kafka brokers for tests.
package kafkaserver

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/cqrs-server/cqrs/internal/servers/java"
)

// Artifact is the broker that is run. The second module makes it print its errors.
var Artifact = java.Artifact{
	Name:    "kafka-4.2.0",
	Modules: []string{"org.apache.kafka:kafka_2.13:4.2.0", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.3"},
}

// Home names the environment variable with the folder of the broker's jars.
const Home = "CQRS_KAFKA_HOME"

const patience = 2 * time.Minute

// Server is a broker in a process of its own: a cluster of one.
type Server struct {
	// Addr is the host:port at which it answers. It stays the same over Restart.
	Addr string

	libs, dir string
	process   *java.Process
}

// Options say how to run a broker.
type Options struct {
	Libs       string            // the folder with the jars
	Dir        string            // an empty folder for its data
	Properties map[string]string // on top of the defaults
}

// Run starts a broker and waits until it answers.
func Run(ctx context.Context, o Options) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var err error
	for range 3 { // a port may be taken by another process before the broker gets it
		var s *Server
		if s, err = attempt(ctx, o); err == nil || ctx.Err() != nil || !isPortTaken(err) {
			return s, err
		}
	}
	return nil, err
}

func isPortTaken(err error) bool {
	return strings.Contains(err.Error(), "already in use") || strings.Contains(err.Error(), "BindException")
}

func attempt(ctx context.Context, o Options) (*Server, error) {
	ports, err := java.FreePorts(2)
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: fmt.Sprintf("127.0.0.1:%d", ports[0]), libs: o.Libs, dir: o.Dir}
	if err := errors.Join(os.RemoveAll(s.data()), s.writeProperties(ports[1], o.Properties)); err != nil {
		return nil, err
	}
	if err := s.format(ctx); err != nil {
		return nil, fmt.Errorf("format the broker's storage: %w", err)
	}
	return s, s.start(ctx)
}

func (s *Server) data() string       { return filepath.Join(s.dir, "data") }
func (s *Server) log() string        { return filepath.Join(s.dir, "kafka.log") }
func (s *Server) properties() string { return filepath.Join(s.dir, "server.properties") }

func (s *Server) writeProperties(controllerPort int, more map[string]string) error {
	controller := fmt.Sprintf("127.0.0.1:%d", controllerPort)
	all := map[string]string{
		"process.roles":                                    "broker,controller",
		"node.id":                                          "1",
		"controller.quorum.voters":                         "1@" + controller,
		"listeners":                                        "PLAINTEXT://" + s.Addr + ",CONTROLLER://" + controller,
		"advertised.listeners":                             "PLAINTEXT://" + s.Addr,
		"listener.security.protocol.map":                   "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"inter.broker.listener.name":                       "PLAINTEXT",
		"controller.listener.names":                        "CONTROLLER",
		"log.dirs":                                         s.data(),
		"auto.create.topics.enable":                        "false",
		"log.retention.ms":                                 "-1",   // tests write old times
		"broker.session.timeout.ms":                        "3000", // after a crash, a broker is let in again when this is over
		"broker.heartbeat.interval.ms":                     "500",
		"offsets.topic.num.partitions":                     "1",
		"offsets.topic.replication.factor":                 "1",
		"transaction.state.log.replication.factor":         "1",
		"transaction.state.log.min.isr":                    "1",
		"share.coordinator.state.topic.replication.factor": "1",
		"share.coordinator.state.topic.min.isr":            "1",
		"group.initial.rebalance.delay.ms":                 "0",
		"group.min.session.timeout.ms":                     "500",
	}
	maps.Copy(all, more)
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%s=%s\n", key, strings.ReplaceAll(all[key], `\`, `\\`))
	}
	return os.WriteFile(s.properties(), []byte(b.String()), 0o644)
}

func (s *Server) format(ctx context.Context) error {
	id := uuid.New()
	id[0] &= 0x7f // so that its text does not begin with a -, which the tool takes for an option
	args := java.Args(s.libs, "kafka.tools.StorageTool", "format", "-t", base64.RawURLEncoding.EncodeToString(id[:]), "-c", s.properties())
	p, err := java.Start(s.log(), args...)
	if err != nil {
		return err
	}
	return p.Wait(ctx)
}

func (s *Server) start(ctx context.Context) error {
	args := java.Args(s.libs, "-Dorg.apache.logging.log4j.level=ERROR", "kafka.Kafka", s.properties())
	p, err := java.Start(s.log(), args...)
	if err != nil {
		return err
	}
	if err := p.Ready(ctx, func(ctx context.Context) error { return Answers(ctx, s.Addr) }); err != nil {
		p.Kill()
		return fmt.Errorf("kafka at %s: %w", s.Addr, err)
	}
	s.process = p
	return nil
}

// Kill ends the broker as a crash would: with no chance to say good-bye or to write anything.
func (s *Server) Kill() { s.process.Kill() }

// Stop shuts the broker down.
func (s *Server) Stop() { s.process.Stop(20 * time.Second) }

// Restart starts the broker again after Kill or Stop, with its data and at the same address, and waits until it answers.
func (s *Server) Restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return s.start(ctx)
}

// Segment is the file with the messages of a partition from its beginning on. A test may damage it while the broker is dead.
func (s *Server) Segment(topic string, partition int) string {
	return filepath.Join(s.data(), fmt.Sprintf("%s-%d", topic, partition), fmt.Sprintf("%020d.log", 0))
}

// Pause stops the broker where it is, with its connections open, until Resume.
func (s *Server) Pause() error { return s.process.Pause() }

// Resume lets the broker go on after Pause.
func (s *Server) Resume() error { return s.process.Resume() }
