package config

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ipmbd/bmc"
	"ipmbd/ipmi"
)

// recordText is a text of the configuration that goes into a record: a place in a file, where %s
// stands for the text, and its longest length.
type recordText struct {
	file string
	most int
}

// recordTexts are all texts of a type that is read from a file. Other strings must be paths.
func recordTexts(t *testing.T, of reflect.Type, file string) (texts []recordText) {
	for of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	for _, f := range fieldsOf(of) {
		inner := of.FieldByIndex(f.index).Type
		others := "" // keys that must be there
		for _, other := range fieldsOf(of) {
			if other.required && other.key != f.key {
				others += map[string]string{"name": `"name": "Name", `, "address": `"address": 130, `}[other.key]
			}
		}
		if of == reflect.TypeFor[bmc.SensorConfig]() {
			others += `"max": 1, `
		}
		at := strings.Replace(file, "%s", fmt.Sprintf(`{%s"%s": %%s}`, others, f.key), 1)
		if inner.Kind() == reflect.Slice {
			inner, at = inner.Elem(), strings.Replace(at, "%s", "[%s]", 1)
		}
		switch kind := inner.Kind(); {
		case kind == reflect.Pointer && inner.Elem().Kind() == reflect.Struct:
			texts = append(texts, recordTexts(t, inner, at)...)
		case kind != reflect.String:
		case f.format == "record name":
			texts = append(texts, recordText{at, 16})
		case f.format == "record text":
			texts = append(texts, recordText{at, 63})
		case f.key != "file":
			t.Errorf("%v: %s may have any text", of, f.key)
		}
	}
	return texts
}

// kept are the bytes of all records and inventory devices of a BMC.
func kept(t *testing.T, c BMC) (all []byte) {
	t.Helper()
	config := bmc.Config{FRUs: c.FRUs, Controllers: c.Controllers}
	for _, s := range c.Sensors {
		config.Sensors = append(config.Sensors, s.SensorConfig)
	}
	b, err := bmc.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ask := func(cmd ipmi.Command, data ...byte) []byte {
		r, err := ipmi.Do(t.Context(), b, &ipmi.Request{NetFn: ipmi.NetFnStorage, Command: cmd, Data: data})
		if err != nil || r.Code != ipmi.CodeOK {
			t.Fatal(r.Code, err)
		}
		return r.Data
	}
	for id := []byte{0, 0}; !bytes.Equal(id, []byte{0xFF, 0xFF}); {
		whole := ask(0x23, 0, 0, id[0], id[1], 0, 0xFF)
		id, all = whole[:2], append(all, whole[2:]...)
	}
	for range c.FRUs {
		all = append(all, ask(0x11, 0, 0, 0, 0xFF)[1:]...)
	}
	return all
}

// A text of a file is in the records in their encoding, or it is refused with a reason and its
// place.
func TestTextsOfRecords(t *testing.T) {
	var texts []recordText
	for key, of := range map[string]reflect.Type{
		"sensors": reflect.TypeFor[bmc.SensorConfig](), "frus": reflect.TypeFor[bmc.FRUConfig](), "controllers": reflect.TypeFor[bmc.Controller](),
	} {
		texts = append(texts, recordTexts(t, of, `{"bmc":{"`+key+`":[%s]},"hosts":[{"name":"host0","path":"tcp:127.0.0.1:9001"}]}`)...)
	}
	if len(texts) != 18 {
		t.Errorf("%d texts", len(texts))
	}
	for _, text := range texts {
		long := strings.Repeat("ä", text.most+1)
		for _, tt := range []struct{ name, text, bytes, problem string }{
			{"Latin-1", "Müller", "C6 4DFC6C6C6572", ""},
			{"ASCII", "A~", "C2 417E", ""},
			{"the longest", long[:2*text.most], hex.EncodeToString(append([]byte{0xC0 | byte(text.most)}, bytes.Repeat([]byte{0xE4}, text.most)...)), ""},
			{"the last character of Latin-1", "aÿ", "C2 61FF", ""},
			{"the first one beyond", "aĀ", "", "must be in Latin-1, which does not have 'Ā'"},
			{"beyond Latin-1", "Łódź", "", "must be in Latin-1, which does not have 'Ł'"},
			{"a line end", `a\nb`, "", "must not have control characters, such as U+000A"},
			{"a zero", `a\u0000b`, "", "must not have control characters, such as U+0000"},
			{"delete", "a\x7Fb", "", "must not have control characters, such as U+007F"},
			{"a control character of Latin-1", `a\u009bb`, "", "must not have control characters, such as U+009B"},
			{"too long", long, "", fmt.Sprintf("must have 2 to %d characters, not %d", text.most, text.most+1)},
			{"too short", "a", "", fmt.Sprintf("must have 2 to %d characters, not 1", text.most)},
		} {
			t.Run(text.file+"/"+tt.name, func(t *testing.T) {
				before, _, _ := strings.Cut(text.file, "%s")
				config, _, err := Parse(Named(strictFile, false), []byte(strings.Replace(text.file, "%s", `"`+tt.text+`"`, 1)))
				if tt.problem == "" {
					want, _ := hex.DecodeString(strings.ReplaceAll(tt.bytes, " ", ""))
					if err != nil {
						t.Error(err)
					} else if all := kept(t, config.BMC); !bytes.Contains(all, want) {
						t.Errorf("% X is not in % X", want, all)
					}
					return
				}
				var fault Fault
				if faults, ok := err.(interface{ Unwrap() []error }); ok && len(faults.Unwrap()) == 1 {
					fault = faults.Unwrap()[0].(Fault)
				}
				got := []any{fault.Line, fault.Column, fault.Problem}
				if diff := cmp.Diff([]any{1, len(before) + 1, tt.problem}, got); diff != "" {
					t.Errorf("%v: %s", err, diff)
				}
			})
		}
	}
	if !slices.ContainsFunc(texts, func(text recordText) bool { return strings.Contains(text.file, `"custom": [%s]`) }) {
		t.Error("no list of texts is walked")
	}
}
