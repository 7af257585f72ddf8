package config

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ipmbd/bmc"
	"ipmbd/bmc/record"
	"ipmbd/internal/manual"
)

// keyDoc is the documentation of a key in tags and comments.
type keyDoc struct {
	field
	t      reflect.Type
	ranged bool
	value  string // by default
	doc    string // empty: the one of the key before
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

// No user can use a key without any comment.
func TestEveryKeyIsDocumented(t *testing.T) {
	for _, list := range keyLists {
		if keys := keysWithDocs(t, list.of); keys[0].doc == "" {
			t.Errorf("%v: no comment on %s", list.of, keys[0].key)
		}
	}
}

// Each configuration in the documents is valid: whole files, and keys that stand beside the
// channels of one.
func TestConfigurationsInTheDocumentsAreGood(t *testing.T) {
	var blocks [][][]byte
	for _, path := range []string{"../../README.md", "../../docs/configuration.md", "../../docs/requests.md"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(text, -1)
		if len(found) == 0 {
			t.Errorf("%s shows none", path)
		}
		blocks = append(blocks, found...)
	}
	for _, block := range blocks {
		file := string(block[1])
		if !strings.HasPrefix(file, "{") {
			file = `{"channels": [{"slave-path": "/dev/ipmb-4", "remote-addr": 64}], ` + file + "}"
		}
		if _, warnings, err := Parse(Named(strictFile, false), []byte(file)); err != nil || len(warnings) > 0 {
			t.Errorf("%v, %v in\n%s", err, warnings, file)
		}
	}
}
