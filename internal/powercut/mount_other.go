//go:build !linux

package powercut

import "errors"

// NotesName is a file at the top of the mounted folder that is no file: what is written to it becomes Notes, one a write.
const NotesName = "notes"

// Mount puts a folder at path and records what is done there. It is made for Linux.
func Mount(string) (*Recorder, func() error, error) {
	return nil, nil, errors.New("mount a FUSE folder: this is no Linux")
}
