//go:build !unix

package bolt

import "errors"

var errOther = errors.New("the test needs a unix")

func appendUntilKilled(string) error { return errOther }

func fillDisk(string) error { return errOther }
