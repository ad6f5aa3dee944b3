package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cqrs-server/cqrs/internal/servers/dynamoserver"
	"github.com/cqrs-server/cqrs/internal/servers/java"
	"github.com/cqrs-server/cqrs/internal/servers/kafkaserver"
)

// kind is one of the servers that the command is to have.
type kind struct {
	name     string
	variable string // of its address
	home     string // the variable of the folder with its jars
	artifact java.Artifact
	answers  func(ctx context.Context, addr string) error
	run      func(ctx context.Context, libs, dir string) (addr string, stop func(), err error)
}

var kinds = []kind{
	{"Kafka", "CQRS_KAFKA", kafkaserver.Home, kafkaserver.Artifact, kafkaAnswers, runKafka},
	{"DynamoDB Local", "CQRS_DYNAMODB", dynamoserver.Home, dynamoserver.Artifact, dynamoserver.Answers, runDynamo},
}

func kafkaAnswers(ctx context.Context, brokers string) error {
	first, _, _ := strings.Cut(brokers, ",")
	return kafkaserver.Answers(ctx, first)
}

func runKafka(ctx context.Context, libs, dir string) (string, func(), error) {
	s, err := kafkaserver.Run(ctx, kafkaserver.Options{Libs: libs, Dir: dir})
	if err != nil {
		return "", nil, err
	}
	return s.Addr, s.Kill, nil // its data are thrown away
}

func runDynamo(ctx context.Context, libs, dir string) (string, func(), error) {
	s, err := dynamoserver.Run(ctx, dynamoserver.Options{Libs: libs, Dir: dir})
	if err != nil {
		return "", nil, err
	}
	return s.URL, s.Kill, nil
}

// started is what came of starting one server.
type started struct {
	env  []string
	stop func()
	err  error
}

// start starts all servers at once. stop stops those that run, also after an error.
func start(ctx context.Context, dir string) (env []string, stop func(), err error) {
	all := make([]started, len(kinds))
	var waiting sync.WaitGroup
	for i, k := range kinds {
		waiting.Go(func() { all[i] = k.start(ctx, filepath.Join(dir, k.variable)) })
	}
	waiting.Wait()
	var errs []error
	for _, s := range all {
		env = append(env, s.env...)
		errs = append(errs, s.err)
	}
	stop = func() {
		for _, s := range all {
			if s.stop != nil {
				s.stop()
			}
		}
	}
	return env, stop, errors.Join(errs...)
}

func (k kind) start(ctx context.Context, dir string) started {
	if addr := os.Getenv(k.variable); addr != "" {
		return k.given(ctx, addr)
	}
	if err := java.Find("java"); err != nil {
		return started{err: fmt.Errorf("%s: %w", k.name, err)}
	}
	libs, err := k.libs(ctx)
	if err != nil {
		return started{err: err}
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return started{err: err}
	}
	began := time.Now()
	addr, stop, err := k.run(ctx, libs, dir)
	if err != nil {
		return started{err: err}
	}
	progress("%s answers at %s after %.1f s", k.name, addr, time.Since(began).Seconds())
	return started{env: []string{k.variable + "=" + addr, k.home + "=" + libs}, stop: stop}
}

func (k kind) libs(ctx context.Context) (string, error) {
	if libs := os.Getenv(k.home); libs != "" {
		return libs, nil
	}
	return java.Libs(ctx, k.artifact, progress)
}

// given checks a server that was there before.
func (k kind) given(ctx context.Context, addr string) started {
	if err := k.answers(ctx, addr); err != nil {
		return started{err: fmt.Errorf("%s at %s does not answer (the address is from %s): %w", k.name, addr, k.variable, err)}
	}
	progress("%s is at %s, from %s", k.name, addr, k.variable)
	if libs, ok := java.Fetched(k.artifact); ok && os.Getenv(k.home) == "" && java.Find("java") == nil {
		return started{env: []string{k.home + "=" + libs}}
	}
	return started{}
}
