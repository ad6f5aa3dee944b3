package java

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// fakeJava starts a program that does this instead of Java.
func fakeJava(t *testing.T, script string) *Process {
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "java"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	p, err := Start(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

func never(context.Context) error { return errors.New("nobody is there") }

func TestJavaThatIsTooOld(t *testing.T) {
	const script = `echo "Exception java.lang.UnsupportedClassVersionError: kafka/Kafka has been compiled by a more recent version"; exit 1`
	for name, err := range map[string]error{"Ready": fakeJava(t, script).Ready(t.Context(), never), "Wait": fakeJava(t, script).Wait(t.Context())} {
		if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "Java 17") || !strings.Contains(err.Error(), "UnsupportedClassVersionError") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestServerThatEnds(t *testing.T) {
	err := fakeJava(t, `echo "the port is taken"; exit 3`).Ready(t.Context(), never)
	if err == nil || !strings.Contains(err.Error(), "the port is taken") || !strings.Contains(err.Error(), "exit status 3") {
		t.Error(err)
	}
	if err := fakeJava(t, "exit 0").Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestServerThatNeverAnswers(t *testing.T) {
	p := fakeJava(t, "exec sleep 600")
	ctx, cancel := context.WithCancel(t.Context())
	err := p.Ready(ctx, func(context.Context) error { cancel(); return errors.New("nobody is there") })
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "nobody is there") {
		t.Error(err)
	}
	p.Kill()
	p.Kill() // it is gone already
}

// TestWritesOnManyThreads is no test, but what TestPause pauses.
func TestWritesOnManyThreads(t *testing.T) {
	if os.Getenv("CQRS_TEST_WRITES") == "" {
		t.Skip("TestPause runs it, in a process of its own")
	}
	for range 8 {
		go func() {
			runtime.LockOSThread()
			for {
				os.Stdout.WriteString("x")
			}
		}()
	}
	select {}
}

// A process that was paused does nothing any more, from when Pause returns.
func TestPause(t *testing.T) {
	t.Setenv("CQRS_TEST_WRITES", "1")
	p := fakeJava(t, "exec "+os.Args[0]+" -test.run=TestWritesOnManyThreads")
	size := func() int64 {
		info, err := os.Stat(p.log)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	for size() == 0 {
		runtime.Gosched()
	}
	for range 50 {
		if err := p.Pause(); err != nil {
			t.Fatal(err)
		}
		stopped := size()
		for range 200 {
			if now := size(); now != stopped {
				t.Fatalf("it has written %d bytes while it was paused", now-stopped)
			}
		}
		if err := p.Resume(); err != nil {
			t.Fatal(err)
		}
		for size() == stopped {
			runtime.Gosched()
		}
	}
	p.Kill()
	if err := p.Pause(); err == nil {
		t.Error("a process that is gone was paused")
	}
}
