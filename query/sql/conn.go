package sqlview

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"reflect"
	"time"
)

// connector makes the connections of one sql.DB.
type connector struct {
	engine *engine
	db     *database
}

// Connect makes a connection.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	return c.engine.connect(ctx, c.db)
}

// Driver is there because database/sql asks for one.
func (c connector) Driver() driver.Driver { return noDriver{} }

type noDriver struct{}

// Open refuses: a view has no name.
func (noDriver) Open(string) (driver.Conn, error) {
	return nil, errors.New("sqlview: a view has no name: use sqlview.Open")
}

// conn is a connection of SQLite's driver that knows what its tables read.
type conn struct {
	sqliteConn
	session *session
	engine  *engine
}

// Close ends the session.
func (c *conn) Close() error {
	c.engine.sessions.Delete(c.session.token)
	return c.sqliteConn.Close()
}

// QueryContext runs a statement.
func (c *conn) QueryContext(ctx context.Context, statement string, args []driver.NamedValue) (driver.Rows, error) {
	c.session.begin(ctx, statement)
	r, err := c.sqliteConn.QueryContext(ctx, statement, args)
	return c.rows(ctx, r, err)
}

func (c *conn) rows(ctx context.Context, r driver.Rows, err error) (driver.Rows, error) {
	if err != nil {
		return nil, c.session.explain(err)
	}
	inner := r.(sqliteRows)
	out := &rows{sqliteRows: inner, session: c.session, ctx: ctx}
	for i := range inner.Columns() {
		if inner.ColumnTypeDatabaseTypeName(i) == timeType {
			out.times = append(out.times, i)
		}
	}
	return out, nil
}

// ExecContext runs a statement, and gives nothing of what it reads.
func (c *conn) ExecContext(ctx context.Context, statement string, args []driver.NamedValue) (driver.Result, error) {
	c.session.begin(ctx, statement)
	r, err := c.sqliteConn.ExecContext(ctx, statement, args)
	return r, c.session.explain(err)
}

// PrepareContext prepares a statement.
func (c *conn) PrepareContext(ctx context.Context, statement string) (driver.Stmt, error) {
	c.session.begin(ctx, statement)
	s, err := c.sqliteConn.PrepareContext(ctx, statement)
	if err != nil {
		return nil, c.session.explain(err)
	}
	return &stmt{sqliteStmt: s.(sqliteStmt), conn: c, text: statement}, nil
}

// BeginTx has nothing to do: all statements see the same t anyway.
func (c *conn) BeginTx(context.Context, driver.TxOptions) (driver.Tx, error) { return noTx{}, nil }

type noTx struct{}

// Commit has nothing to do.
func (noTx) Commit() error { return nil }

// Rollback has nothing to do.
func (noTx) Rollback() error { return nil }

// CheckNamedValue gives times the form that they have in columns.
func (c *conn) CheckNamedValue(v *driver.NamedValue) (err error) {
	if v.Value, err = driver.DefaultParameterConverter.ConvertValue(v.Value); err != nil {
		return err
	}
	switch x := v.Value.(type) {
	case time.Time:
		v.Value, err = momentSQL(x)
	case bool:
		v.Value = boolSQL(x)
	}
	return err
}

type sqliteStmt interface {
	driver.Stmt
	driver.StmtQueryContext
	driver.StmtExecContext
}

// stmt is a prepared statement.
type stmt struct {
	sqliteStmt
	conn *conn
	text string
}

// QueryContext runs it.
func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	s.conn.session.begin(ctx, s.text)
	r, err := s.sqliteStmt.QueryContext(ctx, args)
	return s.conn.rows(ctx, r, err)
}

// ExecContext runs it, and gives nothing of what it reads.
func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	s.conn.session.begin(ctx, s.text)
	r, err := s.sqliteStmt.ExecContext(ctx, args)
	return r, s.conn.session.explain(err)
}

type sqliteRows interface {
	driver.Rows
	driver.RowsColumnTypeDatabaseTypeName
	driver.RowsColumnTypeScanType
}

// rows is a result.
type rows struct {
	sqliteRows
	session *session
	ctx     context.Context
	times   []int // the columns that are times
}

// Next gives the next row.
func (r *rows) Next(dest []driver.Value) error {
	r.session.ctx, r.session.err = r.ctx, nil
	if err := r.sqliteRows.Next(dest); err != nil {
		if errors.Is(err, io.EOF) {
			return err
		}
		return r.session.explain(err)
	}
	for _, i := range r.times {
		if s, ok := dest[i].(string); ok {
			if t, err := time.Parse(timeLayout, s); err == nil {
				dest[i] = t
			}
		}
	}
	return nil
}

// ColumnTypeScanType is the type of a column's values.
func (r *rows) ColumnTypeScanType(i int) reflect.Type {
	if r.ColumnTypeDatabaseTypeName(i) == timeType {
		return goTime
	}
	return r.sqliteRows.ColumnTypeScanType(i)
}
