package cqrs

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/internal/fail"
	"go.etcd.io/bbolt"
)

// Snapshot writes a copy of the data folder to w, as a tar archive, while everything goes on: each file as it is at one t. Use it as a
// backup, or to begin a new machine with. Restore makes a folder of it.
func (rt *Runtime) Snapshot(ctx context.Context, w io.Writer) error {
	archive := tar.NewWriter(&stoppable{ctx, w})
	for _, f := range rt.files {
		if err := addToArchive(archive, f); err != nil {
			return fmt.Errorf("cqrs: snapshot of %s: %w", f.Path(), readError(err))
		}
	}
	if err := archive.Close(); err != nil {
		return fmt.Errorf("cqrs: snapshot: %w", err)
	}
	return nil
}

func addToArchive(archive *tar.Writer, f *boltfile.File) error {
	return f.View(func(tx *bbolt.Tx) error {
		head := tar.Header{Name: filepath.Base(f.Path()), Mode: 0o600, Size: tx.Size()}
		if err := archive.WriteHeader(&head); err != nil {
			return err
		}
		fail.Here("snapshot: file")
		_, err := tx.WriteTo(archive)
		return err
	})
}

// stoppable is a writer that fails when its context has ended.
type stoppable struct {
	ctx context.Context
	w   io.Writer
}

func (s *stoppable) Write(b []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.w.Write(b)
}

var archived = regexp.MustCompile(`^(shard-[0-9]+|aggregate-[A-Za-z0-9_@-]+)\.db$`)

// Restore makes the data folder dir of what Snapshot wrote. dir must not exist, or be empty; it appears when it is whole.
func Restore(ctx context.Context, dir string, r io.Reader) error {
	if list, err := os.ReadDir(dir); err == nil && len(list) > 0 {
		return fmt.Errorf("cqrs: restore: %s is not empty: name a new folder", dir)
	}
	parent := filepath.Dir(filepath.Clean(dir))
	err := boltfile.MakeDir(parent)
	if err != nil {
		return fmt.Errorf("cqrs: restore: %w", err)
	}
	temp, err := os.MkdirTemp(parent, ".restore-*")
	if err != nil {
		return fmt.Errorf("cqrs: restore: %w", err)
	}
	defer os.RemoveAll(temp)
	if err := unpack(ctx, temp, r); err != nil {
		return fmt.Errorf("cqrs: restore: %w", err)
	}
	fail.Here("restore: unpacked")
	_ = os.Remove(dir) // if it is there, it is empty
	if err := os.Rename(temp, dir); err != nil {
		return fmt.Errorf("cqrs: restore: %w", err)
	}
	fail.Here("restore: renamed")
	return boltfile.SyncDir(parent)
}

func unpack(ctx context.Context, dir string, r io.Reader) error {
	archive, files := tar.NewReader(r), 0
	for {
		head, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("it is no snapshot, or cut off: %w", err)
		}
		if !archived.MatchString(head.Name) {
			return fmt.Errorf("it is no snapshot: it holds a file %q", head.Name)
		}
		if err := unpackFile(ctx, filepath.Join(dir, head.Name), archive); err != nil {
			return fmt.Errorf("%s: %w", head.Name, err)
		}
		files++
	}
	if files == 0 {
		return errors.New("it is no snapshot: it is empty")
	}
	return boltfile.SyncDir(dir)
}

// unpackFile writes a file, and opens it once to see that it is whole.
func unpackFile(ctx context.Context, path string, r io.Reader) error {
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(&stoppable{ctx, out}, r)
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		return err
	}
	kind := "cqrs-aggregate"
	if filepath.Base(path)[0] == 's' {
		kind = "cqrs-shard"
	}
	f, err := boltfile.Open(path, boltfile.Options{Kind: kind})
	if err != nil {
		return err
	}
	return f.Close()
}

// Compact writes the files anew without the room that is free inside them. Reads go on meanwhile; commands wait.
func (rt *Runtime) Compact(ctx context.Context) error {
	for _, f := range rt.files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.Compact(); err != nil {
			return fmt.Errorf("cqrs: %w", readError(err))
		}
	}
	return nil
}
