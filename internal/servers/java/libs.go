// Package java fetches servers written in Java, and runs them.
package java

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
)

// Artifact is a server as Maven knows it.
type Artifact struct {
	Name    string   // of its folder in the cache
	Modules []string // group:name:version
}

// ErrMissing says that a program that is needed is not installed.
var ErrMissing = errors.New("not installed")

// Cache is the folder where what was fetched is kept: $CQRS_CACHE, else .cache/servers of the module in whose folder, or below it, this
// process runs.
func Cache() (string, error) {
	if dir := os.Getenv("CQRS_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the cache folder (CQRS_CACHE names another): %w", err)
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return filepath.Join(at, ".cache", "servers"), nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("find the cache folder: %s is not in a Go module: set CQRS_CACHE", dir)
		}
	}
}

// Fetched is the folder with the jars of an artifact, if it was fetched before.
func Fetched(a Artifact) (libs string, ok bool) {
	cache, err := Cache()
	if err != nil {
		return "", false
	}
	libs = filepath.Join(cache, a.Name, "libs")
	info, err := os.Stat(libs)
	return libs, err == nil && info.IsDir()
}

// Libs is the folder with the jars of an artifact. It fetches them once. Several processes may call it at the same time.
func Libs(ctx context.Context, a Artifact, progress func(string, ...any)) (string, error) {
	if libs, ok := Fetched(a); ok {
		return libs, nil
	}
	if err := Find("mvn"); err != nil {
		return "", err
	}
	cache, err := Cache()
	if err != nil {
		return "", err
	}
	progress("fetching %s into %s", strings.Join(a.Modules, " "), cache)
	libs := filepath.Join(cache, a.Name, "libs")
	if err := fetch(ctx, a, cache, libs); err != nil {
		return "", fmt.Errorf("fetch %s: %w", a.Name, err)
	}
	return libs, nil
}

// fetch makes the folder complete or not at all.
func fetch(ctx context.Context, a Artifact, cache, libs string) error {
	if err := os.MkdirAll(filepath.Dir(libs), 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(cache, "fetching-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := writePOM(a, filepath.Join(work, "pom.xml")); err != nil {
		return err
	}
	mvn := exec.CommandContext(ctx, "mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs")
	mvn.Dir = work
	if out, err := mvn.CombinedOutput(); err != nil {
		return fmt.Errorf("mvn: %w: %s", err, tail(out))
	}
	if err := os.Rename(filepath.Join(work, "libs"), libs); err != nil {
		if _, there := Fetched(a); there { // another process was faster
			return nil
		}
		return err
	}
	return nil
}

var pom = template.Must(template.New("pom").Parse(`<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion>
<groupId>cqrs</groupId><artifactId>servers</artifactId><version>1</version>
<dependencies>{{range .}}
<dependency><groupId>{{index . 0}}</groupId><artifactId>{{index . 1}}</artifactId><version>{{index . 2}}</version></dependency>{{end}}
</dependencies>
</project>
`))

func writePOM(a Artifact, path string) error {
	var modules [][]string
	for _, m := range a.Modules {
		modules = append(modules, strings.Split(m, ":"))
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(pom.Execute(f, modules), f.Close())
}

// Find tells what to do when a program is not installed.
func Find(program string) error {
	if _, err := exec.LookPath(program); err != nil {
		return fmt.Errorf("%s is %w: on Debian and Ubuntu `apt-get install openjdk-17-jre-headless maven` brings it", program, ErrMissing)
	}
	return nil
}

func tail(out []byte) string {
	const most = 2000
	if len(out) > most {
		out = out[len(out)-most:]
	}
	return strings.TrimSpace(string(out))
}
