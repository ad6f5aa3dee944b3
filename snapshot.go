package cqrs

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/cqrs-server/cqrs/internal/boltfile"
	"github.com/cqrs-server/cqrs/internal/fail"
	"go.etcd.io/bbolt"
)

// Snapshot writes a copy of the data folder to w, as a tar archive, while everything goes on: each file as it is at one t. Use it as a
// backup, or to begin a new machine with. Restore makes a folder of it. A queue or a store of its own is not part of it, nor are the
// commands that wait in the folder's queue files when there is only a store of its own.
func (rt *Runtime) Snapshot(ctx context.Context, w io.Writer) error {
	if rt.cfg.Role == Sender {
		return errNoView
	}
	archive, sums := tar.NewWriter(&stoppable{ctx, w}), sums{}
	for _, f := range slices.Backward(rt.files) { // aggregates before the shards that they follow: none may be ahead of its shard
		if err := addToArchive(archive, f, sums); err != nil {
			return fmt.Errorf("cqrs: snapshot of %s: %w", f.Path(), readError(err))
		}
	}
	if err := errors.Join(sums.addTo(archive), archive.Close()); err != nil {
		return fmt.Errorf("cqrs: snapshot: %w", err)
	}
	return nil
}

// sums are the SHA-256 of the files in an archive, in which they come last. A bbolt file has none of its own, and a damaged one can end the process
// that opens it.
type sums map[string]string

const (
	sumsName = "SHA256SUMS" // in the form of sha256sum
	sumsMost = 1 << 20
)

func (s sums) add(name string, h hash.Hash) { s[name] = hex.EncodeToString(h.Sum(nil)) }

func (s sums) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s)) {
		fmt.Fprintf(&b, "%s  %s\n", s[name], name)
	}
	return b.String()
}

func (s sums) addTo(archive *tar.Writer) error {
	text := s.String()
	if err := archive.WriteHeader(&tar.Header{Name: sumsName, Mode: 0o600, Size: int64(len(text))}); err != nil {
		return err
	}
	_, err := io.WriteString(archive, text)
	return err
}

func addToArchive(archive *tar.Writer, f *boltfile.File, sums sums) error {
	return f.View(func(tx *bbolt.Tx) error {
		head := tar.Header{Name: filepath.Base(f.Path()), Mode: 0o600, Size: tx.Size()}
		if err := archive.WriteHeader(&head); err != nil {
			return err
		}
		fail.Here("snapshot: file")
		h := sha256.New()
		_, err := tx.WriteTo(io.MultiWriter(archive, h))
		sums.add(head.Name, h)
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
	list, err := os.ReadDir(dir)
	if len(list) > 0 {
		return fmt.Errorf("cqrs: restore: %s is not empty: name a new folder", dir)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) { // a file, say, which must not make room for the folder
		return fmt.Errorf("cqrs: restore: %w", err)
	}
	parent := filepath.Dir(filepath.Clean(dir))
	if err := boltfile.MakeDir(parent); err != nil {
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
	archive, found := tar.NewReader(r), sums{}
	for whole := false; !whole; {
		head, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF) && len(found) == 0:
			return errors.New("it is no snapshot: it is empty")
		case err != nil:
			return fmt.Errorf("it is no snapshot, or cut off: %w", err)
		case head.Name == sumsName:
			if err := found.compare(archive); err != nil {
				return err
			}
			whole = true
		case !archived.MatchString(head.Name):
			return fmt.Errorf("it is no snapshot: it holds a file %q", head.Name)
		default:
			if err := unpackFile(ctx, filepath.Join(dir, head.Name), archive, found); err != nil {
				return fmt.Errorf("%s: %w", head.Name, err)
			}
		}
	}
	_, _ = archive.Next() // the archive's end: who writes it into a pipe waits until it is read
	return errors.Join(checkFiles(dir, found), boltfile.SyncDir(dir))
}

func (s sums) compare(r io.Reader) error {
	want, err := io.ReadAll(io.LimitReader(r, sumsMost))
	if err == nil && (len(s) == 0 || s.String() != string(want)) {
		err = errors.New("its files are not those that were written to it: it was changed or damaged")
	}
	return err
}

func unpackFile(ctx context.Context, path string, r io.Reader, sums sums) error {
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(&stoppable{ctx, out}, h), r)
	sums.add(filepath.Base(path), h)
	return errors.Join(err, out.Sync(), out.Close())
}

// checkFiles opens each file once.
func checkFiles(dir string, sums sums) error {
	for name := range sums {
		kind := "cqrs-aggregate"
		if name[0] == 's' {
			kind = "cqrs-shard"
		}
		f, err := boltfile.Open(filepath.Join(dir, name), boltfile.Options{Kind: kind})
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
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
