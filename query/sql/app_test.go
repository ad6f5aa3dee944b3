package sqlview

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cqrs-server/cqrs"
	"github.com/cqrs-server/cqrs/cqrstest"
	"github.com/google/uuid"
)

// A program whose rows have fields of all kinds.

type place struct {
	City string
	Lat  float64
}

type parcel struct {
	ID       string
	Owner    uuid.UUID
	Sent     time.Time
	Weight   int
	Price    float64 `json:"price_eur"`
	Express  bool
	From     place
	To       *place
	Note     *string
	Tags     []string
	Scans    map[string]int
	Raw      []byte
	Kind     uint8
	Internal int `json:"-"`
}

// where is an index's value of two parts.
type where struct {
	City string
	Sent time.Time
}

type owner struct {
	ID   uuid.UUID
	Name string
}

var (
	parcels = cqrs.NewTable("parcels", func(p parcel) string { return p.ID })
	owners  = cqrs.NewTable("owners", func(o owner) uuid.UUID { return o.ID })

	byWeight = cqrs.NewIndex(parcels, "weight", func(p parcel) int { return p.Weight })
	byPlace  = cqrs.NewIndex(parcels, "place", func(p parcel) where { return where{p.From.City, p.Sent} })
	bySent   = cqrs.NewIndex(parcels, "sent", func(p parcel) time.Time { return p.Sent })
	byOwner  = cqrs.NewIndex(parcels, "owner", func(p parcel) uuid.UUID { return p.Owner })
	byPrice  = cqrs.NewIndex(parcels, "price", func(p parcel) float64 { return p.Price })
	byNote   = cqrs.NewMultiIndex(parcels, "note", func(p parcel) []string {
		if p.Note == nil || *p.Note == "" {
			return nil
		}
		return []string{*p.Note}
	})
	byDay     = cqrs.NewIndex(parcels, "day", func(p parcel) int64 { return p.Sent.Unix() / 86400 })
	byExpress = cqrs.NewIndex(parcels, "express", func(p parcel) bool { return p.Express })
	byTag     = cqrs.NewMultiIndex(parcels, "tag", func(p parcel) []string { return p.Tags })
	byName    = cqrs.NewUniqueIndex(owners, "name", func(o owner) []string { return []string{o.Name} })
)

func sentDay(p parcel) int64 { return p.Sent.Unix() / 86400 }

var (
	parcelsSQL = Table("parcels", parcels, Column("day", sentDay), Key("id"), Index(byWeight, "weight"), Index(byPlace, "from_city", "sent"), Index(bySent, "sent"),
		Index(byOwner, "owner"), Index(byPrice, "price_eur"), Index(byNote, "note"), Index(byDay, "day"), Index(byExpress, "express"))
	plainSQL  = Table("parcels", parcels, Column("day", sentDay)) // the same, and nothing is known of keys and indexes
	ownersSQL = Table("owners", owners, Key("id"), Index(byName, "name"))
)

// write changes the tables as it is told.
type write struct {
	Parcels []parcel
	Owners  []owner
	Gone    []string // parcels
}

type written write

func (write) CommandType() string { return "parcel/write" }
func (written) EventType() string { return "parcel/written" }

func (c write) ProcessCommand(context.Context, *cqrs.Decision) ([]cqrs.Event, error) {
	return []cqrs.Event{written(c)}, nil
}

type fold struct{}

func (fold) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	w := e.(written)
	for _, p := range w.Parcels {
		if err := parcels.Put(tx, p); err != nil {
			return err
		}
	}
	for _, o := range w.Owners {
		if err := owners.Put(tx, o); err != nil {
			return err
		}
	}
	for _, id := range w.Gone {
		if err := parcels.Delete(tx, id); err != nil {
			return err
		}
	}
	return nil
}

func config() cqrs.Config {
	return cqrs.Config{
		Commands: []cqrs.Command{write{}}, Events: []cqrs.Event{written{}}, Aggregator: fold{}, Tables: []cqrs.AnyTable{parcels, owners},
	}
}

func start(t testing.TB) *cqrs.Runtime { return cqrstest.Runtime(t, config()) }

// send gives the t behind which the write is.
func send(t testing.TB, rt *cqrs.Runtime, w write) uint64 {
	t.Helper()
	receipt, err := rt.Send(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	out, err := receipt.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return out.T
}

// many makes n parcels: weight i mod 10, from one of four cities, an hour apart.
func many(n int) (list []parcel) {
	for i := range n {
		list = append(list, parcel{
			ID: fmt.Sprintf("p%05d", i), Owner: someone(i % 3), Sent: epoch.Add(time.Duration(i) * time.Hour), Weight: i % 10,
			Price: float64(i) / 4, Express: i%2 == 0, From: place{City: [...]string{"Aachen", "Bonn", "Celle", "Dresden"}[i%4]}, Kind: uint8(i % 5),
		})
	}
	return list
}

var epoch = time.Date(2013, 1, 1, 0, 0, 0, 0, time.UTC)

func someone(i int) uuid.UUID { return uuid.NewSHA1(uuid.NameSpaceOID, []byte{byte(i)}) }

// foldYoung writes the parcels to a table of its own.
type foldYoung struct{ table *cqrs.Table[string, parcel] }

func (f foldYoung) AggregateEvent(_ context.Context, tx *cqrs.Tx, e cqrs.Event) error {
	for _, p := range e.(written).Parcels {
		if err := f.table.Put(tx, p); err != nil {
			return err
		}
	}
	return nil
}

// openAt is a running runtime in a folder that outlives it.
func openAt(t testing.TB, dir string, cfg cqrs.Config) *cqrs.Runtime {
	t.Helper()
	rt, err := cqrs.Open(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- rt.Run(context.Background()) }()
	t.Cleanup(func() {
		_ = rt.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return rt
}
