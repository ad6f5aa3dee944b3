package dynamo

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/cqrs-server/cqrs/internal/ids"
	"github.com/cqrs-server/cqrs/store"
	"github.com/google/uuid"
)

// A record's anchor is the item by which its command is found, and which only one writer can put. It is the item of the first
// event when that is in the usual segment, because its id follows from the command then, and an item of its own otherwise.
// So most commits cost no item beside their events.
const usualSegment = "0"

// claim is what an anchor says: where the command's commit stands, or will stand.
type claim struct {
	shard  int
	t      uint64
	digest digest
}

func (s *Store) anchoredInEvent(r *store.Record) bool {
	return len(r.Events) > 0 && r.Events[0].Segment == s.segment
}

// anchorIDs are the places where a command's anchor can be: its first event, and an item of its own.
func (s *Store) anchorIDs(command uuid.UUID) (event, own string) {
	return ids.Event(command, 0, s.segment).String(), "command:" + command.String()
}

// ownAnchor is the anchor of a record whose first event can't be it.
func (s *Store) ownAnchor(r *store.Record, d digest) item {
	_, id := s.anchorIDs(r.Command)
	it := key(id, 0)
	it["shard"], it["t"], it["digest"] = unsigned(uint64(r.Shard)), unsigned(r.T), binary(d[:])
	it["command"] = &types.AttributeValueMemberS{Value: r.Command.String()}
	setText(it, "commandType", r.CommandType, new(types.AttributeValueMemberS))
	return it
}

func claimOf(it item) (claim, error) {
	f := fields{item: it}
	c := claim{shard: int(f.unsigned("shard")), t: f.unsigned("t")}
	if copy(c.digest[:], f.bytes("digest")) != len(c.digest) {
		f.fail("digest", "is too short")
	}
	return c, f.err
}

// claim makes sure that no other record has the commands. Whoever has a claim writes the events, and nobody else does.
func (s *Store) claim(ctx context.Context, b *batch) error {
	if err := s.claimedElsewhere(ctx, b); err != nil {
		return err
	}
	open := b.open()
	return s.each(ctx, len(open), func(ctx context.Context, i int) error {
		e := open[i]
		old, err := s.putIfAbsent(ctx, e.anchor())
		if err != nil || old == nil {
			return err
		}
		c, err := claimOf(old)
		if err != nil {
			return err
		}
		if c != (claim{e.record.Shard, e.record.T, e.digest}) {
			return s.conflict(ctx, b, e)
		}
		return nil
	})
}

// claimedElsewhere refuses records whose command has an anchor where these records do not have theirs.
func (s *Store) claimedElsewhere(ctx context.Context, b *batch) error {
	var keys []item
	at := map[string]*entry{}
	for _, e := range b.open() {
		event, own := s.anchorIDs(e.record.Command)
		if e.ownAnchor != nil {
			own = event
		}
		keys = append(keys, key(own, 0))
		at[own] = e
	}
	return s.read(ctx, keys, true, func(it item) error {
		f := fields{item: it}
		e := at[f.text("id")]
		if e == nil || f.err != nil {
			return f.err
		}
		return s.conflict(ctx, b, e)
	})
}

// putIfAbsent puts an item under a key that is not there, or gives the item that is. The latter may be its own one, put by an
// attempt that got no answer.
func (s *Store) putIfAbsent(ctx context.Context, it item) (old item, err error) {
	_, err = call(ctx, s, s.client.PutItem, &dynamodb.PutItemInput{
		TableName: &s.table, Item: it, ConditionExpression: aws.String("attribute_not_exists(id)"),
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	if failed, ok := errors.AsType[*types.ConditionalCheckFailedException](err); ok {
		if len(failed.Item) == 0 {
			return nil, fmt.Errorf("%w: the answer holds no item, which DynamoDB gives since 2023: use a newer endpoint", err)
		}
		return failed.Item, nil
	}
	return nil, err
}

// conflict refuses a record whose command has other bytes in the table.
func (s *Store) conflict(ctx context.Context, b *batch, e *entry) error {
	stored, err := s.commit(ctx, e.record.Command)
	switch {
	case errors.Is(err, store.ErrNotFound): // claimed, and not complete yet
		b.refuse(e, &store.ConflictError{Command: e.record.Command})
	case err != nil:
		return err
	default:
		b.refuse(e, store.Conflict(&stored, e.record))
	}
	return nil
}

// commit finds the record of a command.
func (s *Store) commit(ctx context.Context, command uuid.UUID) (store.Record, error) {
	claims, err := s.claims(ctx, command)
	if err != nil {
		return store.Record{}, err
	}
	for _, c := range claims {
		l, err := s.line(ctx, c.shard, c.t)
		if errors.Is(err, store.ErrNotFound) || err == nil && l.record.Command != command {
			continue // claimed, and not in the log
		}
		lines := []line{l}
		if err == nil {
			err = s.fill(ctx, lines)
		}
		return lines[0].record, err
	}
	return store.Record{}, store.ErrNotFound
}

// claims are what the anchors of a command say. There is more than one only after a conflict that its writers did not see.
func (s *Store) claims(ctx context.Context, command uuid.UUID) (claims []claim, err error) {
	event, own := s.anchorIDs(command)
	err = s.read(ctx, []item{key(event, 0), key(own, 0)}, true, func(it item) error {
		c, err := claimOf(it)
		claims = append(claims, c)
		return err
	})
	return claims, err
}
