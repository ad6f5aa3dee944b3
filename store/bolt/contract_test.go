package bolt_test

import (
	"path/filepath"
	"testing"

	"github.com/cqrs-server/cqrs/store"
	"github.com/cqrs-server/cqrs/store/bolt"
	"github.com/cqrs-server/cqrs/store/storetest"
)

func TestContract(t *testing.T) {
	path := ""
	open := func(t *testing.T) store.Store {
		s, err := bolt.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	features := storetest.Features{Reopen: func(t *testing.T, s store.Store) store.Store {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return open(t)
	}}
	storetest.Run(t, features, func(t *testing.T) store.Store {
		path = filepath.Join(t.TempDir(), "store")
		return open(t)
	})
}

// TestContractShared runs all of the contract on one file, which checks that the suite keeps its tests apart.
func TestContractShared(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	storetest.Run(t, storetest.Features{}, func(t *testing.T) store.Store {
		s, err := bolt.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	})
}
