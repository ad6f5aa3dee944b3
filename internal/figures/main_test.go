package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(path, []byte("a\n<!-- x -->\nold\n<!-- /x -->\nb\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(path, "x", strings.NewReader("cuts\t1\nkills\t2\ncuts\t3\n")); err != nil {
		t.Fatal(err)
	}
	got, _ := os.ReadFile(path)
	if want := "a\n<!-- x -->\n| what | counted |\n|---|---|\n| cuts | 3 |\n| kills | 2 |\n<!-- /x -->\nb\n"; string(got) != want {
		t.Errorf("got %q", got)
	}
	for block, in := range map[string]string{"y": "a\tb\n", "x": "", "x ": "a\tb\n"} {
		if err := run(path, block, strings.NewReader(in)); err == nil {
			t.Errorf("block %q and input %q gave no error", block, in)
		}
	}
}
