// Package nearest finds the name that a mistyped one stands for.
package nearest

import "strings"

// longest bounds the names that are compared, in bytes.
const longest = 80

// Name is the known name that a mistyped one most likely stands for, empty
// for none: it begins with name, or differs from it by a third of its letters
// at most.
func Name(name string, known []string) (nearest string) {
	if len(name) > longest {
		return ""
	}
	least := len(name)/3 + 1
	for _, candidate := range known {
		edits := distance(name, candidate)
		if len(name) > 2 && strings.HasPrefix(candidate, name) {
			edits = min(edits, 1)
		}
		if edits < least {
			nearest, least = candidate, edits
		}
	}
	return nearest
}

// distance is the number of letters to insert, delete or replace between two
// names (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
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
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
