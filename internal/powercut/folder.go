package powercut

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// Folder is what the disk holds at a moment: what is certain, and what a power cut may keep or lose.
type Folder struct {
	files map[int]*file
	dirs  map[int]*dir
	Notes []string
}

type file struct {
	certain []byte // without the zeros at its end
	size    int64
	pending []Op // since the last Sync
}

type dir struct {
	certain map[string]int
	pending []Op // since the last SyncDir
}

// NewFolder is the empty folder.
func NewFolder() *Folder {
	return &Folder{files: map[int]*file{}, dirs: map[int]*dir{Root: {certain: map[string]int{}}}}
}

// Do brings the folder to the moment after op.
func (f *Folder) Do(op Op) {
	switch op.Kind {
	case Write, Truncate:
		at := f.files[op.Node]
		at.pending = append(at.pending, op)
	case Sync:
		f.files[op.Node].settle(nil)
	case SyncDir:
		d := f.dirs[op.Dir]
		for _, p := range d.pending {
			change(d.certain, p)
		}
		d.pending = nil
	case Note:
		f.Notes = append(f.Notes, op.Text)
	default:
		f.make(op)
		d := f.dirs[op.Dir]
		d.pending = append(d.pending, op)
	}
}

func (f *Folder) make(op Op) {
	switch {
	case op.Kind != Make:
	case op.Folder:
		f.dirs[op.Node] = &dir{certain: map[string]int{}}
	default:
		f.files[op.Node] = &file{}
	}
}

// settle makes what pends certain: all of it, or what odds choose.
func (f *file) settle(odds *odds) {
	for _, op := range f.pending {
		switch {
		case odds != nil && !odds.keep():
		case op.Kind == Truncate:
			f.truncate(op.Off)
		case odds != nil && odds.torn:
			f.writeTorn(op, odds)
		default:
			f.write(op.Data, op.Off)
		}
	}
	f.pending = nil
}

func (f *file) truncate(size int64) {
	f.size = size
	f.certain = f.certain[:min(int64(len(f.certain)), size)]
}

func (f *file) write(data []byte, off int64) {
	end := off + int64(len(data))
	f.size = max(f.size, end)
	if missing := end - int64(len(f.certain)); missing > 0 {
		f.certain = append(f.certain, make([]byte, missing)...)
	}
	copy(f.certain[off:], data)
}

// sector is what a disk writes all of or nothing.
const sector = 512

func (f *file) writeTorn(op Op, odds *odds) {
	data, off := op.Data, op.Off
	for len(data) > 0 {
		n := min(len(data), int(sector-off%sector))
		if odds.keep() {
			f.write(data[:n], off)
		}
		data, off = data[n:], off+int64(n)
	}
}

func change(names map[string]int, op Op) {
	switch op.Kind {
	case Make, Link:
		names[op.Name] = op.Node
	case Remove:
		delete(names, op.Name)
	case Rename:
		if node, ok := names[op.Name]; ok {
			names[op.To] = node
			delete(names, op.Name)
		}
	}
}

// odds say what of the pending is kept.
type odds struct {
	rand  *rand.Rand
	share float64 // of what is kept
	torn  bool    // sectors of a write are lost one by one
}

func newOdds(r *rand.Rand) *odds {
	return &odds{rand: r, share: []float64{0, 0.1, 0.5, 0.5, 0.9, 1}[r.IntN(6)], torn: r.IntN(2) == 0}
}

func (o *odds) keep() bool { return o.rand.Float64() < o.share }

// Image makes one of the folders that a power cut now could leave, at path. The Folder itself stays as it is.
func (f *Folder) Image(r *rand.Rand, path string) error { return f.image(newOdds(r), Root, path) }

func (f *Folder) image(odds *odds, node int, path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	d := f.dirs[node]
	names := maps.Clone(d.certain)
	for _, op := range d.pending {
		if odds.keep() {
			change(names, op)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) { // in an order, so that a seed gives the same image
		child, at := names[name], filepath.Join(path, name)
		if f.dirs[child] != nil {
			if err := f.image(odds, child, at); err != nil {
				return err
			}
			continue
		}
		if err := f.files[child].image(odds, at); err != nil {
			return fmt.Errorf("image of %s: %w", at, err)
		}
	}
	return nil
}

func (f *file) image(odds *odds, path string) error {
	left := file{certain: f.certain, size: f.size, pending: f.pending}
	if len(f.pending) > 0 {
		left.certain = bytes.Clone(f.certain)
		left.settle(odds)
	}
	if err := os.WriteFile(path, left.certain, 0o600); err != nil {
		return err
	}
	return os.Truncate(path, left.size)
}
