//go:build !linux

package cqrstest

import "os/exec"

func otherHost(*exec.Cmd) {}
func hostSpace() string   { return "" }
func renameHost(string)   {}
