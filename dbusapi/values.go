package dbusapi

import (
	"encoding/binary"
	"fmt"

	"github.com/godbus/dbus/v5"
)

// appendValues adds results of a method as the body of a message has them. The
// types are those that methods of ours return.
func appendValues(b []byte, values []any) []byte {
	for _, v := range values {
		b = appendValue(b, v)
	}
	return b
}

func appendValue(b []byte, value any) []byte {
	switch v := value.(type) {
	case byte:
		return append(b, v)
	case bool:
		if v {
			return appendUint32(b, 1)
		}
		return appendUint32(b, 0)
	case int32:
		return appendUint32(b, uint32(v))
	case uint32:
		return appendUint32(b, v)
	case int64:
		return appendUint64(b, uint64(v))
	case uint64:
		return appendUint64(b, v)
	case string:
		return appendString(b, v)
	case dbus.ObjectPath:
		return appendString(b, string(v))
	case []byte:
		return appendBytes(b, v)
	case dbus.Variant:
		return appendValue(appendSignature(b, v.Signature().String()), v.Value())
	}
	return appendArray(b, value)
}

// appendArray adds an array of structs or a dictionary, the elements of which begin
// at multiples of 8.
func appendArray(b []byte, array any) []byte {
	b = appendUint32(b, 0)
	length := len(b) - 4
	b = appendPadding(b, 8)
	first := len(b)
	switch array := array.(type) {
	case map[string]uint64:
		for key, value := range array {
			b = appendUint64(appendString(appendPadding(b, 8), key), value)
		}
	case map[string]dbus.Variant:
		for key, value := range array {
			b = appendValue(appendString(appendPadding(b, 8), key), value)
		}
	case propertyMaps:
		for key, value := range array {
			b = appendArray(appendString(appendPadding(b, 8), key), value)
		}
	case map[dbus.ObjectPath]propertyMaps:
		for key, value := range array {
			b = appendArray(appendString(appendPadding(b, 8), string(key)), value)
		}
	case []handlerRow:
		for _, row := range array {
			b = appendString(appendPadding(b, 8), row.Owner)
			b = append(appendString(b, string(row.Path)), row.NetFn, row.Command)
			b = appendUint32(appendUint32(b, row.Group), row.Channels)
		}
	case []commandRow:
		for _, row := range array {
			b = append(appendPadding(b, 8), row.NetFn, row.Command)
			b = appendUint32(appendUint32(b, row.Group), row.Channels)
		}
	default:
		// A test has all methods and properties reply.
		panic(fmt.Sprintf("no message has a %T", array))
	}
	binary.LittleEndian.PutUint32(b[length:], uint32(len(b)-first))
	return b
}
