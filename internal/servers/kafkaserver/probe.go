package kafkaserver

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

// Answers tells whether a broker answers at an address: whether it tells which requests it knows. It does so when it is
// ready for them, and not when it begins to listen.
func Answers(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	if _, err := conn.Write(apiVersionsRequest()); err != nil {
		return err
	}
	var reply [10]byte // length, correlation, error
	if _, err := io.ReadFull(conn, reply[:]); err != nil {
		return err
	}
	if code := binary.BigEndian.Uint16(reply[8:]); code != 0 {
		return fmt.Errorf("kafka at %s answers with error code %d", addr, code)
	}
	return nil
}

func apiVersionsRequest() []byte {
	const key, version, correlation, client = 18, 0, 1, "probe"
	var b []byte
	b = binary.BigEndian.AppendUint16(b, key)
	b = binary.BigEndian.AppendUint16(b, version)
	b = binary.BigEndian.AppendUint32(b, correlation)
	b = binary.BigEndian.AppendUint16(b, uint16(len(client)))
	b = append(b, client...)
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}
