package sqlview

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/cqrs-server/cqrs"
)

// Open makes a database of a view: for all its statements the tables are as of the view's t, whatever happens meanwhile. It reads a
// row of each table, and no more, so that another t is another Open. Close the database after use; nothing of the view is held between
// statements.
//
// An error of reading the tables, such as cqrs.ErrPruned, can be found with errors.Is in the statement's.
func Open(view cqrs.View, tables ...*Source) (*sql.DB, error) {
	db, _, err := open(view, tables)
	return db, err
}

func open(view cqrs.View, tables []*Source) (*sql.DB, *database, error) {
	d := &database{view: view, sources: tables, mine: map[string]bool{}}
	for _, s := range tables {
		if err := d.add(s); err != nil {
			return nil, nil, fmt.Errorf("sqlview: %w", err)
		}
	}
	e, err := theEngine()
	if err != nil {
		return nil, nil, err
	}
	db := sql.OpenDB(connector{e, d})
	if err := db.PingContext(context.Background()); err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return db, d, nil
}

func (d *database) add(s *Source) error {
	if s.err != nil {
		return s.err
	}
	name := strings.ToLower(s.name)
	if d.mine[name] {
		return fmt.Errorf("two tables are called %s", s.name)
	}
	d.mine[name] = true
	paths, err := s.pathsAt(d.view)
	d.paths = append(d.paths, paths)
	return err
}

// pathsAt gives the ways that exist at the view's t: an index may have been made later.
func (s *Source) pathsAt(v cqrs.View) (paths []*path, err error) {
	if err := s.key.readable(v); err != nil {
		return nil, fmt.Errorf("table %s: %w", s.name, err)
	}
	for _, p := range s.paths() {
		if len(p.columns) > 0 && p.readable(v) == nil {
			paths = append(paths, p)
		}
	}
	return paths, nil
}
