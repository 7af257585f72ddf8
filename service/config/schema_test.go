package config

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"ipmbd/internal/manual"
)

// relations are a schema's rules about several keys of an object.
var relations = map[reflect.Type]json.RawMessage{
	reflect.TypeFor[Channel](): json.RawMessage(`[
		{"if": {"properties": {"transport": {"enum": ["ipmb-device", "auto"]}}}, "else":
			{"properties": {"ignore-nack": {"const": false}, "verify-header-checksum": {"const": false}}}},
		{"if": {"properties": {"transport": {"const": "seqpacket"}}, "required": ["transport"]}, "then":
			{"properties": {"slave-path": {"maxLength": 107}}}}
	]`),
	reflect.TypeFor[hostEntry](): json.RawMessage(`[
		{"properties": {"ipmi-channel": {"not": {"enum": [12, 13, 14]}}}},
		{"if": {"properties": {"type": {"const": "vm"}}}, "then":
			{"properties": {"path": {"pattern": "^(unix:/|tcp:)", "maxLength": 112}}, "required": ["name"]}, "else":
			{"properties": {"path": {"pattern": "^/"}}}},
		{"if": {"properties": {"type": {"const": "openipmi"}}, "required": ["type"]}, "then":
			{"properties": {"bridge": {"const": false}}}, "else":
			{"properties": {"commands": {"maxItems": 0}, "handler": {"enum": ["host", "bmc", "none"]}}}},
		{"if": {"properties": {"type": {"const": "openipmi"}, "handler": {"enum": ["host", "bmc", "signal"]}}, "required": ["type", "handler"]}, "then":
			{"properties": {"commands": {"minItems": 1}}, "required": ["commands"]}},
		{"if": {"properties": {"legacy-api": {"const": true}}, "required": ["legacy-api"]}, "then":
			{"properties": {"type": {"const": "bt"}, "handler": {"const": "host"}}, "required": ["type"]}}
	]`),
	reflect.TypeFor[CommandFilter](): json.RawMessage(`[
		{"anyOf": [{"properties": {"allow": {"minItems": 1}}, "required": ["allow"]}, {"properties": {"deny": {"minItems": 1}}, "required": ["deny"]}]}
	]`),
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

// An address is even, from 02h to FEh.
const (
	evenHex     = "([2468ACEace]|[1-9A-Fa-f][02468ACEace])"
	evenDecimal = "([2468]|1?[1-9][02468]|10[02468]|2[0-4][02468]|25[024])"
)

const schemaFile = "../../packaging/ipmbd.schema.json"

// The schema follows from tags and comments.
func TestSchema(t *testing.T) {
	schema := objectSchema(t, reflect.TypeFor[Config]())
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "The configuration of ipmbd: /etc/ipmbd/ipmbd.json"
	schema["$defs"] = map[string]any{
		"number":  map[string]any{"type": "string", "pattern": "^(0[xX][0-9A-Fa-f]+|0|[1-9][0-9]*)$"},
		"address": map[string]any{"type": "string", "pattern": "^(0[xX]0*" + evenHex + "|0*" + evenHex + "[hH]|" + evenDecimal + ")$"},
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(schema); err != nil {
		t.Fatal(err)
	}
	manual.Stored(t, schemaFile, text.String())
}

// onlyDecoder are the bad files that no schema can tell from good ones: it knows no relation
// between entries, sees a key that stands twice once, and knows neither the names of commands nor
// sizes.
var onlyDecoder = []string{
	// Whether a file is in the place of a folder.
	`"folder": "/dev/null"`, `"folder": "/dev/null/bmc"`,
	"index, name and device taken", "no number for a name", "slave-mqueue that is not at our address", "too large", "a name twice", "an index twice", "a channel twice",
	"two of them", "both without", "one says what is the default", "both the same", "no command",
	`"sensors": [{"name": "Hot", "max": 1e999}]`, `"sensors": [{"name": "Hot", "max": 1}, {"name": "Hotter", "max": 1}]`,
}

// The schema accepts what the decoder accepts, and refuses what the decoder refuses if a
// schema can say why.
func TestSchemaAndDecoderAgree(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	judged := 0
	judge := func(name, text string, good bool) {
		t.Helper()
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			return // It is no JSON.
		}
		judged++
		switch err := schema.Validate(value); {
		case good && err != nil:
			t.Errorf("%s: the schema refuses what the decoder accepts: %v", name, err)
		case !good && err == nil && !slices.Contains(onlyDecoder, name):
			t.Errorf("%s: the schema accepts what the decoder refuses", name)
		}
	}
	for name, text := range map[string]string{"everything": everything, "four hosts": fourHosts, "least": "{}"} {
		judge(name, text, true)
	}
	for _, bad := range badConfigs {
		if bad.path == "" {
			judge(bad.name, bad.data, false)
		}
	}
	judge("a key of older files", intelFile, false)
	for name, tt := range openIPMICases {
		judge(name, `{"hosts": [`+tt.hosts+`]}`, len(tt.want) == 0)
	}
	for name, tt := range legacyCases {
		judge(name, `{"hosts": [`+tt.hosts+`]}`, len(tt.want) == 0)
	}
	for name, tt := range devIndexCases {
		judge(name, `{"hosts": [`+tt.hosts+`]}`, tt.want == "")
	}
	for text, want := range bmcCases {
		if !strings.Contains(want, "bmc.sensors[") && !strings.Contains(want, "bmc.frus[") || strings.Contains(want, " = ") {
			judge(text, `{"bmc":{`+text+`}}`, false)
		}
	}
	for key, text := range socketPaths {
		judge(key, fmt.Sprintf(text, socketPath(107)), true)
		judge(key, fmt.Sprintf(text, socketPath(108)), false)
	}
	for text, want := range addressCases {
		judge(text, `{"channels": [{"slave-path": "/dev/ipmb-4", "remote-addr": `+text+`}]}`, want != 0)
	}
	if judged < 75 {
		t.Errorf("only %d cases", judged)
	}
}
