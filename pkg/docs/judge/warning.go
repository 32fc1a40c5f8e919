package judge

import "regexp"

var (
	// k8s.io/apiserver/pkg/endpoints/deprecation: WarningMessage; and the
	// deprecationWarning of a CRD's version, which is free text.
	deprecated = regexp.MustCompile(`(?i)\bdeprecated\b`)
	annotation = regexp.MustCompile(`^annotation "([^"]+)"`)
	// A field's path before the colon: `spec.nodeSelector[a.b/c]: deprecated since …`.
	fieldFirst = regexp.MustCompile(`^([a-zA-Z][\w.]*(?:\[[^\]]*\][\w.]*)*): `)
)

// warned gives the problem that a warning of the API server is about.
func warned(text string) problem {
	p := problem{rule: apiWarning, message: oneLine(text)}
	if m := fieldFirst.FindStringSubmatch(text); m != nil {
		p.field, p.onKey = m[1], true
	}
	if deprecated.MatchString(text) {
		p.rule = deprecatedAPI
		if m := annotation.FindStringSubmatch(text); m != nil {
			p.field, p.onKey = "metadata.annotations["+m[1]+"]", true
		}
		if p.field == "" {
			p.field = "apiVersion"
		}
	}
	return p
}
