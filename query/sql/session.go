package sqlview

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cqrs-server/cqrs"
	"modernc.org/sqlite"
	"modernc.org/sqlite/vtab"
)

// ErrRefused is the error of a statement that does something other than reading.
var ErrRefused = errors.New("a view can only be read")

// database is what Open opened: tables at one t.
type database struct {
	view    cqrs.View
	sources []*Source
	paths   [][]*path       // of each source, those that can be read at the view's t
	mine    map[string]bool // tables that may be read, in lower-case letters
	read    atomic.Int64    // rows
}

// session is one connection to SQLite: a database in memory that holds the virtual tables, and nothing else.
type session struct {
	db    *database
	token string

	// Of the statement that runs: database/sql lets one run at a time.
	ctx      context.Context
	collates bool
	err      error  // of reading rows
	refused  string // what was not allowed
}

// begin is called before SQLite works on a statement.
func (s *session) begin(ctx context.Context, statement string) {
	s.ctx, s.err, s.refused = ctx, nil, ""
	s.collates = strings.Contains(strings.ToLower(statement), "collate")
}

// explain makes the error of a statement one that says what happened.
func (s *session) explain(err error) error {
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return err
	case s.ctx.Err() != nil:
		return s.ctx.Err()
	case s.err != nil:
		return fmt.Errorf("sqlview: %w", s.err)
	case s.refused != "":
		return fmt.Errorf("sqlview: %w: %s", ErrRefused, s.refused)
	}
	return fmt.Errorf("sqlview: %w", err)
}

// engine is the driver with our module. There is one: SQLite keeps what is registered for as long as the process runs. A statement that
// makes a virtual table can hand on texts only, so the sessions are found by their tokens.
type engine struct {
	driver   sqlite.Driver
	sessions sync.Map // by token
	last     atomic.Int64
}

const moduleName = "cqrs_view"

var theEngine = sync.OnceValues(func() (*engine, error) {
	e := &engine{}
	return e, e.driver.RegisterModule(moduleName, module{e})
})

// No files: also what SQLite sorts stays in memory. A name in double quotes that is no column is an error, not a text.
const dsn = ":memory:?_defensive=1&_dqs=0&_pragma=temp_store(2)"

// sqliteConn is what is used of a connection of the driver.
type sqliteConn interface {
	driver.Conn
	driver.QueryerContext
	driver.ExecerContext
	driver.ConnPrepareContext
	driver.SessionResetter
	driver.Validator
	sqlite.AuthorizerRegisterer
}

// connect makes a session: its tables, and then the rule that only they are read.
func (e *engine) connect(ctx context.Context, db *database) (c *conn, err error) {
	raw, err := e.driver.Open(dsn)
	if err != nil {
		return nil, err
	}
	inner, ok := raw.(sqliteConn)
	if !ok {
		return nil, errors.Join(errors.New("sqlview: the driver is of an unknown version"), raw.Close())
	}
	s := &session{db: db, token: strconv.FormatInt(e.last.Add(1), 10)}
	e.sessions.Store(s.token, s)
	c = &conn{sqliteConn: inner, session: s, engine: e}
	if err := c.makeTables(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *conn) makeTables(ctx context.Context) error {
	for i, source := range c.session.db.sources {
		text := fmt.Sprintf("CREATE VIRTUAL TABLE %s USING %s(%s, %d)", quote(source.name), moduleName, c.session.token, i)
		if _, err := c.sqliteConn.ExecContext(ctx, text, nil); err != nil {
			return fmt.Errorf("sqlview: table %s: %w", source.name, err)
		}
	}
	return c.RegisterAuthorizer(c.session.authorize)
}

// module makes the virtual tables.
type module struct{ engine *engine }

// VolatileArgs lets texts with a byte 0 come as they are. They are not kept.
func (module) VolatileArgs() bool { return true }

// Create makes a table for a session.
func (m module) Create(ctx vtab.Context, args []string) (vtab.Table, error) {
	const fixed = 3 // module, database, table
	if len(args) != fixed+2 {
		return nil, errStranger
	}
	found, ok := m.engine.sessions.Load(args[fixed])
	n, err := strconv.Atoi(args[fixed+1])
	if !ok || err != nil {
		return nil, errStranger
	}
	s := found.(*session)
	t := &table{session: s, source: s.db.sources[n], paths: s.db.paths[n], plans: map[string]*plan{}, numbers: map[string]int64{}}
	return t, ctx.Declare(t.source.schema())
}

// Connect is as Create.
func (m module) Connect(ctx vtab.Context, args []string) (vtab.Table, error) {
	return m.Create(ctx, args)
}

var errStranger = errors.New("sqlview: " + moduleName + " is not for use by others")
