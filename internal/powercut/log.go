// Package powercut records what a program does to its files, and builds the folders that a power cut could have left: for tests.
//
// A Recorder holds every write, fsync and change of a folder in the order in which they were done. A Folder is what is certain after
// some of them (what was synced) and what is not, and an image is one of the folders that this may leave.
package powercut

import (
	"encoding/gob"
	"io"
	"sync"
)

// Kind says what an Op did.
type Kind uint8

// The kinds.
const (
	Write    Kind = iota + 1 // Data to the file Node at Off
	Truncate                 // the file Node to Off bytes
	Sync                     // the file Node
	Make                     // the file Node, or the folder when Folder, as Name in Dir
	Link                     // the file Node as Name in Dir, too
	Remove                   // Name from Dir
	Rename                   // Name in Dir to To in Dir
	SyncDir                  // the folder Dir
	Note                     // what the program said, in Text: it came after all that stands before it
)

// Root is the node of the folder that is watched.
const Root = 1

// Op is one thing that was done.
type Op struct {
	Kind      Kind
	Node, Dir int
	Folder    bool
	Name, To  string
	Off       int64
	Data      []byte
	Text      string
}

// Recorder gathers what is done.
type Recorder struct {
	mu    sync.Mutex
	ops   []Op
	nodes int
}

func (r *Recorder) add(op Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, op)
}

// node gives a number that no node has.
func (r *Recorder) node() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nodes++
	return Root + r.nodes
}

// Note adds what the program says.
func (r *Recorder) Note(text string) { r.add(Op{Kind: Note, Text: text}) }

// Ops are what was done so far.
func (r *Recorder) Ops() []Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ops[:len(r.ops):len(r.ops)]
}

// Save writes a log, for another process to Load.
func Save(w io.Writer, ops []Op) error { return gob.NewEncoder(w).Encode(ops) }

// Load reads a log.
func Load(r io.Reader) (ops []Op, err error) {
	err = gob.NewDecoder(r).Decode(&ops)
	return ops, err
}

// Without gives the log less what drop holds for: as if the program had not done it.
func Without(ops []Op, drop func(Op) bool) (kept []Op) {
	for _, op := range ops {
		if !drop(op) {
			kept = append(kept, op)
		}
	}
	return kept
}
