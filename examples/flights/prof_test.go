package main

import (
	"context"
	"io"
	"os"
	"testing"
)

func BenchmarkJanuary(b *testing.B) {
	file := os.Getenv("FLIGHTS")
	if file == "" {
		file = slice
	}
	for range b.N {
		if err := run(context.Background(), []string{"-data", b.TempDir(), file}, nil, io.Discard, io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
