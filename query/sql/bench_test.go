package sqlview

import (
	"testing"

	"github.com/cqrs-server/cqrs"
)

func BenchmarkOpen(b *testing.B) {
	v := world(b).View()
	b.ReportAllocs()
	for b.Loop() {
		db, err := Open(v, parcelsSQL, ownersSQL)
		if err != nil {
			b.Fatal(err)
		}
		db.Close()
	}
}

// A thousand rows: by a plain loop, and by SQL with nothing and with eight ways declared.
func BenchmarkScan(b *testing.B) {
	v := world(b).View()
	b.Run("loop", func(b *testing.B) {
		for b.Loop() {
			for _, err := range parcels.All(v) {
				if err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("plain", func(b *testing.B) { benchmarkQuery(b, v, plainSQL, "SELECT sum(weight) FROM parcels") })
	b.Run("declared", func(b *testing.B) { benchmarkQuery(b, v, parcelsSQL, "SELECT sum(weight) FROM parcels") })
	b.Run("get", func(b *testing.B) { benchmarkQuery(b, v, parcelsSQL, "SELECT weight FROM parcels WHERE id = 'p00500'") })
}

func benchmarkQuery(b *testing.B, v cqrs.View, s *Source, text string) {
	db, _ := mustOpen(b, v, s)
	b.ReportAllocs()
	for b.Loop() {
		var n int
		if err := db.QueryRow(text).Scan(&n); err != nil {
			b.Fatal(err)
		}
	}
}
