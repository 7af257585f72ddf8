package config

import (
	"encoding"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"ipmbd/ipmi"
)

// field is a key of an object and the Go field that it fills.
type field struct {
	key       string
	index     []int // of the field, from struct to struct
	required  bool
	low, high int64 // bounds of a number
	format    string
}

// fieldsOf are the fields of a struct type that have keys, inlined ones among them.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		of := t.Field(i)
		key, option, _ := strings.Cut(of.Tag.Get("conf"), ",")
		switch {
		case option == "inline":
			inner := of.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			for _, f := range fieldsOf(inner) {
				f.index = slices.Concat([]int{i}, f.index)
				fields = append(fields, f)
			}
		case key != "":
			low, high := bounds(of)
			fields = append(fields, field{key, []int{i}, option == "required", low, high, of.Tag.Get("format")})
		}
	}
	return fields
}

// bounds returns the bounds in a field's tag, or else the bounds of its type.
func bounds(of reflect.StructField) (low, high int64) {
	high = math.MaxInt32
	switch of.Type.Kind() {
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		high = 1<<of.Type.Bits() - 1
	}
	if of.Type == reflect.TypeFor[ipmi.Address]() {
		low = 1
	}
	_, _ = fmt.Sscanf(of.Tag.Get("range"), "%d..%d", &low, &high)
	return low, high
}

// in is the Go field in a struct. It makes the structs on the way that a pointer leads to.
func (f field) in(v reflect.Value) reflect.Value {
	for _, i := range f.index {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		}
		v = v.Field(i)
	}
	return v
}

// object reads the pairs of n into a struct. If a key stands twice, the last one counts, as in
// ipmbbridge.
func (r *reader) object(n node, key string, into reflect.Value) {
	if !r.want(n, key, kindObject) {
		return
	}
	fields, last := fieldsOf(into.Type()), make(map[string]int)
	for i, m := range n.members {
		at := m.value
		at.start = m.start
		if _, again := last[m.key]; again {
			r.doubt(at, below(key, m.key), "stands twice")
		}
		last[m.key] = i
	}
	var keys []string
	for _, f := range fields {
		keys = append(keys, f.key)
		if i, ok := last[f.key]; ok {
			value := n.members[i].value
			r.places[below(key, f.key)] = value
			r.value(value, below(key, f.key), f, f.in(into))
		} else if f.required {
			r.fault(n, below(key, f.key), "is missing")
		}
	}
	for _, m := range n.members {
		if !slices.Contains(keys, m.key) {
			r.doubt(m.value, below(key, m.key), "unknown key"+didYouMean(m.key, keys))
		}
	}
}

// didYouMean ends a problem with the words that are like s, if there are any.
func didYouMean(s string, words []string) string {
	if i := slices.IndexFunc(words, func(word string) bool { return strings.EqualFold(word, s) }); i >= 0 {
		words = words[i : i+1]
	}
	if hint := ipmi.DidYouMean(s, words); hint != "" {
		return "; " + hint
	}
	return ""
}

// value reads n into a Go value. f is the field that holds it, perhaps in a list.
func (r *reader) value(n node, key string, f field, v reflect.Value) {
	if v.Type() == reflect.TypeFor[struct{}]() {
		return // The key is for other programs.
	}
	var problem string
	switch into := v.Addr().Interface().(type) {
	case *[]Channel, *[]Host:
		r.want(n, key, kindArray) // Its entries are read one by one.
	case choice:
		problem = choose(n.string(), into.words(), v)
	case *time.Time:
		problem = date(n.string(), into)
	case *ipmi.Commands:
		problem = commands(n.string(), into)
	case encoding.TextUnmarshaler:
		if err := into.UnmarshalText([]byte(n.string())); err != nil {
			problem = err.Error()
		}
	default:
		problem = r.kind(n, key, f, v)
	}
	if problem != "" {
		r.fault(n, key, problem)
	}
}

// kind reads n into a Go value by the kind of the value, and returns the problem of n itself.
func (r *reader) kind(n node, key string, f field, v reflect.Value) string {
	switch v.Kind() {
	case reflect.Pointer:
		value, before := reflect.New(v.Type().Elem()), len(r.faults)
		if r.value(n, key, f, value.Elem()); len(r.faults) == before {
			v.Set(value)
		}
	case reflect.Struct:
		r.object(n, key, v)
	case reflect.Slice:
		r.list(n, key, f, v)
	case reflect.Array:
		return octets(n.string(), v)
	case reflect.String:
		return f.text(n, v)
	case reflect.Bool:
		if r.want(n, key, kindBoolean) {
			v.SetBool(n.text == "true")
		}
	case reflect.Float64:
		if r.want(n, key, kindNumber) {
			value, err := strconv.ParseFloat(n.text, 64)
			if err != nil {
				return "is too large"
			}
			v.SetFloat(value)
		}
	default:
		return f.integer(n, v)
	}
	return ""
}

// list reads the elements of a list.
func (r *reader) list(n node, key string, f field, into reflect.Value) {
	if !r.want(n, key, kindArray) {
		return
	}
	for i, m := range n.members {
		r.places[item(key, i)] = m.value
		value := reflect.New(into.Type().Elem()).Elem()
		r.value(m.value, item(key, i), f, value)
		into.Set(reflect.Append(into, value))
	}
}

// text reads a string. An empty one would look like the default.
func (f field) text(n node, into reflect.Value) string {
	switch {
	case n.kind != kindString:
		return "must be " + string(kindString)
	case n.text == "":
		return "must not be empty"
	}
	into.SetString(n.text)
	return formats[f.format].problemOf(n.text)
}

// choose reads one of the words. The place of a word is its value.
func choose(text string, words []string, into reflect.Value) string {
	i := slices.Index(words, text)
	if i < 0 {
		return "must be one of " + strings.Join(words, ", ") + didYouMean(text, words)
	}
	into.SetUint(uint64(i))
	return ""
}

// integer reads a whole number. It stores a number out of bounds as the nearest one that is out of
// bounds, because the next entry of ipmbbridge's file may inherit it; and a time of 0 as -1,
// because zero stands for the default.
func (f field) integer(n node, into reflect.Value) string {
	_, isAddress := into.Interface().(ipmi.Address)
	_, isTime := into.Interface().(time.Duration)
	value, ok := wholeNumber(n, isAddress)
	unit, scale := "", int64(1)
	if isTime {
		unit, scale = " ms", int64(time.Millisecond)
	}
	within := f.low <= value && value <= f.high
	switch {
	case !ok:
		return `must be a whole number, or one in a string such as "0x20"`
	case isTime && value == 0:
		into.SetInt(-1)
	case into.CanInt():
		into.SetInt(min(max(value, f.low-1), f.high+1) * scale)
	case within:
		into.SetUint(uint64(value))
	}
	switch {
	case !within:
		return fmt.Sprintf("must be from %d to %d%s", f.low, f.high, unit)
	case isAddress && !ipmi.Address(value).IsSlave():
		return "must be even: an address in its 8-bit form"
	}
	return ""
}

var (
	decimal     = regexp.MustCompile(`^(0|[1-9][0-9]*)$`) // 010 is octal to some, decimal to others
	hexadecimal = regexp.MustCompile(`^0[xX]([0-9A-Fa-f]+)$|^([0-9A-Fa-f]+)[hH]$`)
)

// wholeNumber is the number that n holds: a JSON number, or a string that holds a number in
// decimal or, after 0x, in hexadecimal, as files of some platforms have it. An address may also
// be written "2Ch", as ipmbctl prints it.
func wholeNumber(n node, isAddress bool) (int64, bool) {
	base, digits := 10, n.text
	hex := hexadecimal.FindStringSubmatch(n.string())
	switch {
	case hex != nil && (hex[1] != "" || isAddress):
		base, digits = 16, hex[1]+hex[2]
	case n.kind != kindNumber && !decimal.MatchString(n.string()):
		return 0, false
	}
	value, err := strconv.ParseInt(digits, base, 64)
	return value, err == nil
}

// date reads a day, in UTC.
func date(text string, into *time.Time) string {
	made, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return `must be a date such as "2026-01-31"`
	}
	*into = made
	return ""
}

// octets reads as many bytes as an array has, in hexadecimal.
func octets(text string, into reflect.Value) string {
	data, err := hex.DecodeString(text)
	if err != nil || len(data) != into.Len() {
		return fmt.Sprintf("must be a string of %d hexadecimal digits", 2*into.Len())
	}
	reflect.Copy(into, reflect.ValueOf(data))
	return ""
}

// commands reads a netFn, or a netFn and a command.
func commands(text string, into *ipmi.Commands) string {
	words := strings.Fields(text)
	if len(words) < 1 || len(words) > 2 {
		return `must be a netFn, or a netFn and a command, such as "app cold-reset"`
	}
	c, err := ipmi.ParseCommands(words)
	switch {
	case err != nil:
		return err.Error()
	case len(words) == 2 && c.Command == ipmi.AnyCommand:
		return "FFh stands for all commands: leave it out for all, it cannot be named by itself"
	}
	*into = c
	return ""
}

var guidText = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)

// UnmarshalText implements encoding.TextUnmarshaler. The first byte of a GUID as a text is the
// last one on the wire (IPMI v2.0, section 20.8).
func (g *GUID) UnmarshalText(text []byte) error {
	if !guidText.Match(text) {
		return errors.New(`must be a string such as "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"`)
	}
	data, _ := hex.DecodeString(strings.ReplaceAll(string(text), "-", ""))
	slices.Reverse(data)
	*g = GUID(data)
	if *g == (GUID{}) {
		return errors.New("must not be zero")
	}
	return nil
}
