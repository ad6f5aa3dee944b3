package sqlview

import (
	"fmt"
	"strings"

	"modernc.org/sqlite"
)

// readable are tables of SQLite's own that say something about the tables, or make rows of an argument.
var readable = map[string]bool{
	"sqlite_master": true, "sqlite_schema": true, "json_each": true, "json_tree": true,
	"pragma_table_info": true, "pragma_table_xinfo": true, "pragma_table_list": true,
}

// authorize lets a statement read, and nothing else.
func (s *session) authorize(action sqlite.AuthorizerActionCode, first, second, _, _ string) sqlite.AuthorizerReturnCode {
	allowed := false
	switch action {
	case sqlite.AuthSelect, sqlite.AuthRecursive:
		allowed = true
	case sqlite.AuthRead:
		allowed = s.mayRead(strings.ToLower(first), second)
	case sqlite.AuthPragma:
		allowed = readable["pragma_"+strings.ToLower(first)]
	case sqlite.AuthFunction:
		allowed = !strings.EqualFold(second, "load_extension")
	}
	if allowed {
		return sqlite.AuthorizerOK
	}
	s.refused = refusal(action, first, second)
	return sqlite.AuthorizerDeny
}

// mayRead allows our own tables, and names that a WITH in the statement gives: those are asked for without a column only.
func (s *session) mayRead(table, column string) bool {
	system := strings.HasPrefix(table, "sqlite_") || strings.HasPrefix(table, "pragma_") || table == "dbstat"
	return s.db.mine[table] || readable[table] || column == "" && !system
}

var actions = map[sqlite.AuthorizerActionCode]string{
	sqlite.AuthInsert: "INSERT", sqlite.AuthUpdate: "UPDATE", sqlite.AuthDelete: "DELETE", sqlite.AuthPragma: "PRAGMA",
	sqlite.AuthAttach: "ATTACH", sqlite.AuthDetach: "DETACH", sqlite.AuthTransaction: "", sqlite.AuthFunction: "the function",
	sqlite.AuthRead: "reading table", sqlite.AuthSavepoint: "SAVEPOINT",
}

func refusal(action sqlite.AuthorizerActionCode, first, second string) string {
	name, known := actions[action]
	if !known {
		name = "a change of the schema"
	}
	if action == sqlite.AuthFunction {
		first = second
	}
	return strings.TrimSpace(fmt.Sprintf("%s %.100s", name, first))
}
