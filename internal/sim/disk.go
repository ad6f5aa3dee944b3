package sim

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/cqrs-server/cqrs/internal/powercut"
	"go.etcd.io/bbolt"
)

var (
	errDisk   = errors.New("sim: the disk is full")
	errKilled = errors.New("sim: the process was killed")
)

// commit makes a transaction of a shard's file durable, or fails to: then what took place is read back from the file.
func (p *proc) commit(_ int, tx *bbolt.Tx) error {
	switch {
	case p.killed:
		return errKilled
	case p.w.opening:
		return p.commitOpening(tx)
	case p.w.happens(diskFails):
		return errDisk
	case p.w.happens(diskUnknown):
		_ = p.write(tx)
		return errDisk
	case p.w.happens(powerCut):
		return p.cutPower(tx)
	}
	return p.write(tx)
}

// commitOpening is commit while the process is opened: it may be killed before or behind it.
func (p *proc) commitOpening(tx *bbolt.Tx) error {
	if p.killed = p.w.draw(crashOpening); !p.killed {
		return p.write(tx)
	}
	if p.w.lot.IntN(2) == 0 {
		_ = p.write(tx)
	}
	return errKilled
}

func (p *proc) write(tx *bbolt.Tx) error {
	if p.disk != nil {
		return p.disk.Commit(tx)
	}
	return tx.Commit()
}

// plugIn has what the process writes be noted, where its power is going to be cut: to note it costs time.
func (p *proc) plugIn() {
	if p.disk, p.cut = nil, nil; p.w.chances[powerCut].on() {
		p.disk = powercut.WatchFast(p.dir)
	}
}

// cut is a power cut: what had been written at that moment, and what of it the disk keeps.
type cut struct {
	ops  []powercut.Op
	dice *rand.Rand
}

// cutPower cuts the power while a transaction is committed. The process does not get to do anything after that moment: it ends at its next
// call, and all that it did to its files behind it is undone.
func (p *proc) cutPower(tx *bbolt.Tx) error {
	if p.w.chances[powerCut].n == 1 {
		p.w.count("history with power cuts")
	}
	before := len(p.disk.Ops())
	err := p.disk.Commit(tx)
	ops := p.disk.Ops()
	lot := p.w.lot
	p.cut = &cut{ops[:before+lot.IntN(len(ops)-before+1)], rand.New(rand.NewPCG(lot.Uint64(), lot.Uint64()))}
	p.dying = true
	return err
}

// losePower puts one of the folders that the cut can have left in the place of the process's own.
func (p *proc) losePower() {
	if p.cut == nil {
		return
	}
	folder := powercut.NewFolder()
	for _, op := range p.cut.ops {
		folder.Do(op)
	}
	image := p.dir + ".image"
	err := folder.Image(p.cut.dice, image)
	list, err2 := os.ReadDir(image)
	err = errors.Join(err, err2)
	for _, e := range list { // files that were not written since they were opened are as they were
		err = errors.Join(err, os.Rename(filepath.Join(image, e.Name()), filepath.Join(p.dir, e.Name())))
	}
	if err := errors.Join(err, os.RemoveAll(image)); err != nil {
		p.w.fault("the power can't be cut: %v", err)
	}
	p.cut = nil
}
