package powercut

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"unsafe"

	"go.etcd.io/bbolt"
)

// Watcher records what bbolt writes, from inside the process: where nothing can be mounted. It sees the writes of a database whose commits
// go through it, and takes bbolt's word for its fsyncs: one before a header is written, one at the end of a commit, one after the file
// has grown. What is done to a file before its first commit here counts as certain, and so do the folders.
type Watcher struct {
	Recorder
	top string

	once  sync.Mutex
	fast  bool
	seen  map[*bbolt.DB]*watched
	nodes map[string]int // of folders
}

type watched struct {
	rec   *Recorder
	db    *bbolt.DB
	node  int
	size  int64
	syncs bool // the program has bbolt fsync
	write func([]byte, int64) (int, error)
}

// Watch records what is done in the folder top.
func Watch(top string) *Watcher {
	return &Watcher{top: top, seen: map[*bbolt.DB]*watched{}, nodes: map[string]int{".": Root}}
}

// WatchFast is Watch, where nobody cuts the power to the real disk: fsyncs that the program asks bbolt for are noted, and not done.
func WatchFast(top string) *Watcher {
	w := Watch(top)
	w.fast = true
	return w
}

// Commit commits a transaction, in place of its own Commit.
func (w *Watcher) Commit(tx *bbolt.Tx) error {
	db, err := w.database(tx)
	if err != nil {
		return err
	}
	err = tx.Commit()
	if err == nil && db.syncs {
		db.rec.add(Op{Kind: Sync, Node: db.node})
	}
	return err
}

func (w *Watcher) database(tx *bbolt.Tx) (*watched, error) {
	db := tx.DB()
	w.once.Lock()
	defer w.once.Unlock()
	if at := w.seen[db]; at != nil {
		return at, nil
	}
	at := &watched{rec: &w.Recorder, db: db, node: w.node(), syncs: !db.NoSync}
	if err := w.begin(at, db.Path(), tx.Size()); err != nil {
		return nil, err
	}
	if w.fast {
		db.NoSync = true
	}
	// The function that bbolt writes with is a field of its own.
	field := reflect.ValueOf(db).Elem().FieldByName("ops").FieldByName("writeAt")
	write := (*func([]byte, int64) (int, error))(unsafe.Pointer(field.UnsafeAddr()))
	at.write, *write = *write, at.writeAt
	w.seen[db] = at
	return at, nil
}

// begin puts the file as it is in the place of what had its name. Of its bytes no more than size are in use.
func (w *Watcher) begin(at *watched, path string, size int64) error {
	content, length, err := readUpTo(path, size)
	if err != nil {
		return err
	}
	within, err := filepath.Rel(w.top, path)
	if err != nil {
		return err
	}
	at.size = length
	dir, name := w.folder(filepath.Dir(within)), filepath.Base(within)
	for _, op := range []Op{
		{Kind: Make, Node: at.node, Dir: dir, Name: name + ".new"},
		{Kind: Write, Node: at.node, Data: bytes.TrimRight(content, "\x00")},
		{Kind: Truncate, Node: at.node, Off: at.size},
		{Kind: Sync, Node: at.node},
		{Kind: Rename, Dir: dir, Name: name + ".new", To: name},
		{Kind: SyncDir, Dir: dir},
	} {
		w.add(op)
	}
	return nil
}

func readUpTo(path string, size int64) (content []byte, length int64, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, 0, err
	}
	content = make([]byte, min(size, info.Size()))
	_, err = io.ReadFull(file, content)
	return content, info.Size(), err
}

func (w *Watcher) folder(path string) int {
	if n, ok := w.nodes[path]; ok {
		return n
	}
	n, above := w.node(), w.folder(filepath.Dir(path))
	w.nodes[path] = n
	w.add(Op{Kind: Make, Node: n, Dir: above, Name: filepath.Base(path), Folder: true})
	w.add(Op{Kind: SyncDir, Dir: above})
	return n
}

func (at *watched) writeAt(data []byte, off int64) (int, error) {
	if err := at.noteGrowth(); err != nil {
		return 0, err
	}
	if header := off < 2*int64(at.db.Info().PageSize); header && at.syncs {
		at.rec.add(Op{Kind: Sync, Node: at.node})
	}
	at.rec.add(Op{Kind: Write, Node: at.node, Off: off, Data: append([]byte(nil), data...)})
	at.size = max(at.size, off+int64(len(data)))
	return at.write(data, off)
}

func (at *watched) noteGrowth() error {
	info, err := os.Stat(at.db.Path())
	if err != nil {
		return err
	}
	if info.Size() != at.size {
		at.size = info.Size()
		at.rec.add(Op{Kind: Truncate, Node: at.node, Off: at.size})
		if at.syncs {
			at.rec.add(Op{Kind: Sync, Node: at.node})
		}
	}
	return nil
}
