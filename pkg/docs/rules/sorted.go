package rules

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func numberList(numbers map[int]bool) string {
	var words []string
	for _, n := range slices.Sorted(maps.Keys(numbers)) {
		words = append(words, strconv.Itoa(n))
	}
	return strings.Join(words, ", ")
}
