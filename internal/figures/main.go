// Figures puts what the tests counted into a document, between the markers of a block:
//
//	go run ./internal/figures docs/faults.md figures < counted
//
// Each line of the input is a name, a tab and a value; of lines with one name the last counts. The block lies between
// <!-- figures --> and <!-- /figures -->.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: figures <document> <block> < counted")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(1)
	}
}

func run(path, block string, in io.Reader) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	table, err := tableOf(in)
	if err != nil {
		return err
	}
	changed, err := replace(string(text), block, table)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, []byte(changed), 0o644)
}

func tableOf(in io.Reader) (string, error) {
	var names []string
	values := map[string]string{}
	for s := bufio.NewScanner(in); s.Scan(); {
		name, value, ok := strings.Cut(s.Text(), "\t")
		if !ok {
			return "", fmt.Errorf("a line without a tab: %q", s.Text())
		}
		if _, known := values[name]; !known {
			names = append(names, name)
		}
		values[name] = value
	}
	if len(names) == 0 {
		return "", errors.New("nothing was counted")
	}
	var b strings.Builder
	b.WriteString("| what | counted |\n|---|---|\n")
	for _, n := range names {
		fmt.Fprintf(&b, "| %s | %s |\n", n, values[n])
	}
	return b.String(), nil
}

func replace(text, block, table string) (string, error) {
	begin, end := "<!-- "+block+" -->\n", "<!-- /"+block+" -->"
	before, rest, found := strings.Cut(text, begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		return "", fmt.Errorf("there is no block %s ... %s", strings.TrimSpace(begin), end)
	}
	return before + begin + table + end + after, nil
}
