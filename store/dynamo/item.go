package dynamo

import (
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/uuid"
)

type item = map[string]types.AttributeValue

// maxItem is DynamoDB's limit.
const maxItem = 400 << 10

func key(id string, n uint64) item {
	return item{"id": &types.AttributeValueMemberS{Value: id}, "n": unsigned(n)}
}

func unsigned(n uint64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatUint(n, 10)}
}

func binary(b []byte) types.AttributeValue { return &types.AttributeValueMemberB{Value: b} }

// setText leaves out empty strings. What is no UTF-8 becomes binary, because a string attribute would change it.
func setText(it item, name, text string, room *types.AttributeValueMemberS) {
	switch {
	case text == "":
	case utf8.ValidString(text):
		room.Value = text
		it[name] = room
	default:
		it[name] = binary([]byte(text))
	}
}

func setSigned(it item, name string, n int64, room *types.AttributeValueMemberN) {
	room.Value = strconv.FormatInt(n, 10)
	it[name] = room
}

func setUnsigned(it item, name string, n uint64, room *types.AttributeValueMemberN) {
	room.Value = strconv.FormatUint(n, 10)
	it[name] = room
}

func setBytes(it item, name string, b []byte, room *types.AttributeValueMemberB) {
	room.Value = b
	it[name] = room
}

// sizeOf is at least what DynamoDB counts.
func sizeOf(it item) (n int) {
	for name, v := range it {
		n += len(name)
		switch v := v.(type) {
		case *types.AttributeValueMemberS:
			n += len(v.Value)
		case *types.AttributeValueMemberN:
			n += len(v.Value)/2 + 3
		case *types.AttributeValueMemberB:
			n += len(v.Value)
		}
	}
	return n
}

// fields reads an item's attributes, and keeps the first error.
type fields struct {
	item item
	err  error
}

func (f *fields) fail(name, problem string) {
	if f.err == nil {
		id := &fields{item: f.item, err: errDamaged}
		f.err = fmt.Errorf("store: item %q: attribute %s %s: %w", id.text("id"), name, problem, errDamaged)
	}
}

// text of an attribute that is not there is empty.
func (f *fields) text(name string) string {
	switch v := f.item[name].(type) {
	case nil:
	case *types.AttributeValueMemberS:
		return v.Value
	case *types.AttributeValueMemberB:
		return string(v.Value)
	default:
		f.fail(name, "is no string")
	}
	return ""
}

// bytes of an attribute that is not there are nil.
func (f *fields) bytes(name string) []byte {
	switch v := f.item[name].(type) {
	case nil:
	case *types.AttributeValueMemberB:
		return v.Value
	default:
		f.fail(name, "is not binary")
	}
	return nil
}

func (f *fields) digits(name string) string {
	v, ok := f.item[name].(*types.AttributeValueMemberN)
	if !ok {
		f.fail(name, "is no number")
		return ""
	}
	return v.Value
}

func (f *fields) unsigned(name string) uint64 {
	n, err := strconv.ParseUint(f.digits(name), 10, 64)
	if err != nil {
		f.fail(name, "is out of range")
	}
	return n
}

func (f *fields) signed(name string) int64 {
	n, err := strconv.ParseInt(f.digits(name), 10, 64)
	if err != nil {
		f.fail(name, "is out of range")
	}
	return n
}

func (f *fields) uuid(name string) uuid.UUID {
	id, err := uuid.Parse(f.text(name))
	if err != nil {
		f.fail(name, "is no uuid")
	}
	return id
}
