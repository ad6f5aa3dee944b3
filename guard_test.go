package cqrs_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"strings"
	"testing"
)

// What an embedded program does not use it does not carry.
func TestRootNeedsNoServers(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "go.etcd.io/bbolt") {
		t.Fatalf("the list is not one:\n%s", out)
	}
	for _, dep := range strings.Fields(string(out)) {
		for _, unwanted := range []string{"IBM/sarama", "aws-sdk-go", "modernc.org", "franz-go", "/queue/kafka", "/store/dynamo", "/query/", "testify"} {
			if strings.Contains(dep, unwanted) {
				t.Errorf("the root depends on %s", dep)
			}
		}
	}
}

// Every exported name that a program can import says what it is.
func TestExportedNamesAreDocumented(t *testing.T) {
	for _, dir := range []string{".", "queue", "queue/bolt", "queue/kafka", "queue/queuetest", "store", "store/bolt", "store/dynamo", "store/storetest",
		"workflow", "cqrstest", "query/sql"} {
		t.Run(dir, func(t *testing.T) { checkDocs(t, dir) })
	}
}

func checkDocs(t *testing.T, dir string) {
	files := token.NewFileSet()
	//lint:ignore SA1019 the documentation of all systems' files is wanted, whatever the build tags
	packages, err := parser.ParseDir(files, dir, func(f fs.FileInfo) bool { return !strings.HasSuffix(f.Name(), "_test.go") }, parser.ParseComments)
	if err != nil {
		t.Logf("not there: %v", err)
		return
	}
	for _, p := range packages {
		d := doc.New(p, dir, 0)
		if d.Doc == "" {
			t.Errorf("package %s has no comment", p.Name)
		}
		n := &docNames{t: t, files: files}
		n.values(d.Consts)
		n.values(d.Vars)
		n.funcs("", d.Funcs)
		for _, typ := range d.Types {
			n.typ(typ)
		}
		t.Logf("package %s exports %d names, and %d with methods", p.Name, n.top, n.top+n.methods)
	}
}

// docNames counts exported names, and reports those without a comment.
type docNames struct {
	t            *testing.T
	files        *token.FileSet
	top, methods int
}

func (n *docNames) check(at token.Pos, name, comment string) {
	if strings.TrimSpace(comment) == "" {
		n.t.Errorf("%s: %s has no comment", n.files.Position(at), name)
	}
}

func (n *docNames) typ(typ *doc.Type) {
	n.top++
	n.check(typ.Decl.Pos(), typ.Name, typ.Doc)
	n.values(typ.Consts)
	n.values(typ.Vars)
	n.funcs("", typ.Funcs)
	n.funcs(typ.Name+".", typ.Methods)
}

// wellKnown are methods whose meaning Go defines.
var wellKnown = map[string]bool{"Error": true, "Unwrap": true, "String": true, "Is": true, "MarshalJSON": true, "UnmarshalJSON": true}

func (n *docNames) funcs(of string, list []*doc.Func) {
	for _, f := range list {
		if of == "" {
			n.top++
		} else {
			n.methods++
		}
		if !wellKnown[f.Name] {
			n.check(f.Decl.Pos(), of+f.Name, f.Doc)
		}
	}
}

// values checks constants and variables: each has a comment of its own, or its group has.
func (n *docNames) values(list []*doc.Value) {
	for _, group := range list {
		for _, s := range group.Decl.Specs {
			spec := s.(*ast.ValueSpec)
			for _, name := range spec.Names {
				if name.IsExported() {
					n.top++
					n.check(name.Pos(), name.Name, group.Doc+spec.Doc.Text()+spec.Comment.Text())
				}
			}
		}
	}
}
