//go:build !386 && !arm && !mips && !mipsle && !windows

package boltfile

// initialMmapSize is address space, not memory: as long as the file fits, growing needs no remap, which would wait for all readers.
const initialMmapSize = 1 << 32
