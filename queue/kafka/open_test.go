package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cqrs-server/cqrs/internal/servers/kafkaserver"
	"github.com/cqrs-server/cqrs/queue"
)

// fails checks that Open fails in time, and says why.
func fails(t *testing.T, ctx context.Context, within time.Duration, says string, brokers []string, options ...Option) {
	t.Helper()
	began := time.Now()
	q, err := Open(ctx, brokers, options...)
	if q != nil || err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("want an error that says %q: %v", says, err)
	}
	if took := time.Since(began); took > within {
		t.Errorf("it took %v: %v", took, err)
	}
}

func TestOpenWrongAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent := l.Addr().String() // it takes connections, and never answers
	defer l.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := gone.Addr().String()
	gone.Close()
	web := httptest.NewServer(nil)
	defer web.Close()

	fails(t, t.Context(), 5*time.Second, refused, []string{refused})
	fails(t, t.Context(), 5*time.Second, "no address", nil)
	fails(t, t.Context(), 5*time.Second, "port", []string{"localhost"})
	fails(t, t.Context(), 5*time.Second, "none of the brokers", []string{web.Listener.Addr().String()}, Timeout(3*time.Second))
	fails(t, t.Context(), 4*time.Second, "none of the brokers", []string{silent}, Timeout(2*time.Second))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	fails(t, ctx, 3*time.Second, "deadline", []string{silent})
}

func TestOpenCredentials(t *testing.T) {
	cluster := fakeCluster(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "me", "secret"))
	as := func(user, password string) Option {
		c := NewConfig()
		c.Net.SASL.Enable, c.Net.SASL.User, c.Net.SASL.Password = true, user, password
		return Config(c)
	}
	q := openQueue(t, cluster.ListenAddrs(), as("me", "secret"))
	topic := makeTopic(t, q)
	mustAppend(t, q, topic, text("a"))
	wantValues(t, q, topic, "a")
	fails(t, t.Context(), 10*time.Second, "TLS and SASL", cluster.ListenAddrs(), as("me", "wrong")) // kfake hangs up without a word
	fails(t, t.Context(), 10*time.Second, "TLS and SASL", cluster.ListenAddrs())
}

func TestOpenCredentialsReal(t *testing.T) {
	const jaas = `org.apache.kafka.common.security.plain.PlainLoginModule required username="me" password="secret" user_me="secret";`
	server := kafkaserver.StartWith(t, map[string]string{
		"listener.security.protocol.map":                 "PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
		"sasl.enabled.mechanisms":                        "PLAIN",
		"sasl.mechanism.inter.broker.protocol":           "PLAIN",
		"listener.name.plaintext.plain.sasl.jaas.config": jaas,
	})
	c := NewConfig()
	c.Net.SASL.Enable, c.Net.SASL.User, c.Net.SASL.Password = true, "me", "secret"
	q := openQueue(t, []string{server.Addr}, Config(c))
	topic := makeTopic(t, q)
	mustAppend(t, q, topic, text("a"))
	wantValues(t, q, topic, "a")
	wrong := NewConfig()
	wrong.Net.SASL.Enable, wrong.Net.SASL.User, wrong.Net.SASL.Password = true, "me", "wrong"
	fails(t, t.Context(), 10*time.Second, "credentials", []string{server.Addr}, Config(wrong))
	fails(t, t.Context(), 15*time.Second, "TLS and SASL", []string{server.Addr})
}

func TestOpenTLS(t *testing.T) {
	certs := httptest.NewTLSServer(nil) // for its certificate
	defer certs.Close()
	cluster := fakeCluster(t, kfake.TLS(certs.TLS.Clone()))
	trusting := func(pool *x509.CertPool) Option {
		c := NewConfig()
		c.Net.TLS.Enable, c.Net.TLS.Config = true, &tls.Config{RootCAs: pool}
		return Config(c)
	}
	pool := x509.NewCertPool()
	pool.AddCert(certs.Certificate())
	q := openQueue(t, cluster.ListenAddrs(), trusting(pool))
	topic := makeTopic(t, q)
	mustAppend(t, q, topic, text("a"))
	wantValues(t, q, topic, "a")
	fails(t, t.Context(), 15*time.Second, "certificate", cluster.ListenAddrs(), trusting(x509.NewCertPool()))
	fails(t, t.Context(), 15*time.Second, "TLS and SASL", cluster.ListenAddrs())
}

// A user who may read and write its topics, and nothing else.
func TestOpenWithFewRights(t *testing.T) {
	allow := func(kind kmsg.ACLResourceType, name string, ops ...kmsg.ACLOperation) (acls []kfake.ACL) {
		for _, op := range ops {
			acls = append(acls, kfake.ACL{Resource: kind, Name: name, Pattern: kmsg.ACLResourcePatternTypePrefixed, Operation: op, Allow: true})
		}
		return acls
	}
	acls := allow(kmsg.ACLResourceTypeTopic, "mine", kmsg.ACLOperationRead, kmsg.ACLOperationWrite, kmsg.ACLOperationDescribe, kmsg.ACLOperationDescribeConfigs)
	acls = append(acls, allow(kmsg.ACLResourceTypeGroup, "mine", kmsg.ACLOperationRead, kmsg.ACLOperationDescribe)...)
	cluster := fakeCluster(t, kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "admin", "admin"), kfake.User("PLAIN", "me", "secret", acls...),
		kfake.SeedTopics(shards, "mine-a", "other"))
	c := NewConfig()
	c.Net.SASL.Enable, c.Net.SASL.User, c.Net.SASL.Password = true, "me", "secret"
	q := openQueue(t, cluster.ListenAddrs(), Config(c), Group("mine"), Prefix("mine-"))
	mustAppend(t, q, "a", text("1"))
	wantValues(t, q, "a", "1")
	if err := q.Commit(t.Context(), "a", 0, 1); err != nil {
		t.Error(err)
	}
	if err := q.CreateTopics(t.Context(), "b"); err == nil {
		t.Error("it made a topic")
	}
	stranger := openQueue(t, cluster.ListenAddrs(), Config(c), Group("mine"))
	err := stranger.Append(t.Context(), "other", 0, []queue.Message{text("a")})
	if err == nil || isUnknown(err) || !strings.Contains(err.Error(), "ACL") {
		t.Errorf("want an error that says what to do: %v", err)
	}
}

func TestMissingTopic(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		q := openQueue(t, brokers)
		calls := map[string]func() error{
			"Append":    func() error { return q.Append(t.Context(), "missing", 0, []queue.Message{text("a")}) },
			"Read":      func() error { _, err := q.Read(t.Context(), "missing", 0, 0, 1); return err },
			"Bounds":    func() error { _, _, err := q.Bounds(t.Context(), "missing", 0); return err },
			"Commit":    func() error { return q.Commit(t.Context(), "missing", 0, 0) },
			"Committed": func() error { _, err := q.Committed(t.Context(), "missing", 0); return err },
			"Shards":    func() error { _, err := q.Shards(t.Context(), "missing"); return err },
			"Identity":  func() error { _, err := q.Identity(t.Context(), "missing"); return err },
			"Check":     func() error { return q.Check(t.Context(), "missing") },
			"Own": func() error {
				return q.Own(t.Context(), "missing", func(context.Context, int) error { return nil })
			},
		}
		for name, call := range calls {
			began := time.Now()
			err := call()
			if !errors.Is(err, queue.ErrNoTopic) || isUnknown(err) {
				t.Errorf("%s: want ErrNoTopic: %v", name, err)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%s took %v", name, took)
			}
		}
		for _, name := range []string{"", ".", "..", "a/b", "a b", strings.Repeat("x", 250)} {
			if err := q.CreateTopics(t.Context(), name); !errors.Is(err, queue.ErrNoTopic) {
				t.Errorf("%q: want ErrNoTopic: %v", name, err)
			}
		}
	})
}

func TestShardsMismatch(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		q := openQueue(t, brokers)
		topic := makeTopic(t, q)
		other := openQueue(t, brokers, Shards(shards+1))
		_, err := other.Shards(t.Context(), topic)
		for _, err := range []error{err, other.Check(t.Context(), topic), other.CreateTopics(t.Context(), topic)} {
			if err == nil || !strings.Contains(err.Error(), "Shards(3)") {
				t.Errorf("want an error that says what to do: %v", err)
			}
		}
		any := openQueue(t, brokers, Shards(0))
		if n, err := any.Shards(t.Context(), topic); n != shards || err != nil {
			t.Error(n, err)
		}
	})
}

func TestUnfitTopics(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		for key, value := range map[string]string{"cleanup.policy": "compact", "message.timestamp.type": "LogAppendTime", "max.message.bytes": "10"} {
			q := openQueue(t, brokers, TopicConfig(map[string]string{key: value}))
			topic := unique("unfit")
			err := q.CreateTopics(t.Context(), topic)
			if err == nil || !strings.Contains(err.Error(), key) {
				t.Errorf("%s: %v", key, err)
			}
			if err := q.Append(t.Context(), topic, 0, []queue.Message{text("a")}); err == nil {
				t.Errorf("%s: Append took a message", key)
			}
		}
	})
}

// The broker stops answering after Open: every call fails in time.
func TestCallsFailInTime(t *testing.T) {
	cluster := fakeCluster(t)
	d := &switched{}
	c := NewConfig()
	c.Net.Proxy.Enable, c.Net.Proxy.Dialer = true, d
	q := openQueue(t, cluster.ListenAddrs(), Config(c), Timeout(time.Second))
	topic := makeTopic(t, q)
	mustAppend(t, q, topic, text("a"))
	d.set(true)
	calls := map[string]func() error{
		"Append":       func() error { return q.Append(t.Context(), topic, 0, []queue.Message{text("b")}) },
		"Read":         func() error { _, err := q.Read(t.Context(), topic, 0, 1, 1); return err },
		"Bounds":       func() error { _, _, err := q.Bounds(t.Context(), topic, 0); return err },
		"Commit":       func() error { return q.Commit(t.Context(), topic, 0, 0) },
		"Committed":    func() error { _, err := q.Committed(t.Context(), topic, 0); return err },
		"Shards":       func() error { _, err := q.Shards(t.Context(), topic); return err },
		"CreateTopics": func() error { return q.CreateTopics(t.Context(), "another") },
	}
	for name, call := range calls {
		began := time.Now()
		err := call()
		if took := time.Since(began); err == nil || took > 5*time.Second {
			t.Errorf("%s after %v: %v", name, took, err)
		}
	}
	d.set(false)
	eventually(t, "the queue to work again", func() bool {
		return q.Append(t.Context(), topic, 0, []queue.Message{text("c")}) == nil
	})
	if got := values(t, q, topic); got[len(got)-1] != "c" {
		t.Errorf("%q", got)
	}
}

func TestOpenOptions(t *testing.T) {
	s, err := settingsOf([]Option{Prefix("shop.")})
	if err != nil || s.group != "shop.cqrs" {
		t.Error(s.group, err)
	}
	var _ *sarama.Config = s.config
}
