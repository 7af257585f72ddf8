package bridge

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"ipmbd/ipmb"
	"ipmbd/ipmi"
)

func TestEveryErrorOfABusHasItsCode(t *testing.T) {
	table := map[string]struct {
		err  error
		want ipmi.CompletionCode
	}{
		"ErrTimeout":         {ipmb.ErrTimeout, 0xC3},
		"ErrNotAcknowledged": {ipmb.ErrNotAcknowledged, 0x83},
		"ErrArbitrationLost": {ipmb.ErrArbitrationLost, 0x81},
		"ErrStuck":           {ipmb.ErrStuck, 0x82},
		"ErrTooLong":         {ipmb.ErrTooLong, 0xC8},
		"ErrClosed":          {ipmb.ErrClosed, 0xD3},
		"ErrBusy":            {ipmb.ErrBusy, 0xC0},
		"ErrInvalid":         {ipmb.ErrInvalid, 0xCC},
		"ErrAnswered":        {ipmb.ErrAnswered, 0xCF},
		"ErrUnsupported":     {ipmb.ErrUnsupported, 0xD5},
		"nil":                {nil, 0x00},
		"deadline":           {context.DeadlineExceeded, 0xC3},
		"cancelled":          {context.Canceled, 0xFF},
		"anything else":      {errors.New("disk on fire"), 0xFF},
	}
	for name, c := range table {
		err := c.err
		if err != nil {
			err = fmt.Errorf("bus4: %w", err)
		}
		if got := codeOf(err); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), "../ipmb/errors.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "Err") {
			if _, known := table[spec.Names[0].Name]; !known {
				t.Errorf("%s is not in this test", spec.Names[0].Name)
			}
		}
		return true
	})
}
