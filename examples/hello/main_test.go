package main

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func Example() {
	dir, err := os.MkdirTemp("", "hello")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	home, err := os.Getwd()
	if err := errors.Join(err, os.Chdir(dir)); err != nil {
		panic(err)
	}
	defer os.Chdir(home)
	main()
	main()
	// Output:
	// t 1: Bob was greeted 1 times; one t before: 0 times
	// t 2: Bob was greeted 2 times; one t before: 1 times
}

func TestReadmeShowsThisProgram(t *testing.T) {
	code, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, program, _ := strings.Cut(string(code), "package main\n")
	if !strings.Contains(string(readme), program) {
		t.Error("README.md does not show examples/hello/main.go as it is")
	}
}
