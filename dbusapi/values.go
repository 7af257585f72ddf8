package dbusapi

import (
	"fmt"

	"github.com/godbus/dbus/v5"

	"ipmbd/internal/dbuswire"
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
			return dbuswire.AppendUint32(b, 1)
		}
		return dbuswire.AppendUint32(b, 0)
	case int32:
		return dbuswire.AppendUint32(b, uint32(v))
	case uint32:
		return dbuswire.AppendUint32(b, v)
	case int64:
		return dbuswire.AppendUint64(b, uint64(v))
	case uint64:
		return dbuswire.AppendUint64(b, v)
	case string:
		return dbuswire.AppendString(b, v)
	case dbus.ObjectPath:
		return dbuswire.AppendString(b, string(v))
	case []byte:
		return dbuswire.AppendBytes(b, v)
	case dbus.Variant:
		return appendValue(dbuswire.AppendSignature(b, v.Signature().String()), v.Value())
	}
	return appendArray(b, value)
}

// appendArray adds an array of structs or a dictionary, the elements of which begin
// at multiples of 8.
func appendArray(b []byte, array any) []byte {
	b, at := dbuswire.BeginArray(b)
	switch array := array.(type) {
	case map[string]uint64:
		for key, value := range array {
			b = dbuswire.AppendUint64(dbuswire.AppendString(dbuswire.AppendPadding(b, 8), key), value)
		}
	case map[string]dbus.Variant:
		for key, value := range array {
			b = appendValue(dbuswire.AppendString(dbuswire.AppendPadding(b, 8), key), value)
		}
	case propertyMaps:
		for key, value := range array {
			b = appendArray(dbuswire.AppendString(dbuswire.AppendPadding(b, 8), key), value)
		}
	case map[dbus.ObjectPath]propertyMaps:
		for key, value := range array {
			b = appendArray(dbuswire.AppendString(dbuswire.AppendPadding(b, 8), string(key)), value)
		}
	case []handlerRow:
		for _, row := range array {
			b = dbuswire.AppendString(dbuswire.AppendPadding(b, 8), row.Owner)
			b = append(dbuswire.AppendString(b, string(row.Path)), row.NetFn, row.Command)
			b = dbuswire.AppendUint32(dbuswire.AppendUint32(b, row.Group), row.Channels)
		}
	case []commandRow:
		for _, row := range array {
			b = append(dbuswire.AppendPadding(b, 8), row.NetFn, row.Command)
			b = dbuswire.AppendUint32(dbuswire.AppendUint32(b, row.Group), row.Channels)
		}
	default:
		// A test has all methods and properties reply.
		panic(fmt.Sprintf("no message has a %T", array))
	}
	return dbuswire.EndArray(b, at)
}
