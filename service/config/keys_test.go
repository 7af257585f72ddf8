package config

import (
	"encoding"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ipmbd/bmc"
	"ipmbd/bmc/record"
	"ipmbd/internal/manual"
)

// keyDoc is what tags and comments say of a key.
type keyDoc struct {
	field
	t      reflect.Type
	ranged bool
	value  string // by default
	doc    string // empty: that of the key before
}

// keysWithDocs are the keys of an object that fills a type.
func keysWithDocs(t testing.TB, of reflect.Type) []keyDoc {
	t.Helper()
	var keys []keyDoc
	for _, f := range fieldsOf(of) {
		sf := of.FieldByIndex(f.index)
		owner := of
		if len(f.index) > 1 {
			owner = of.FieldByIndex(f.index[:len(f.index)-1]).Type
			if owner.Kind() == reflect.Pointer {
				owner = owner.Elem()
			}
		}
		_, ranged := sf.Tag.Lookup("range")
		keys = append(keys, keyDoc{f, sf.Type, ranged, sf.Tag.Get("default"), commentsOf(t, owner)[sf.Name]})
	}
	return keys
}

// comments has the results of commentsOf.
var comments = make(map[reflect.Type]map[string]string)

// commentsOf are the comments of the fields of a struct type, by their names.
func commentsOf(t testing.TB, of reflect.Type) map[string]string {
	t.Helper()
	if known, ok := comments[of]; ok {
		return known
	}
	folder := filepath.Join("../..", strings.TrimPrefix(of.PkgPath(), "ipmbd/"))
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		var found *ast.StructType
		ast.Inspect(syntax, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok && spec.Name.Name == of.Name() {
				found, _ = spec.Type.(*ast.StructType)
			}
			return found == nil
		})
		if found == nil {
			continue
		}
		comments[of] = make(map[string]string)
		for _, f := range found.Fields.List {
			for _, name := range f.Names {
				comments[of][name.Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
			}
		}
		return comments[of]
	}
	t.Fatalf("no source of %v", of)
	return nil
}

// keyLists are the lists of keys in the document of the configuration, by the line before
// each.
var keyLists = []struct {
	title string
	of    reflect.Type
}{
	{"The object of the file has these keys:", reflect.TypeFor[Config]()},
	{"An entry of `channels` has these keys:", reflect.TypeFor[Channel]()},
	{"An entry of `hosts` has these keys:", reflect.TypeFor[hostEntry]()},
	{"An entry of `policy` has these keys:", reflect.TypeFor[CommandFilter]()},
	{"The object `bmc` has these keys:", reflect.TypeFor[BMC]()},
	{"The object `identity` of `bmc` has these keys:", reflect.TypeFor[bmc.Identity]()},
	{"An entry of `sensors` has these keys:", reflect.TypeFor[Sensor]()},
	{"The object `dbus` of a sensor has these keys:", reflect.TypeFor[Property]()},
	{"An entry of `frus` has these keys:", reflect.TypeFor[bmc.FRUConfig]()},
	{"The object `chassis` of a FRU has these keys:", reflect.TypeFor[record.FRUChassis]()},
	{"The object `board` of a FRU has these keys:", reflect.TypeFor[record.FRUBoard]()},
	{"The object `product` of a FRU has these keys:", reflect.TypeFor[record.FRUProduct]()},
	{"An entry of `controllers` has these keys:", reflect.TypeFor[bmc.Controller]()},
}

// The document has the keys that the tags have, with the comments of their fields.
func TestKeysInTheDocument(t *testing.T) {
	const path = "../../docs/configuration.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	for _, list := range keyLists {
		at := slices.Index(lines, list.title)
		if at < 0 {
			t.Fatalf("%s has no line %q", path, list.title)
		}
		first := at + 2 // behind an empty line
		end := first
		for strings.HasPrefix(lines[end], "- ") || strings.HasPrefix(lines[end], "  ") {
			end++
		}
		lines = slices.Replace(lines, first, end, markdown(keysWithDocs(t, list.of))...)
	}
	manual.Stored(t, path, strings.Join(lines, "\n"))
}

// markdown is a list of keys. Keys with one comment are one entry.
func markdown(keys []keyDoc) []string {
	var lines []string
	for i := 0; i < len(keys); {
		names := "`" + keys[i].key + "`"
		first := keys[i]
		for i++; i < len(keys) && keys[i].doc == ""; i++ {
			names += ", `" + keys[i].key + "`"
		}
		lines = append(lines, wrapped("- "+names+": "+first.sentences())...)
	}
	return lines
}

// sentences are the documentation of a key, its bounds and its default.
func (k keyDoc) sentences() string {
	text := k.doc
	if k.required {
		text += " Required."
	}
	if k.ranged {
		text += fmt.Sprintf(" From %d to %d.", k.low, k.high)
	}
	if k.value != "" {
		text += " Default: `" + k.value + "`."
	}
	return text
}

// wrapped is an entry of a list in lines of less than 100 columns.
func wrapped(text string) []string {
	const columns = 98
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > columns {
			lines = append(lines, line)
			line = " "
		}
		if line != "" {
			word = " " + word
		}
		line += word
	}
	return append(lines, line)
}

// A key without any comment is one that nobody can use.
func TestEveryKeyIsDocumented(t *testing.T) {
	for _, list := range keyLists {
		if keys := keysWithDocs(t, list.of); keys[0].doc == "" {
			t.Errorf("%v: no comment on %s", list.of, keys[0].key)
		}
	}
}

// schemaOf is the JSON schema of the values that fill a type.
func schemaOf(t testing.TB, of reflect.Type, k keyDoc) map[string]any {
	if of.Kind() == reflect.Pointer {
		return schemaOf(t, of.Elem(), k)
	}
	value := reflect.New(of).Elem()
	number := map[string]any{"type": "integer", "minimum": k.low, "maximum": k.high}
	ref := func(name string) map[string]any { return map[string]any{"$ref": "#/$defs/" + name} }
	switch of.String() {
	case "struct {}":
		return map[string]any{}
	case "[]config.Host":
		of = reflect.TypeFor[[]hostEntry]()
	case "ipmi.Address":
		number["multipleOf"] = 2
		return map[string]any{"anyOf": []any{number, ref("address")}}
	case "ipmi.Commands":
		return map[string]any{"type": "string", "pattern": `^\s*\S+(\s+\S+)?\s*$`}
	case "time.Time":
		return map[string]any{"type": "string", "pattern": `^[0-9]{4}-[0-9]{2}-[0-9]{2}$`}
	case "config.GUID":
		return map[string]any{"type": "string", "pattern": guidText.String(), "not": map[string]any{"const": "00000000-0000-0000-0000-000000000000"}}
	case "bmc.Firmware":
		return map[string]any{"type": "string", "pattern": `^(0?[0-9]{1,2}|1[01][0-9]|12[0-7])\.[0-9]{2}$`}
	}
	if c, ok := value.Interface().(choice); ok {
		return map[string]any{"enum": c.words()}
	}
	if _, ok := value.Addr().Interface().(encoding.TextUnmarshaler); ok {
		t.Fatalf("no schema for %v", of)
	}
	switch of.Kind() {
	case reflect.Struct:
		return objectSchema(t, of)
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(t, of.Elem(), keyDoc{field: k.field})}
	case reflect.Array:
		return map[string]any{"type": "string", "pattern": fmt.Sprintf("^[0-9A-Fa-f]{%d}$", 2*of.Len())}
	case reflect.String:
		text := map[string]any{"type": "string", "minLength": 1}
		if f, ok := formats[k.format]; ok {
			text["pattern"] = f.pattern.String()
		}
		if f := formats[k.format]; f.longest > 0 {
			text["maxLength"] = f.longest
		}
		return text
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	}
	return map[string]any{"anyOf": []any{number, ref("number")}}
}

func objectSchema(t testing.TB, of reflect.Type) map[string]any {
	properties := make(map[string]any)
	var required []string
	doc := ""
	for _, k := range keysWithDocs(t, of) {
		if k.doc != "" {
			doc = k.doc
		}
		property := schemaOf(t, k.t, k)
		property["description"] = strings.ReplaceAll(doc, "`", "")
		if k.value != "" {
			property["default"] = k.jsonDefault(t)
		}
		properties[k.key] = property
		if k.required {
			required = append(required, k.key)
		}
	}
	schema := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if required != nil {
		schema["required"] = required
	}
	if rules, ok := relations[of]; ok {
		schema["allOf"] = rules
	}
	return schema
}

// jsonDefault is the default of a key as JSON.
func (k keyDoc) jsonDefault(t testing.TB) any {
	if number, err := strconv.ParseInt(k.value, 10, 64); err == nil {
		return number
	}
	if truth, err := strconv.ParseBool(k.value); err == nil {
		return truth
	}
	return strings.Trim(k.value, `"`)
}
