package ipmi

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// maxSuggestions is how many names an error suggests.
const maxSuggestions = 3

// hint is what an error says to somebody who has written s, which is none of
// names and no number up to FFh.
func hint(s string, names []string) string {
	if _, err := strconv.ParseUint(s, 16, 8); err == nil {
		return "a hexadecimal number is written 0x" + s + " or " + s + "h"
	}
	if near := nearest(s, names); len(near) > 0 {
		return "did you mean " + strings.Join(near, ", ") + "?"
	}
	return "a number is written 44, 0x2C or 2Ch and is at most 255"
}

// nearest are the names most like s, the most like first: those a few typing
// errors away, then those that contain it.
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

// distance is the number of bytes to insert, delete or replace to make b of a
// (Levenshtein).
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
