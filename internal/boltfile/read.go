package boltfile

import "go.etcd.io/bbolt"

// ReadTx is a read transaction. It must be closed soon: while it is open the pages that it sees can't be used again.
type ReadTx struct {
	*bbolt.Tx
	file *File
}

// Read starts a read transaction. A goroutine must not start a second one before it has closed the first.
func (f *File) Read() (ReadTx, error) {
	f.swap.RLock()
	if f.db == nil && !f.closed {
		f.swap.RUnlock()
		if err := f.openAgain(); err != nil {
			return ReadTx{}, err
		}
		f.swap.RLock()
	}
	if f.closed || f.db == nil {
		f.swap.RUnlock()
		return ReadTx{}, ErrClosed
	}
	tx, err := f.db.Begin(false)
	if err != nil {
		f.swap.RUnlock()
		return ReadTx{}, explain(err)
	}
	return ReadTx{tx, f}, nil
}

// Close ends the transaction.
func (r ReadTx) Close() {
	_ = r.Tx.Rollback() // the only error is that it has ended already
	r.file.swap.RUnlock()
}
