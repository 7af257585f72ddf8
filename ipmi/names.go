package ipmi

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// String is the one-word name of a request's network function ("app"), the same with " response"
// for a response's, or the number ("30h").
func (n NetFn) String() string {
	name := netFnName(n.Request())
	switch {
	case name == "":
		return fmt.Sprintf("%02Xh", uint8(n))
	case n.IsResponse():
		return name + " response"
	}
	return name
}

// CommandName is the standard's name of a command in kebab-case ("get-device-id"), or its number
// ("A5h"). n may be the netFn of the request or of the response.
func CommandName(n NetFn, cmd Command) string {
	if c := commandOf(n, cmd); c != nil {
		return c.name
	}
	return fmt.Sprintf("%02Xh", uint8(cmd))
}

// ParseNetFn reads the network function of a request: a name as String gives it, or an even number
// up to 3Eh, written 6, 0x06 or 06h. Its errors are for users and suggest names.
func ParseNetFn(s string) (NetFn, error) {
	for n, name := range netFnNames {
		if name != "" && strings.EqualFold(name, s) {
			return NetFn(n), nil
		}
	}
	v, isNumber := parseByte(s)
	n := NetFn(v)
	switch {
	case !isNumber:
		return 0, fmt.Errorf("no netFn %q; %s", s, hint(s, netFnNames[:]))
	case n > MaxNetFn:
		return 0, fmt.Errorf("netFn %02Xh is larger than %02Xh", v, uint8(MaxNetFn-1))
	case n.IsResponse():
		return 0, fmt.Errorf("netFn %02Xh is that of a response; the request's is %02Xh", v, v-1)
	}
	return n, nil
}

// ParseCommand reads a command of network function n: a name as CommandName gives it, or a number
// up to FFh, written 1, 0x01 or 01h. Its errors are for users and suggest names.
func ParseCommand(n NetFn, s string) (Command, error) {
	n = n.Request()
	if cmd, ok := findCommand(n, s); ok {
		return cmd, nil
	}
	if v, isNumber := parseByte(s); isNumber {
		return Command(v), nil
	}
	for other := range NetFn(len(standardCommands)) {
		if _, ok := findCommand(other, s); ok {
			return 0, fmt.Errorf("%s has no command %q; it is one of %s", n, s, other)
		}
	}
	return 0, fmt.Errorf("%s has no command %q; %s", n, s, hint(s, namesOf(n)))
}

func netFnName(n NetFn) string {
	if int(n) < len(netFnNames) {
		return netFnNames[n]
	}
	return ""
}

func findCommand(n NetFn, s string) (Command, bool) {
	i := slices.IndexFunc(namesOf(n), func(name string) bool { return name != "" && strings.EqualFold(name, s) })
	return Command(i), i >= 0
}

// namesOf are the names of the commands of n by number, "" between them.
func namesOf(n NetFn) (names []string) {
	if int(n) < len(standardCommands) {
		for _, c := range standardCommands[n] {
			names = append(names, c.name)
		}
	}
	return names
}

// parseByte reads a number up to 255 in the forms of command lines and of the standard: 44, 0x2C,
// 2Ch.
func parseByte(s string) (v uint8, ok bool) {
	digits, base := strings.ToLower(s), 10
	if hex, found := strings.CutPrefix(digits, "0x"); found {
		digits, base = hex, 16
	} else if hex, found := strings.CutSuffix(digits, "h"); found {
		digits, base = hex, 16
	}
	u, err := strconv.ParseUint(digits, base, 8)
	return uint8(u), err == nil
}

// maxSuggestions is how many names an error suggests.
const maxSuggestions = 3

// hint returns the part of an error that helps a user who has written s, which is not in names and
// no number up to FFh.
func hint(s string, names []string) string {
	if _, err := strconv.ParseUint(s, 16, 8); err == nil {
		return "a hexadecimal number is written 0x" + s + " or " + s + "h"
	}
	if suggestion := DidYouMean(s, names); suggestion != "" {
		return suggestion
	}
	return "a number is written 44, 0x2C or 2Ch and is at most 255"
}

// DidYouMean asks whether s, which is not in names, should be a similar name. It returns "" if no
// name is similar.
func DidYouMean(s string, names []string) string {
	if near := nearest(s, names); len(near) > 0 {
		return "did you mean " + strings.Join(near, ", ") + "?"
	}
	return ""
}

// nearest returns the names most like s, the most like first: names a few typing errors away, then
// names that contain it.
func nearest(s string, names []string) []string {
	type candidate struct {
		name string
		rank int
	}
	s = strings.ToLower(s)
	tolerated := max(2, len(s)/4)
	var found []candidate
	for _, name := range names {
		switch d := distance(s, name); {
		case name == "" || s == "":
		case d <= tolerated:
			found = append(found, candidate{name, d})
		case len(s) >= 3 && strings.Contains(name, s):
			found = append(found, candidate{name, tolerated + d})
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return cmp.Compare(a.rank, b.rank) })
	var best []string
	for _, c := range found[:min(len(found), maxSuggestions)] {
		best = append(best, c.name)
	}
	return best
}

// distance is the number of bytes to insert, delete or replace to make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1) // distances from the part of a done to each prefix of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
