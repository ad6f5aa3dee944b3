package dynamo

import (
	"bytes"
	enc "encoding/binary"
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
)

// FuzzLine reads what an item of the log may hold when somebody else has written to the table.
func FuzzLine(f *testing.F) {
	r := store.Record{Envelope: store.Envelope{Command: uuid.Max, CommandType: "a/b"}}
	record := r.Append(nil)
	line := enc.AppendUvarint(nil, 5)
	line = append(line, make([]byte, 16)...)
	line = append(enc.AppendUvarint(line, uint64(len(record))), record...)
	f.Add(line, "1", "1")
	f.Add(line[:len(line)-1], "2", "18446744073709551615")
	f.Add([]byte{0xff}, "-1", "x")
	f.Fuzz(func(t *testing.T, lines []byte, count, first string) {
		it := item{
			"id": &types.AttributeValueMemberS{Value: bucketAt(0, 1).id()}, "n": &types.AttributeValueMemberN{Value: first},
			"count": &types.AttributeValueMemberN{Value: count}, "lines": &types.AttributeValueMemberB{Value: lines},
		}
		run, err := runOf(bucketAt(0, 1), it)
		if err != nil {
			if !errors.Is(err, errDamaged) {
				t.Errorf("an error that does not say that the item is damaged: %v", err)
			}
			return
		}
		for i, l := range run.lines {
			if l.record.T != run.first+uint64(i) {
				t.Errorf("line %d has t %d, and the first %d", i, l.record.T, run.first)
			}
		}
	})
}

// FuzzFields reads attributes of any kind.
func FuzzFields(f *testing.F) {
	f.Add("S", "x", []byte("y"))
	f.Add("N", "-0", []byte{})
	f.Add("B", "", []byte{0xff})
	f.Add("", "", []byte(nil))
	f.Fuzz(func(t *testing.T, kind, text string, data []byte) {
		it := item{"id": &types.AttributeValueMemberS{Value: "some"}}
		switch kind {
		case "S":
			it["a"] = &types.AttributeValueMemberS{Value: text}
		case "N":
			it["a"] = &types.AttributeValueMemberN{Value: text}
		case "B":
			it["a"] = &types.AttributeValueMemberB{Value: data}
		case "L":
			it["a"] = &types.AttributeValueMemberL{}
		}
		for _, read := range []func(*fields){
			func(f *fields) { f.text("a") }, func(f *fields) { f.bytes("a") }, func(f *fields) { f.unsigned("a") },
			func(f *fields) { f.signed("a") }, func(f *fields) { f.uuid("a") },
		} {
			fs := fields{item: it}
			if read(&fs); fs.err != nil && !errors.Is(fs.err, errDamaged) {
				t.Errorf("an error that does not say that the item is damaged: %v", fs.err)
			}
		}
		fs := fields{item: it}
		if kind == "B" && !bytes.Equal(fs.bytes("a"), data) {
			t.Error("bytes changed")
		}
	})
}
