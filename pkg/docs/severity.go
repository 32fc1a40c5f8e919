package docs

import "slices"

// Severities are all severities, the worst first.
var Severities = []Severity{Error, Warning, Note}

// AtLeast says whether a severity is as bad as another one, or worse.
func (s Severity) AtLeast(least Severity) bool {
	return slices.Index(Severities, s) <= slices.Index(Severities, least)
}
