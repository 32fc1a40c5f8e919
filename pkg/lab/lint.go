package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"unicode"
)

// Against is what Lint checks labs against.
type Against struct {
	// Schema knows the probes.
	Schema Schema
	// Manifests is the folder that spec.manifests are relative to.
	Manifests fs.FS
	// Condition says what is wrong with CEL over object (one), or over
	// objects; nil leaves the checks of steps uncompiled.
	Condition func(text string, one bool) error
	// Addons are the names of the add-ons there are; nil leaves those that
	// labs name unchecked.
	Addons []string
	// Applied knows the manifests that probes apply; nil leaves them, and
	// whether anything applies the examples, unchecked.
	Applied Applied
	// Docs is the folder that documents are relative to; nil leaves the
	// sources of claims unchecked.
	Docs fs.FS
}

// Lint loads every lab of a catalogue and finds all the mistakes that can be
// found without running anything.
func Lint(catalogue fs.FS, against Against) Problems {
	labs, problems := Catalogue(catalogue)
	for _, l := range labs {
		problems = append(problems, l.Lint(against)...)
	}
	return problems.sorted()
}

// Lint finds the mistakes of one lab that was loaded.
func (l *Lab) Lint(against Against) Problems {
	_, problems := l.Compile(against.Schema)
	for i, m := range l.Spec.Manifests {
		if _, err := fs.Stat(against.Manifests, m); err != nil {
			problems = append(problems, l.problemf(fmt.Sprintf("spec.manifests[%d]", i), "there is no manifest %s: %v", m, reason(err)))
		}
	}
	problems = append(problems, l.lintApplied(against)...)
	problems = append(problems, l.lintSteps(against)...)
	problems = append(problems, l.lintAddons(against.Addons)...)
	if against.Docs != nil {
		problems = append(problems, l.lintSources(against.Docs)...)
	} else {
		problems = append(problems, l.lintDigests()...)
	}
	return problems.sorted()
}

// reason is an error without the path that the message already has.
func reason(err error) error {
	var path *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fs.ErrNotExist // in the same words for every file system
	case errors.As(err, &path):
		return path.Err
	}
	return err
}

var digest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// lintDigests checks what can be checked without the documents.
func (l *Lab) lintDigests() Problems {
	var problems Problems
	for _, s := range l.sources() {
		if !digest.MatchString(s.SHA256) {
			problems = append(problems, l.problemf(s.field+".sha256", "is %q; write the 64 hex digits that labctl lint --docs DIR names", s.SHA256))
		}
	}
	return problems
}

func (l *Lab) lintSources(docs fs.FS) Problems {
	var problems Problems
	read := map[string][]string{}
	for _, s := range l.sources() {
		field, path := s.field, l.documentOf(s.Source)
		lines, ok := read[path]
		if !ok {
			data, err := fs.ReadFile(docs, path)
			if err != nil {
				problems = append(problems, l.problemf(field, "the document %s can't be read: %v", path, reason(err)))
			} else {
				lines = strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
			}
			read[path] = lines
		}
		if lines == nil {
			continue
		}
		if name, message := s.check(path, lines); message != "" {
			problems = append(problems, l.problemf(field+"."+name, "%s", message))
		}
	}
	return problems
}

// SourcePath is the document that makes a claim.
func (l *Lab) SourcePath(c Claim) string { return l.documentOf(c.Source) }

func (l *Lab) documentOf(s Source) string {
	if s.Path != "" {
		return s.Path
	}
	return l.Spec.Document
}

// check compares a source with the document's lines; it returns the field
// that is wrong and why, or empty texts.
func (s Source) check(path string, lines []string) (field, message string) {
	first, count := s.Line-1, max(s.Lines, 1)
	if first+count > len(lines) {
		return "line", fmt.Sprintf("lines %d to %d are not in %s, which has %d lines", s.Line, first+count, path, len(lines))
	}
	if got := Digest(lines[first : first+count]); got != s.SHA256 {
		for i := 0; i+count <= len(lines); i++ {
			if Digest(lines[i:i+count]) == s.SHA256 {
				return "line", fmt.Sprintf("the text moved in %s: it is at line %d now, not %d", path, i+1, s.Line)
			}
		}
		return "sha256", fmt.Sprintf("%s changed at line %d: the digest is %s now; read the text again, then write that", path, s.Line, got)
	}
	heading := nearestHeading(lines[:first+1])
	if !underHeading(heading, s.Heading) {
		return "heading", fmt.Sprintf("is %q, but the nearest heading above line %d of %s is %q", s.Heading, s.Line, path, heading)
	}
	return "", ""
}

// Digest is the hex SHA-256 of lines, each without a trailing \r and ended by
// one \n.
func Digest(lines []string) string {
	h := sha256.New()
	for _, line := range lines {
		h.Write([]byte(strings.TrimSuffix(line, "\r") + "\n")) // a hash never fails to write
	}
	return hex.EncodeToString(h.Sum(nil))
}

// nearestHeading is the last of headings.
func nearestHeading(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return headings(lines)[len(lines)-1]
}

// headings gives for each line the text of the nearest ATX heading (CommonMark
// 4.2) at or above it, outside of fenced code and without its marks.
func headings(lines []string) []string {
	out := make([]string, len(lines))
	heading, fence := "", ""
	for i, line := range lines {
		text := strings.TrimSpace(line)
		switch {
		case fence != "":
			if strings.HasPrefix(text, fence) && strings.Trim(text, fence[:1]) == "" {
				fence = ""
			}
		case strings.HasPrefix(text, "```"), strings.HasPrefix(text, "~~~"):
			fence = text[:3]
		default:
			bare := strings.TrimLeft(text, "#")
			if level := len(text) - len(bare); level >= 1 && level <= 6 && strings.HasPrefix(bare, " ") {
				heading = strings.TrimSpace(bare)
			}
		}
		out[i] = heading
	}
	return out
}

// underHeading says whether a heading begins with start, whole numbers only:
// 3.2 is not the start of 3.21.
func underHeading(heading, start string) bool {
	start = strings.Trim(start, "*_` ")
	rest, ok := strings.CutPrefix(strings.Trim(heading, "*_` "), start)
	if !ok || rest == "" || start == "" {
		return ok
	}
	last := start[len(start)-1]
	return last < '0' || last > '9' || !unicode.IsDigit([]rune(rest)[0])
}
