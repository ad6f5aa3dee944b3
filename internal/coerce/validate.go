package coerce

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/go-playground/validator/v10"
)

// rules applies the validate tags of a type.
type rules struct {
	validator *validator.Validate
	top       string // what the validator puts before every path
}

// newRules is nil for a type without validate tags. Tags that the validator does not know are problems.
func newRules(t reflect.Type, problems *[]string) *rules {
	tagged := taggedStructs(t, map[reflect.Type]bool{})
	if len(tagged) == 0 {
		return nil
	}
	v := validator.New(validator.WithRequiredStructEnabled(), validator.WithTagNameFuncBlankOmit())
	v.RegisterTagNameFunc(jsonName)
	for _, s := range tagged {
		if err := try(v, s); err != nil {
			*problems = append(*problems, fmt.Sprintf("struct %v has a validate tag that can't be used: %v", s, err))
		}
	}
	return &rules{v, t.Name() + "."}
}

// taggedStructs lists the structs within a type that have validate tags.
func taggedStructs(t reflect.Type, seen map[reflect.Type]bool) (found []reflect.Type) {
	if seen[t] {
		return nil
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return taggedStructs(t.Elem(), seen)
	case reflect.Map:
		return append(taggedStructs(t.Key(), seen), taggedStructs(t.Elem(), seen)...)
	case reflect.Struct:
		if hasTags(t) {
			found = append(found, t)
		}
		for i := range t.NumField() {
			found = append(found, taggedStructs(t.Field(i).Type, seen)...)
		}
	}
	return found
}

func hasTags(t reflect.Type) bool {
	for i := range t.NumField() {
		if rule := t.Field(i).Tag.Get("validate"); rule != "" && rule != "-" {
			return true
		}
	}
	return false
}

// try has the validator read the tags of a struct. It panics on those that it does not know.
func try(v *validator.Validate, t reflect.Type) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	_ = v.Struct(reflect.New(t).Interface())
	return nil
}

// jsonName is what a field is called in paths. A struct whose fields are promoted has no name.
func jsonName(f reflect.StructField) string {
	switch tag := parseTag(f); {
	case tag.name != "":
		return tag.name
	case promoted(f):
		return ""
	}
	return f.Name
}

// apply notes the rules that are broken. Where a value could not be read, rules on it, on what holds it, and those that compare fields,
// would complain of the wrong thing, and are passed over.
func (r *rules) apply(w *walker, v reflect.Value) {
	if w.unread.more > 0 {
		return
	}
	err := r.validator.Struct(v.Addr().Interface())
	broken, ok := errors.AsType[validator.ValidationErrors](err)
	if err != nil && !ok {
		panic(fmt.Errorf("validator: %w", err))
	}
	for _, b := range broken {
		path := strings.TrimPrefix(b.Namespace(), r.top)
		if len(w.unread.kept) > 0 && (comparesFields(b.Tag()) || w.unreadNear(path)) {
			continue
		}
		w.invalid.add(Fault{cut(path, maxDetail), ruleText(b)}, maxFaults)
	}
}

func comparesFields(rule string) bool {
	return strings.Contains(rule, "field") || strings.HasPrefix(rule, "required_") || strings.HasPrefix(rule, "excluded_")
}

func (w *walker) unreadNear(path string) bool {
	for _, f := range w.unread.kept {
		if holds(f.Path, path) || holds(path, f.Path) {
			return true
		}
	}
	return false
}

// holds says whether the inner path begins with the whole of the outer one.
func holds(outer, inner string) bool {
	if !strings.HasPrefix(inner, outer) {
		return false
	}
	rest := inner[len(outer):]
	return outer == "" || rest == "" || rest[0] == '.' || rest[0] == '['
}

// ruleText tells what a rule asks for.
func ruleText(b validator.FieldError) string {
	switch b.Tag() {
	case "required":
		return "is required" + nothing(b.Kind())
	case "oneof":
		return "must be one of " + b.Param()
	case "email", "uuid", "url", "uri", "ip", "hostname":
		return "must be a valid " + b.Tag()
	case "unique":
		return "must not hold the same twice"
	case "eq":
		return "must be " + b.Param()
	case "ne":
		return "must not be " + b.Param()
	}
	if text := boundText(b); text != "" {
		return text
	}
	return strings.TrimSuffix("breaks the rule "+b.Tag()+"="+b.Param(), "=")
}

// nothing tells which value the rule "required" takes for one that is not there, where that may surprise.
func nothing(kind reflect.Kind) string {
	switch {
	case kind == reflect.Bool:
		return ", and false counts as nothing"
	case reflect.Int <= kind && kind <= reflect.Float64:
		return ", and 0 counts as nothing"
	}
	return ""
}

// boundText tells of a bound: on the value of a number, the characters of a text, the elements of anything else.
func boundText(b validator.FieldError) string {
	bounds := map[string]string{
		"min": "at least", "gte": "at least", "max": "at most", "lte": "at most", "gt": "more than", "lt": "less than", "len": "exactly",
	}
	bound, ok := bounds[b.Tag()]
	switch kind := b.Kind(); {
	case !ok || b.Param() == "":
		return ""
	case kind == reflect.String:
		return "must have " + bound + " " + b.Param() + " characters"
	case kind == reflect.Slice || kind == reflect.Array || kind == reflect.Map:
		return "must have " + bound + " " + b.Param() + " elements"
	}
	return "must be " + bound + " " + b.Param()
}
