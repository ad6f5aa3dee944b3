package main

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"
)

var watermillBolt = benchmark{
	goals: []goal{atLeast("embedded-vs-watermill-bolt", 15, 40), shown("embedded-vs-watermill-bolt-cpu")},
	run: func(e *env) ([]float64, error) {
		n := max(e.n/50, 200)
		peer := contender{"watermill, bolt", func(round int) (usage, error) { return runMillOnBolt(e, n, int64(round)) }}
		pairs, err := race(e, e.rounds, embedded(e, e.n/2), peer)
		if err != nil {
			return nil, err
		}
		return []float64{ratio(pairs, usage.rate), ratio(pairs, usage.cpuEach)}, nil
	},
}

// boltView counts in a bbolt file, each command once: a transaction for each event, as a handler of one event does.
type boltView struct{ db *bbolt.DB }

var (
	countsBucket = []byte("counts")
	seenBucket   = []byte("seen")
)

func openBoltView(path string) (*boltView, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: time.Second, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, InitialMmapSize: 64 << 20,
	})
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err1 := tx.CreateBucketIfNotExists(countsBucket)
		_, err2 := tx.CreateBucketIfNotExists(seenBucket)
		return errors.Join(err1, err2)
	})
	return &boltView{db}, err
}

func (v *boltView) count(user string, command uuid.UUID) error {
	return v.db.Update(func(tx *bbolt.Tx) error {
		seen, counts := tx.Bucket(seenBucket), tx.Bucket(countsBucket)
		seen.FillPercent = 0.95 // the ids grow with time
		if seen.Get(command[:]) != nil {
			return nil
		}
		if err := seen.Put(command[:], []byte{1}); err != nil {
			return err
		}
		n := numberIn(counts.Get([]byte(user))) + 1
		return counts.Put([]byte(user), binary.BigEndian.AppendUint64(nil, n))
	})
}

func numberIn(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func (v *boltView) check(w *work) error {
	return v.db.View(func(tx *bbolt.Tx) error {
		counts := tx.Bucket(countsBucket)
		return w.check(func(user string) (int, error) { return int(numberIn(counts.Get([]byte(user)))), nil })
	})
}

func runMillOnBolt(e *env, n int, seed int64) (u usage, err error) {
	w, err := newWork(n, seed)
	if err != nil {
		return u, err
	}
	dir, err := e.folder()
	if err != nil {
		return u, err
	}
	defer os.RemoveAll(dir)
	view, err := openBoltView(filepath.Join(dir, "view.db"))
	if err != nil {
		return u, err
	}
	defer func() { err = errors.Join(err, view.db.Close()) }()
	m, err := openMill(view.count)
	if err != nil {
		return u, err
	}
	u, err = measure(n, func() error { return m.send(w) })
	return u, errors.Join(err, m.close(), view.check(w))
}
