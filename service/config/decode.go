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
			f := field{key: key, index: []int{i}, required: option == "required", format: of.Tag.Get("format")}
			f.low, f.high = bounds(of)
			fields = append(fields, f)
		}
	}
	return fields
}

// bounds are those of a field's tag, else those of its type.
func bounds(of reflect.StructField) (low, high int64) {
	if tag, ok := of.Tag.Lookup("range"); ok {
		fmt.Sscanf(tag, "%d..%d", &low, &high)
		return low, high
	}
	t := of.Type
	switch {
	case t == reflect.TypeFor[ipmi.Address]():
		return 1, math.MaxUint8
	case slices.Contains([]reflect.Kind{reflect.Uint8, reflect.Uint16, reflect.Uint32}, t.Kind()):
		return 0, 1<<t.Bits() - 1
	}
	return 0, math.MaxInt32
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

// outside is what is wrong with a number out of bounds, empty if it is within them.
func (f field) outside(value int64, unit string) string {
	if f.low <= value && value <= f.high {
		return ""
	}
	return fmt.Sprintf("must be from %d to %d%s", f.low, f.high, unit)
}

// object reads the members of n into a struct. Of a key that stands twice the last counts,
// as in ipmbbridge.
func (r *reader) object(n node, key string, into reflect.Value) {
	if !r.want(n, key, kindObject) {
		return
	}
	fields := fieldsOf(into.Type())
	for i, m := range n.members {
		path := strings.TrimPrefix(key+"."+m.key, ".")
		same := func(other jsonMember) bool { return other.key == m.key }
		at := m.value
		at.start = m.start
		if slices.ContainsFunc(n.members[:i], same) {
			r.doubt(r.locate(at, path, "stands twice"))
		}
		known := slices.IndexFunc(fields, func(f field) bool { return f.key == m.key })
		switch {
		case known < 0:
			r.doubt(r.locate(m.value, path, "unknown key"+didYouMean(m.key, keysOf(fields))))
		case !slices.ContainsFunc(n.members[i+1:], same):
			r.places[path] = m.value
			r.value(m.value, path, fields[known], fields[known].in(into))
		}
	}
}

func keysOf(fields []field) []string {
	keys := make([]string, len(fields))
	for i, f := range fields {
		keys[i] = f.key
	}
	return keys
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

// value reads n into a Go value. Bounds and format are those of the field that holds it.
func (r *reader) value(n node, key string, f field, v reflect.Value) {
	if v.Type() == reflect.TypeFor[struct{}]() {
		return // It is for others.
	}
	switch into := v.Addr().Interface().(type) {
	case *[]Channel, *[]Host:
		r.want(n, key, kindArray) // Its entries are read one by one.
		return
	case *time.Time:
		r.date(n, key, into)
		return
	case encoding.TextUnmarshaler:
		text := n.text
		if n.kind != kindString {
			text = "" // For the same problem.
		}
		if err := into.UnmarshalText([]byte(text)); err != nil {
			r.fault(n, key, err.Error())
		}
		return
	case choice:
		r.choose(n, key, into.words(), v)
		return
	case *ipmi.Commands:
		*into = r.commands(n, key)
		return
	}
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
		r.octets(n, key, v)
	case reflect.String:
		r.text(n, key, v)
	case reflect.Bool:
		if r.want(n, key, kindBoolean) {
			v.SetBool(n.text == "true")
		}
	case reflect.Float64:
		r.real(n, key, v)
	default:
		r.integer(n, key, f, v)
	}
}

// list reads the elements of a list.
func (r *reader) list(n node, key string, f field, into reflect.Value) {
	if !r.want(n, key, kindArray) {
		return
	}
	for i, element := range n.items {
		r.places[item(key, i)] = element
		value := reflect.New(into.Type().Elem()).Elem()
		r.value(element, item(key, i), f, value)
		into.Set(reflect.Append(into, value))
	}
}

// text reads a string. An empty one would look like the default.
func (r *reader) text(n node, key string, into reflect.Value) {
	if !r.want(n, key, kindString) {
		return
	}
	if n.text == "" {
		r.fault(n, key, "must not be empty")
	}
	into.SetString(n.text)
}

// choose reads one of the words; a word's place is its constant.
func (r *reader) choose(n node, key string, words []string, into reflect.Value) {
	i := slices.Index(words, n.text)
	if n.kind != kindString || i < 0 {
		r.fault(n, key, wanted(words)+didYouMean(n.text, words))
		return
	}
	into.SetUint(uint64(i))
}

// integer reads a whole number: a JSON number, or a string that holds one in
// decimal or, after 0x, in hexadecimal, as some platforms' files have it.
func (r *reader) integer(n node, key string, f field, into reflect.Value) {
	_, isAddress := into.Interface().(ipmi.Address)
	value, ok := wholeNumber(n, isAddress)
	if !ok {
		r.fault(n, key, `must be a whole number, or one in a string such as "0x20"`)
		return
	}
	_, isTime := into.Interface().(time.Duration)
	unit := ""
	if isTime {
		unit = " ms"
	}
	switch problem := f.outside(value, unit); {
	case problem != "":
		r.fault(n, key, problem)
		if into.CanInt() && value > f.high && value <= math.MaxInt32 {
			into.SetInt(value) // ipmbbridge's next entry without devIndex has this one, too.
		}
	case isTime && value == 0:
		into.SetInt(-1) // 0 is the default.
	case isTime:
		into.SetInt(value * int64(time.Millisecond))
	case into.CanInt():
		into.SetInt(value)
	default:
		into.SetUint(uint64(value))
	}
}

// wholeNumber is the number that n holds. An address may be written "2Ch", too, as ipmbctl
// shows it.
func wholeNumber(n node, isAddress bool) (int64, bool) {
	base, digits := 10, n.text
	switch n.kind {
	case kindNumber:
	case kindString:
		lower := strings.ToLower(digits)
		before, suffixed := strings.CutSuffix(lower, "h")
		if after, ok := strings.CutPrefix(lower, "0x"); ok {
			base, digits = 16, after
		} else if suffixed && isAddress {
			base, digits = 16, before
		} else if len(digits) > 1 && digits[0] == '0' {
			return 0, false // octal to some, decimal to others
		}
		if digits == "" || digits[0] == '+' || digits[0] == '-' {
			return 0, false
		}
	default:
		return 0, false
	}
	value, err := strconv.ParseInt(digits, base, 64)
	return value, err == nil
}

func (r *reader) real(n node, key string, into reflect.Value) {
	if !r.want(n, key, kindNumber) {
		return
	}
	value, err := strconv.ParseFloat(n.text, 64)
	if err != nil {
		r.fault(n, key, "is too large")
		return
	}
	into.SetFloat(value)
}

// date reads a day, as of UTC.
func (r *reader) date(n node, key string, into *time.Time) {
	made, err := time.Parse(time.DateOnly, n.text)
	if err != nil || n.kind != kindString {
		r.fault(n, key, `must be a date such as "2026-01-31"`)
		return
	}
	*into = made
}

// octets reads as many bytes as an array has, in hexadecimal.
func (r *reader) octets(n node, key string, into reflect.Value) {
	data, err := hex.DecodeString(n.text)
	if n.kind != kindString || err != nil || len(data) != into.Len() {
		r.fault(n, key, fmt.Sprintf("must be a string of %d hexadecimal digits", 2*into.Len()))
		return
	}
	reflect.Copy(into, reflect.ValueOf(data))
}

// commands reads a netFn, or a netFn and a command.
func (r *reader) commands(n node, key string) ipmi.Commands {
	if !r.want(n, key, kindString) {
		return ipmi.Commands{}
	}
	words := strings.Fields(n.text)
	if len(words) < 1 || len(words) > 2 {
		r.fault(n, key, `must be a netFn, or a netFn and a command, such as "app cold-reset"`)
		return ipmi.Commands{}
	}
	c, err := ipmi.ParseCommands(words)
	switch {
	case err != nil:
		r.fault(n, key, err.Error())
	case len(words) == 2 && c.Command == ipmi.AnyCommand:
		r.fault(n, key, "FFh stands for all commands: leave it out for all, it cannot be named by itself")
	}
	return c
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
