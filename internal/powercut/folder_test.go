package powercut

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// What was synced is in every image; of what was not, each outcome is met, and no other.
func TestImages(t *testing.T) {
	f := NewFolder()
	old, fresh := bytes.Repeat([]byte{1}, 4096), bytes.Repeat([]byte{2}, 1024)
	for _, op := range []Op{
		{Kind: Make, Dir: Root, Node: 2, Name: "d", Folder: true},
		{Kind: SyncDir, Dir: Root},
		{Kind: Make, Dir: 2, Node: 3, Name: "a.new"},
		{Kind: Write, Node: 3, Data: old},
		{Kind: Truncate, Node: 3, Off: 8192},
		{Kind: Sync, Node: 3},
		{Kind: Rename, Dir: 2, Name: "a.new", To: "a"},
		{Kind: SyncDir, Dir: 2},
		{Kind: Write, Node: 3, Off: 512, Data: fresh},
		{Kind: Make, Dir: 2, Node: 4, Name: "b"},
		{Kind: Note, Text: "said"},
	} {
		f.Do(op)
	}
	met := map[string]int{}
	for seed := range uint64(300) {
		dir := t.TempDir()
		if err := f.Image(rand.New(rand.NewPCG(seed, 0)), dir); err != nil {
			t.Fatal(err)
		}
		a, err := os.ReadFile(filepath.Join(dir, "d", "a"))
		if err != nil || len(a) != 8192 || !bytes.Equal(a[:512], old[:512]) || !bytes.Equal(a[1536:4096], old[1536:]) {
			t.Fatalf("seed %d: what was synced is not there: %v", seed, err)
		}
		met[string([]byte{'0' + a[512], '0' + a[1024]})]++
		for i := 512; i < 1536; i++ {
			if a[i] != a[i/sector*sector] {
				t.Fatalf("seed %d: a torn sector", seed)
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "d", "b")); err == nil {
			met["b"]++
		}
	}
	if met["11"] == 0 || met["12"] == 0 || met["21"] == 0 || met["22"] == 0 || met["b"] == 0 || met["b"] == 300 {
		t.Errorf("met %v", met)
	}
	if len(f.Notes) != 1 || len(f.files[3].pending) != 1 {
		t.Error("an image changed the folder")
	}
}

func TestRenameKeepsOneOfBoth(t *testing.T) {
	f := NewFolder()
	for _, op := range []Op{
		{Kind: Make, Dir: Root, Node: 2, Name: "a"},
		{Kind: Make, Dir: Root, Node: 3, Name: "new"},
		{Kind: Write, Node: 3, Data: []byte("new")},
		{Kind: Sync, Node: 3},
		{Kind: SyncDir, Dir: Root},
		{Kind: Rename, Dir: Root, Name: "new", To: "a"},
	} {
		f.Do(op)
	}
	met := map[string]int{}
	for seed := range uint64(100) {
		dir := t.TempDir()
		if err := f.Image(rand.New(rand.NewPCG(seed, 0)), dir); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(dir, "a"))
		if err != nil {
			t.Fatal(err)
		}
		met[string(b)]++
	}
	if met[""] == 0 || met["new"] == 0 || len(met) != 2 {
		t.Errorf("met %v", met)
	}
}

// A program that writes a file in the mounted folder is recorded as it did: the images after its last step are whole.
func TestMountRecords(t *testing.T) {
	if dir := os.Getenv("POWERCUT_CHILD"); dir != "" {
		writeSome(t, dir)
		return
	}
	dir := t.TempDir()
	r, unmount, err := Mount(dir)
	if err != nil {
		t.Skipf("FUSE can't be mounted here; the recorder inside the process is tested all the same: %v", err)
	}
	out, err := runAgain(t, "^TestMountRecords$", "POWERCUT_CHILD="+dir)
	if err2 := unmount(); err != nil || err2 != nil {
		t.Fatalf("%v %v\n%s", err, err2, out)
	}
	f := NewFolder()
	for _, op := range r.Ops() {
		f.Do(op)
	}
	image := t.TempDir()
	if err := f.Image(rand.New(rand.NewPCG(1, 1)), image); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(image, "sub", "final")); err != nil || string(b) != "hello, disk" {
		t.Errorf("%q, %v", b, err)
	}
	if len(f.Notes) != 2 || f.Notes[1] != "it is safe" {
		t.Errorf("notes %q", f.Notes)
	}
}

func writeSome(t *testing.T, dir string) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	notes, err := os.OpenFile(filepath.Join(dir, NotesName), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	must(err)
	_, err = notes.WriteString("begin\n")
	must(err)
	sub := filepath.Join(dir, "sub")
	must(os.Mkdir(sub, 0o700))
	f, err := os.Create(filepath.Join(sub, "temp"))
	must(err)
	_, err = f.WriteString("hello, ")
	must(err)
	_, err = f.WriteAt([]byte("disk"), 7)
	must(err)
	must(f.Sync())
	must(os.Link(f.Name(), filepath.Join(sub, "linked")))
	must(os.Rename(f.Name(), filepath.Join(sub, "final")))
	must(os.Remove(filepath.Join(sub, "linked")))
	for _, path := range []string{sub, dir} {
		d, err := os.Open(path)
		must(err)
		must(d.Sync())
		must(d.Close())
	}
	_, err = notes.WriteString("it is safe\n")
	must(err)
}

func runAgain(t *testing.T, test, env string) ([]byte, error) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run="+test)
	cmd.Env = append(os.Environ(), env)
	return cmd.CombinedOutput()
}
