package dynamo

import (
	"bytes"
	"cmp"
	enc "encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/cqrs-server/cqrs/internal/ids"
	"github.com/cqrs-server/cqrs/store"
)

// The index by type and time. Its partition key spreads a type over several partitions, because one takes no more than
// 1,000 writes a second, and slows down the table when it must take more.
const (
	byTypeIndex = "by-type"
	spread      = 8
	maxTypeKey  = 2048 - 2
)

// eventItem is the item of the event at index i. The first one of a record also has the record's digest.
func eventItem(r *store.Record, i int, d digest) (item, error) {
	e, it := &r.Events[i], make(item, 18)
	v := new(struct { // one allocation for all
		id, command, kind, commandType, key, segment, code, byType types.AttributeValueMemberS
		n, time, basis, shard, t, index                            types.AttributeValueMemberN
		data, byTime, digest                                       types.AttributeValueMemberB
	})
	setText(it, "id", ids.Event(r.Command, i, e.Segment).String(), &v.id)
	setText(it, "command", r.Command.String(), &v.command)
	setText(it, "type", e.Type, &v.kind)
	setText(it, "commandType", r.CommandType, &v.commandType)
	setText(it, "key", r.Key, &v.key)
	setText(it, "segment", e.Segment, &v.segment)
	setText(it, "code", r.Code, &v.code)
	setText(it, "byType", partition(typeKey(e.Type), r.T%spread), &v.byType)
	setUnsigned(it, "n", 0, &v.n)
	setSigned(it, "time", r.Time, &v.time)
	setUnsigned(it, "basis", r.Basis, &v.basis)
	setUnsigned(it, "shard", uint64(r.Shard), &v.shard)
	setUnsigned(it, "t", r.T, &v.t)
	setUnsigned(it, "index", uint64(i), &v.index)
	setBytes(it, "byTime", timeKey(r.Time, r.Shard, r.T, i), &v.byTime)
	if len(e.Data) > 0 {
		setBytes(it, "data", e.Data, &v.data)
	}
	if i == 0 {
		setBytes(it, "digest", d[:], &v.digest)
	}
	return it, checkEvent(r, i, it)
}

func checkEvent(r *store.Record, i int, it item) error {
	e := &r.Events[i]
	if k := typeKey(e.Type); len(k) > maxTypeKey {
		return fmt.Errorf("store: event %d of command %s: its type takes %d bytes in the index, and %d are possible: use a shorter name",
			i, r.Command, len(k), maxTypeKey)
	}
	if len(e.Data)+len(r.Key)+len(r.CommandType)+len(r.Code)+len(e.Segment) < maxItem/2 { // it need not be counted
		return nil
	}
	if size := sizeOf(it); size > maxItem {
		return fmt.Errorf("store: event %d of command %s makes an item of %d bytes (%d of payload), and DynamoDB takes %d: "+
			"make the event smaller, and keep what is large elsewhere", i, r.Command, size, len(e.Data), maxItem)
	}
	return nil
}

// eventItems are the items of all events of a record.
func eventItems(r *store.Record, d digest) ([]item, error) {
	items := make([]item, len(r.Events))
	for i := range r.Events {
		var err error
		if items[i], err = eventItem(r, i, d); err != nil {
			return nil, err
		}
	}
	return items, nil
}

func entryOf(it item) (e store.Entry, err error) {
	f := fields{item: it}
	e.Shard, e.T = int(f.unsigned("shard")), f.unsigned("t")
	e.Command, e.CommandType, e.Key = f.uuid("command"), f.text("commandType"), f.text("key")
	e.Time, e.Basis, e.Code = f.signed("time"), f.unsigned("basis"), f.text("code")
	e.ID, e.Index, e.Segment = f.uuid("id"), int(f.unsigned("index")), f.text("segment")
	e.Type, e.Data = f.text("type"), f.bytes("data")
	return e, f.err
}

// partition is one of the keys under which the index has a type.
func partition(typeKey string, n uint64) string {
	return typeKey + "#" + strconv.FormatUint(n, 10)
}

// typeKey is a type as a string that DynamoDB takes: it is UTF-8, and no two types have the same.
func typeKey(kind string) string {
	if utf8.ValidString(kind) && !strings.Contains(kind, "%") {
		return kind
	}
	var b strings.Builder
	for i, r := range kind {
		_, size := utf8.DecodeRuneInString(kind[i:])
		if r == '%' || r == utf8.RuneError && size == 1 {
			fmt.Fprintf(&b, "%%%02X", kind[i])
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// timeKey orders events by time, shard, t and index.
func timeKey(time int64, shard int, t uint64, index int) []byte {
	k := make([]byte, 0, 24)
	k = enc.BigEndian.AppendUint64(k, uint64(time)^1<<63)
	k = enc.BigEndian.AppendUint32(k, uint32(shard))
	k = enc.BigEndian.AppendUint64(k, t)
	return enc.BigEndian.AppendUint32(k, uint32(index))
}

// timeBounds are the keys around the events from one time until before another.
func timeBounds(from, to int64, endless bool) (lo, hi []byte) {
	lo = timeKey(from, 0, 0, 0)[:8]
	if endless {
		return lo, bytes.Repeat([]byte{math.MaxUint8}, 25)
	}
	return lo, timeKey(to, 0, 0, 0)[:8] // shorter than the keys at that time, hence before them
}

func compareEntries(a, b *store.Entry) int {
	return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Shard, b.Shard), cmp.Compare(a.T, b.T), cmp.Compare(a.Index, b.Index))
}
