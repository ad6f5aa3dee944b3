package bolt

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
	"go.etcd.io/bbolt"
)

// TestCommandPrefix checks that prefixes differ where ids do, and that those of version 7 keep the order of their times.
func TestCommandPrefix(t *testing.T) {
	if alike(1) == alike(2) || commandPrefix(alike(1)) != commandPrefix(alike(2)) {
		t.Error("the ids that tests take to be alike are not")
	}
	seen := map[uint64]uuid.UUID{}
	for i := range uint64(100_000) {
		for _, id := range []uuid.UUID{tightID(i, 0), tightID(0, i), tightID(i, i), at7(i*16, i)} {
			if other, ok := seen[commandPrefix(id)]; ok && other != id {
				t.Fatalf("%s and %s have the same prefix", other, id)
			}
			seen[commandPrefix(id)] = id
		}
		if a, b := commandPrefix(at7(i<<8, i)), commandPrefix(at7((i+1)<<8, 0)); a >= b {
			t.Fatalf("the prefix %x at %d ms is not below %x, 256 ms later", a, i<<8, b)
		}
	}
}

// at7 is an id of version 7 with a time.
func at7(milli, rest uint64) (id uuid.UUID) {
	binary.BigEndian.PutUint64(id[:], milli<<16|0x7000)
	binary.BigEndian.PutUint64(id[8:], 1<<63|rest)
	return id
}

// TestNewIDsPassRunsBy checks that an id of version 7 is not looked for in runs that are older, whatever was merged.
func TestNewIDsPassRunsBy(t *testing.T) {
	f, mem := openFile(t), arena{}
	within(t, f, func(tx *bbolt.Tx) error {
		for i := range uint64(300) {
			x := idIndex{idKind: byCommand}
			if err := x.open(tx, 20); err != nil {
				return err
			}
			fresh := commandPrefix(at7(i*256, 0))
			for _, run := range x.runs.all {
				if run.least <= fresh && fresh <= run.greatest {
					return fmt.Errorf("batch %d: run %d would be searched", i, run.number)
				}
			}
			for j := range uint64(20) {
				x.add(at7(i*256+j, j), 0, i*20+j+1)
			}
			if err := x.flush(&mem); err != nil {
				return err
			}
		}
		return nil
	})
}

// TestDuplicatesOfALargeBatch puts many commands again in one batch, once as they were and once at other places of the log.
func TestDuplicatesOfALargeBatch(t *testing.T) {
	for name, command := range map[string]func() uuid.UUID{"v4": uuid.New, "v7": newV7} {
		t.Run(name, func(t *testing.T) {
			fl := &filler{tb: t, f: openFile(t), command: command}
			fl.s = On(fl.f)
			var all []store.Record
			for _, n := range []int{2000, 700, 10, 1, 300} {
				rs := fl.batch(n)
				fl.put(rs, true)
				all = append(all, rs...)
			}
			rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			if err := fl.s.Put(t.Context(), all); err != nil {
				t.Fatalf("the same records again: %v", err)
			}
			for i := range all {
				all[i].T += uint64(len(all))
			}
			err := fl.s.Put(t.Context(), all)
			if n := len(strings.Split(fmt.Sprint(err), "\n")); n != len(all) || !strings.Contains(err.Error(), "other bytes") {
				t.Errorf("%d of %d records at other places were refused: %.200v", n, len(all), err)
			}
			if last, err := fl.s.Last(t.Context(), 0); last != uint64(len(all)) || err != nil {
				t.Errorf("the last t is %d, %v; want %d", last, err, len(all))
			}
		})
	}
}
