package java

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// fakeMaven puts a program mvn in the path that does this, and an empty cache in the environment.
func fakeMaven(t *testing.T, script string) (cache string) {
	bin, cache := t.TempDir(), filepath.Join(t.TempDir(), "cache")
	if err := os.WriteFile(filepath.Join(bin, "mvn"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("CQRS_CACHE", cache)
	return cache
}

var some = Artifact{Name: "some-1.0", Modules: []string{"org.some:some:1.0", "org.other:other:2.0"}}

func quiet(string, ...any) {}

func TestLibsAreFetchedOnce(t *testing.T) {
	cache := fakeMaven(t, `grep -q '<groupId>org.other</groupId><artifactId>other</artifactId><version>2.0</version>' pom.xml || exit 1
echo x >> "$CQRS_CACHE/calls"; mkdir libs; echo jar > libs/some.jar`)
	if _, ok := Fetched(some); ok {
		t.Fatal("it is there before it was fetched")
	}
	for range 3 {
		libs, err := Libs(t.Context(), some, quiet)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(libs, "some.jar")); err != nil {
			t.Error(err)
		}
	}
	if calls, _ := os.ReadFile(filepath.Join(cache, "calls")); string(calls) != "x\n" {
		t.Errorf("maven was called so often: %q", calls)
	}
	if left, _ := filepath.Glob(filepath.Join(cache, "fetching-*")); len(left) > 0 {
		t.Errorf("%v were left", left)
	}
}

func TestLibsAtTheSameTime(t *testing.T) {
	fakeMaven(t, `mkdir libs; echo jar > libs/some.jar`)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := Libs(t.Context(), some, quiet); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestLibsThatCannotBeFetched(t *testing.T) {
	fakeMaven(t, `mkdir libs; echo half > libs/half.jar; echo "no such artifact"; exit 1`)
	_, err := Libs(t.Context(), some, quiet)
	if err == nil || !strings.Contains(err.Error(), "no such artifact") || !strings.Contains(err.Error(), "some-1.0") {
		t.Error(err)
	}
	if _, ok := Fetched(some); ok {
		t.Error("half of it is taken for all")
	}
}

func TestCacheIsInTheProject(t *testing.T) {
	t.Setenv("CQRS_CACHE", "")
	project := t.TempDir()
	below := filepath.Join(project, "a", "b")
	if err := errors.Join(os.MkdirAll(below, 0o755), os.WriteFile(filepath.Join(project, "go.mod"), []byte("module a\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{project, below} {
		t.Chdir(dir)
		if got, err := Cache(); err != nil || got != filepath.Join(project, ".cache", "servers") {
			t.Errorf("in %s: %s, %v", dir, got, err)
		}
	}
	t.Chdir(filepath.Dir(project))
	if got, err := Cache(); err == nil || !strings.Contains(err.Error(), "CQRS_CACHE") {
		t.Errorf("outside of a project: %s, %v", got, err)
	}
}
