package judge

import (
	"regexp"
	"strings"
)

var (
	// k8s.io/apiserver/pkg/endpoints/deprecation: WarningMessage; and
	// apiextensions-apiserver for versions of CRDs.
	deprecatedKind = regexp.MustCompile(`^\S+ \S+ is deprecated\b`)
	// A field's path before the colon: `spec.nodeSelector[a.b/c]: deprecated since …`.
	fieldFirst = regexp.MustCompile(`^([a-zA-Z][\w.]*(?:\[[^\]]*\][\w.]*)*): `)
)

// warned gives the problem that a warning of the API server is about.
func warned(text string) problem {
	p := problem{rule: apiWarning, message: oneLine(text)}
	switch m := fieldFirst.FindStringSubmatch(text); {
	case deprecatedKind.MatchString(text):
		p.rule, p.field = deprecatedAPI, "apiVersion"
	case m != nil:
		p.field, p.onKey = m[1], true
		if strings.Contains(text, "deprecated") {
			p.rule = deprecatedAPI
		}
	}
	return p
}
