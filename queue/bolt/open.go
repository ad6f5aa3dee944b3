package bolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.etcd.io/bbolt"

	"github.com/cqrs-server/cqrs/internal/boltfile"
)

const kind = "cqrs-queue"

var (
	fileName = regexp.MustCompile(`^queue-([0-9]+)\.db$`)

	// placeBucket says, in a file that Open made, which shard it is, and of how many.
	placeBucket = []byte("queue-place")
	shardKey    = []byte("shard")
	shardsKey   = []byte("shards")
)

// Open opens the queue in a folder, and makes it when it is not there: a file for each shard. The number of shards stays
// what it was when the folder was made.
func Open(dir string, shards int) (*Queue, error) {
	if shards < 1 {
		return nil, fmt.Errorf("open queue %s: it needs at least 1 shard, and %d were asked for", dir, shards)
	}
	files := make([]*boltfile.File, shards)
	if err := openAll(dir, files); err != nil {
		return nil, errors.Join(fmt.Errorf("open queue %s: %w", dir, err), closeAll(files))
	}
	q := On(files...)
	q.owned = true
	return q, nil
}

// openAll opens what is there before it makes what is not, so that a folder of another kind stays as it is. Files are made
// from the last shard to the first: a folder with queue-0.db was complete once.
func openAll(dir string, files []*boltfile.File) error {
	have, err := shardsIn(dir)
	if err != nil {
		return err
	}
	for _, shard := range have {
		if err := openOld(dir, shard, files); err != nil {
			return err
		}
	}
	for shard, f := range slices.Backward(files) {
		if f == nil {
			if err := checkMayMake(shard, files); err != nil {
				return err
			}
		}
		if files[shard], err = openPlaced(dir, shard, f, len(files)); err != nil {
			return err
		}
	}
	return nil
}

// shardsIn tells which shards have a file.
func shardsIn(dir string) (shards []int, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	for _, e := range entries {
		if m := fileName.FindStringSubmatch(e.Name()); m != nil {
			if n, err := strconv.Atoi(m[1]); err == nil {
				shards = append(shards, n)
			}
		}
	}
	slices.Sort(shards)
	return shards, nil
}

// openOld opens a file that is there, and checks that it belongs there.
func openOld(dir string, shard int, files []*boltfile.File) error {
	if shard >= len(files) {
		return wrongNumber(shard+1, len(files))
	}
	f, err := openFile(dir, shard)
	if err != nil {
		return err
	}
	files[shard] = f
	at, of, err := place(f)
	switch {
	case err != nil:
		return err
	case of == 0: // it was being made
		return nil
	case of != len(files):
		return wrongNumber(of, len(files))
	case at != shard:
		return fmt.Errorf("%s is the file of shard %d: give each file its own name back", f.Path(), at)
	}
	return nil
}

func wrongNumber(has, asked int) error {
	return fmt.Errorf("it has %d shards, and %d were asked for: open it with %d, or drain it and begin in a new folder", has, asked, has)
}

func openFile(dir string, shard int) (*boltfile.File, error) {
	return boltfile.Open(filepath.Join(dir, fmt.Sprintf("queue-%d.db", shard)), boltfile.Options{Kind: kind})
}

// place reads which shard a file is, and of how many: 0 when that was not written yet.
func place(f *boltfile.File) (shard, shards int, err error) {
	err = f.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(placeBucket)
		if b == nil {
			return nil
		}
		at, of := b.Get(shardKey), b.Get(shardsKey)
		if len(at) != 8 || len(of) != 8 {
			return fmt.Errorf("%s does not say which shard it is: it is damaged", f.Path())
		}
		shard, shards = int(binary.BigEndian.Uint64(at)), int(binary.BigEndian.Uint64(of))
		return nil
	})
	return shard, shards, err
}

// checkMayMake tells a folder that was being made from one that has lost a file, which must not be replaced by an empty one.
func checkMayMake(shard int, files []*boltfile.File) error {
	for _, f := range files[:shard] {
		if f != nil {
			return fmt.Errorf("queue-%d.db is missing: put it back", shard)
		}
	}
	for _, f := range files[shard:] {
		if f == nil {
			continue
		}
		if err := f.View(hasNoTopic); err != nil {
			return fmt.Errorf("queue-%d.db is missing, and %s %w: put it back", shard, f.Path(), err)
		}
	}
	return nil
}

func hasNoTopic(tx *bbolt.Tx) error {
	return tx.ForEach(func(name []byte, _ *bbolt.Bucket) error {
		if strings.HasPrefix(string(name), topicPrefix) {
			return fmt.Errorf("has topic %q", name[len(topicPrefix):])
		}
		return nil
	})
}

// openPlaced opens the file of a shard unless it is open, and writes into it which shard it is.
func openPlaced(dir string, shard int, f *boltfile.File, shards int) (_ *boltfile.File, err error) {
	if f == nil {
		if f, err = openFile(dir, shard); err != nil {
			return nil, err
		}
	}
	if _, of, err := place(f); err != nil || of > 0 {
		return f, err
	}
	return f, f.Update(context.Background(), func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(placeBucket)
		if err != nil {
			return err
		}
		return errors.Join(b.Put(shardKey, offsetKey(uint64(shard))), b.Put(shardsKey, offsetKey(uint64(shards))))
	})
}
