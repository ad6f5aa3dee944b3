package powercut

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// NotesName is a file at the top of the mounted folder that is no file: what is written to it becomes Notes, one a write.
const NotesName = "notes"

// Mount puts a folder at path, whose files are held in memory, and records all that other processes do there. The process itself must not
// touch it: a page of a mapped file that it waits for is served by its own goroutines. Mounting needs Linux, FUSE and the right to
// mount; the error says what is missing.
func Mount(path string) (r *Recorder, unmount func() error, err error) {
	r = &Recorder{}
	root := &node{rec: r, number: Root}
	server, err := fs.Mount(path, root, &fs.Options{MountOptions: fuse.MountOptions{
		DirectMount: true, FsName: "powercut", Name: "powercut", DisableXAttrs: true, MaxWrite: 1 << 20,
	}})
	if err != nil {
		return nil, nil, fmt.Errorf("mount a FUSE folder at %s: %w", path, err)
	}
	return r, server.Unmount, nil
}

// node is a file or a folder.
type node struct {
	fs.Inode
	rec    *Recorder
	number int

	mu   sync.Mutex
	data []byte
}

var (
	_ fs.NodeCreater   = (*node)(nil)
	_ fs.NodeMkdirer   = (*node)(nil)
	_ fs.NodeLinker    = (*node)(nil)
	_ fs.NodeUnlinker  = (*node)(nil)
	_ fs.NodeRmdirer   = (*node)(nil)
	_ fs.NodeRenamer   = (*node)(nil)
	_ fs.NodeOpener    = (*node)(nil)
	_ fs.NodeReader    = (*node)(nil)
	_ fs.NodeWriter    = (*node)(nil)
	_ fs.NodeFsyncer   = (*node)(nil)
	_ fs.NodeFlusher   = (*node)(nil)
	_ fs.NodeGetattrer = (*node)(nil)
	_ fs.NodeSetattrer = (*node)(nil)
)

func (n *node) isNotes(name string) bool { return n.number == Root && name == NotesName }

func (n *node) child(ctx context.Context, mode uint32) (*node, *fs.Inode) {
	c := &node{rec: n.rec, number: n.rec.node()}
	return c, n.NewPersistentInode(ctx, c, fs.StableAttr{Mode: mode})
}

func (n *node) Create(ctx context.Context, name string, _, _ uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	if n.isNotes(name) {
		return n.NewPersistentInode(ctx, &notes{rec: n.rec}, fs.StableAttr{Mode: syscall.S_IFREG}), nil, fuse.FOPEN_DIRECT_IO, 0
	}
	c, inode := n.child(ctx, syscall.S_IFREG)
	n.rec.add(Op{Kind: Make, Dir: n.number, Node: c.number, Name: name})
	out.Mode, out.Nlink = 0o600, 1
	return inode, nil, 0, 0
}

func (n *node) Mkdir(ctx context.Context, name string, _ uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	c, inode := n.child(ctx, syscall.S_IFDIR)
	n.rec.add(Op{Kind: Make, Dir: n.number, Node: c.number, Name: name, Folder: true})
	out.Mode, out.Nlink = 0o700, 2
	return inode, 0
}

func (n *node) Link(_ context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if n.GetChild(name) != nil {
		return nil, syscall.EEXIST
	}
	t := target.(*node)
	n.rec.add(Op{Kind: Link, Dir: n.number, Node: t.number, Name: name})
	t.attributes(&out.Attr)
	return t.EmbeddedInode(), 0
}

func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	n.rec.add(Op{Kind: Remove, Dir: n.number, Name: name})
	return 0
}

func (n *node) Rmdir(ctx context.Context, name string) syscall.Errno {
	if c := n.GetChild(name); c != nil && len(c.Children()) > 0 {
		return syscall.ENOTEMPTY
	}
	return n.Unlink(ctx, name)
}

// Rename within the folder; the library does no other.
func (n *node) Rename(_ context.Context, name string, to fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if to.EmbeddedInode() != n.EmbeddedInode() || flags != 0 {
		return syscall.EXDEV
	}
	n.rec.add(Op{Kind: Rename, Dir: n.number, Name: name, To: newName})
	return 0
}

func (n *node) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_KEEP_CACHE, 0
}

func (n *node) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return fuse.ReadResultData(dest[:copy(dest, n.data[min(off, int64(len(n.data))):])]), 0
}

func (n *node) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rec.add(Op{Kind: Write, Node: n.number, Off: off, Data: append([]byte(nil), data...)})
	n.resize(max(int64(len(n.data)), off+int64(len(data))))
	return uint32(copy(n.data[off:], data)), 0
}

func (n *node) resize(size int64) {
	if more := size - int64(len(n.data)); more > 0 {
		n.data = append(n.data, make([]byte, more)...)
	}
	n.data = n.data[:size]
}

// Fsync is of a file or of a folder.
func (n *node) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	if n.IsDir() {
		n.rec.add(Op{Kind: SyncDir, Dir: n.number})
	} else {
		n.rec.add(Op{Kind: Sync, Node: n.number})
	}
	return 0
}

func (n *node) Flush(context.Context, fs.FileHandle) syscall.Errno { return 0 }

func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.attributes(&out.Attr)
	return 0
}

// attributes tell of one name at least: the system links no file that has none.
func (n *node) attributes(out *fuse.Attr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	out.Mode, out.Nlink, out.Size = 0o600, 1, uint64(len(n.data))
	if n.IsDir() {
		out.Mode = 0o700
	}
}

func (n *node) Setattr(ctx context.Context, h fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		n.mu.Lock()
		n.rec.add(Op{Kind: Truncate, Node: n.number, Off: int64(size)})
		n.resize(int64(size))
		n.mu.Unlock()
	}
	return n.Getattr(ctx, h, out)
}

// notes takes what the program says.
type notes struct {
	fs.Inode
	rec *Recorder
}

func (n *notes) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (n *notes) Write(_ context.Context, _ fs.FileHandle, data []byte, _ int64) (uint32, syscall.Errno) {
	n.rec.Note(strings.TrimSuffix(string(data), "\n"))
	return uint32(len(data)), 0
}

func (n *notes) Setattr(context.Context, fs.FileHandle, *fuse.SetAttrIn, *fuse.AttrOut) syscall.Errno {
	return 0
}
