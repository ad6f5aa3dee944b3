//go:build !unix

package java

import (
	"errors"
	"os"
)

func terminate(p *os.Process) { p.Kill() }

func pause(*os.Process) error { return errors.ErrUnsupported }

func resume(*os.Process) error { return errors.ErrUnsupported }
