package report

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"strings"

	"golang.org/x/mod/semver"

	"github.com/isolation-stack/labctl/pkg/docs"
)

// project is where labctl and its rules are explained.
const project = "https://github.com/isolation-stack/labctl"

// The part of SARIF 2.1.0 that is needed
// (https://docs.oasis-open.org/sarif/sarif/v2.1.0). The modules for it write
// the default of every property that they know.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool struct {
			Driver sarifDriver `json:"driver"`
		} `json:"tool"`
		// ColumnKind is what docs.Position counts.
		ColumnKind string        `json:"columnKind"`
		Results    []sarifResult `json:"results"`
	}
	sarifDriver struct {
		Name            string      `json:"name"`
		Version         string      `json:"version,omitempty"`
		SemanticVersion string      `json:"semanticVersion,omitempty"`
		InformationURI  string      `json:"informationUri"`
		Rules           []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string    `json:"id"`
		ShortDescription sarifText `json:"shortDescription"`
		FullDescription  sarifText `json:"fullDescription"`
		Help             sarifText `json:"help"`
		HelpURI          string    `json:"helpUri"`
		Default          struct {
			Level string `json:"level"`
		} `json:"defaultConfiguration"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID       string            `json:"ruleId"`
		RuleIndex    *int              `json:"ruleIndex,omitempty"`
		Level        string            `json:"level"`
		Message      sarifText         `json:"message"`
		Locations    []sarifLocation   `json:"locations"`
		Fingerprints map[string]string `json:"partialFingerprints"`
	}
	sarifLocation struct {
		Physical struct {
			Artifact struct {
				URI       string `json:"uri"`
				URIBaseID string `json:"uriBaseId,omitempty"`
			} `json:"artifactLocation"`
			Region *sarifRegion `json:"region,omitempty"`
		} `json:"physicalLocation"`
		Logical []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifLogical struct {
		Name string `json:"fullyQualifiedName"`
		Kind string `json:"kind"`
	}
	// sarifRegion's end column is the one after the last.
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn,omitempty"`
		EndLine     int `json:"endLine,omitempty"`
		EndColumn   int `json:"endColumn,omitempty"`
	}
)

// SARIF writes a log of one run.
func SARIF(w io.Writer, r docs.Report, o Options) error {
	run := sarifRun{ColumnKind: "unicodeCodePoints", Results: []sarifResult{}}
	run.Tool.Driver = sarifDriver{Name: "labctl", Version: r.Labctl, InformationURI: project, Rules: []sarifRule{}}
	if semver.IsValid(r.Labctl) {
		run.Tool.Driver.SemanticVersion = strings.TrimPrefix(r.Labctl, "v")
	}
	index := map[string]int{}
	for i, rule := range r.Rules {
		index[rule.ID] = i
		s := sarifRule{ID: rule.ID, ShortDescription: sarifText{rule.Title}, FullDescription: sarifText{rule.Help}, Help: sarifText{rule.Help}, HelpURI: project + "/blob/main/docs/validate.md"}
		s.Default.Level = string(rule.Severity)
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, s)
	}
	same := map[string]int{}
	for _, f := range r.Findings {
		result := sarifResult{RuleID: f.Rule, Level: string(f.Severity), Message: sarifText{f.Message}, Locations: []sarifLocation{o.location(f)}}
		if i, ok := index[f.Rule]; ok {
			result.RuleIndex = &i
		}
		id := fingerprint(f)
		same[id]++
		// The shape of GitHub's own: what it is, and the how manieth of these.
		result.Fingerprints = map[string]string{"labctlFinding/v1": fmt.Sprintf("%s:%d", id, same[id])}
		run.Results = append(run.Results, result)
	}
	return encode(w, sarifLog{Schema: "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}})
}

func (o Options) location(f docs.Finding) sarifLocation {
	var l sarifLocation
	l.Physical.Artifact.URI, l.Physical.Artifact.URIBaseID = uri(o.file(f.Path))
	if f.Line > 0 {
		region := &sarifRegion{StartLine: f.Line, StartColumn: max(f.Column, 0)}
		if e := f.End; e.Line > f.Line || (e.Line == f.Line && e.Column > f.Column && f.Column > 0) {
			region.EndLine, region.EndColumn = e.Line, e.Column
		}
		l.Physical.Region = region
	}
	if name := strings.TrimSpace(f.Object + " " + f.Field); name != "" {
		l.Logical = []sarifLogical{{name, "object"}}
	}
	return l
}

// uri is a path as a URI reference, and the base that it is relative to.
func uri(path string) (reference, base string) {
	if strings.HasPrefix(path, "/") {
		return (&url.URL{Scheme: "file", Path: path}).String(), ""
	}
	// String puts ./ before a first part with a colon (RFC 3986 4.2).
	return (&url.URL{Path: path}).String(), "%SRCROOT%"
}

// fingerprint is the same as long as the example is, wherever it stands.
func fingerprint(f docs.Finding) string {
	h := sha256.New()
	for _, part := range []string{f.Rule, f.Path, f.SHA256, f.Object, f.Field} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	if f.SHA256 == "" {
		fmt.Fprint(h, f.Message)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
