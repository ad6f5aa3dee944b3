//go:build 386 || arm || mips || mipsle || windows

package boltfile

const initialMmapSize = 1 << 24
