package lab

import (
	"bytes"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// FileName is what a lab's spec is called in its folder of the catalogue.
const FileName = "lab.yaml"

// origin is where a lab was loaded from.
type origin struct {
	file  string
	lines []string
	nodes map[string]*yaml.Node
}

// File is the path that the lab was loaded from, within its file system.
func (l *Lab) File() string { return l.origin.file }

// At is the position of a field (spec.claims[3].decide); where the spec
// doesn't have it, that of the nearest field around it.
func (l *Lab) At(field string) Position {
	for {
		if n, ok := l.origin.nodes[field]; ok {
			return Position{File: l.origin.file, Line: n.Line, Column: n.Column}
		}
		i := strings.LastIndexAny(field, ".[")
		if i < 0 {
			return Position{File: l.origin.file}
		}
		field = field[:i]
	}
}

func (l *Lab) problemf(field, format string, args ...any) Problem {
	return Problem{Position: l.At(field), Field: field, Message: fmt.Sprintf(format, args...)}
}

// Load reads one lab spec strictly. It returns the problems of structure and
// of the spec's own rules; those that need the probes, the manifests or the
// documents are found by Lint. The lab is nil if there are problems.
func Load(fsys fs.FS, path string) (*Lab, Problems) {
	data, err := fs.ReadFile(fsys, path)
	if err != nil {
		return nil, Problems{{Position: Position{File: path}, Message: fmt.Sprintf("can't be read: %v", err)}}
	}
	lines := strings.Split(string(data), "\n")
	d := &decoder{file: path, nodes: make(map[string]*yaml.Node, len(lines))} // about a field a line
	root := d.document(bytes.NewReader(data))
	if root == nil {
		return nil, d.problems
	}
	l := &Lab{origin: origin{file: path, lines: lines, nodes: d.nodes}}
	d.value(root, reflect.ValueOf(l).Elem(), "")
	if len(d.problems) == 0 {
		// The rules would only repeat what the structure already says.
		d.problems = l.rules()
	}
	if len(d.problems) > 0 {
		return nil, d.problems.sorted()
	}
	return l, nil
}

// Catalogue loads every lab (FileName) of a file system, ordered by name. The
// labs that have no problems are returned even where others have some.
func Catalogue(fsys fs.FS) ([]*Lab, Problems) {
	var labs []*Lab
	var problems Problems
	var paths []string
	err := fs.WalkDir(fsys, ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && entry.Name() == FileName {
			paths = append(paths, path)
		}
		return err
	})
	// Decoding is most of the time of a command that only reads the catalogue.
	type loaded struct {
		lab      *Lab
		problems Problems
	}
	all := make([]loaded, len(paths))
	var group sync.WaitGroup
	for i, path := range paths {
		group.Go(func() { all[i].lab, all[i].problems = Load(fsys, path) })
	}
	group.Wait()
	for _, l := range all {
		problems = append(problems, l.problems...)
		if l.lab != nil {
			labs = append(labs, l.lab)
		}
	}
	if err != nil {
		problems = append(problems, Problem{Position: Position{File: "."}, Message: fmt.Sprintf("the catalogue can't be read: %v", err)})
	}
	problems = append(problems, Unique(labs)...)
	slices.SortFunc(labs, func(a, b *Lab) int { return strings.Compare(a.Metadata.Name, b.Metadata.Name) })
	return labs, problems.sorted()
}

// Unique finds the names and claim ids that several labs share.
func Unique(labs []*Lab) Problems {
	var problems Problems
	names, ids := map[string]Position{}, map[string]Position{}
	for _, l := range labs {
		if first, ok := names[l.Metadata.Name]; ok {
			problems = append(problems, l.problemf("metadata.name", "the lab %s is already at %s; choose another name", l.Metadata.Name, first))
		} else {
			names[l.Metadata.Name] = l.At("metadata.name")
		}
		for i, c := range l.Spec.Claims {
			field := claimField(i) + ".id"
			if first, ok := ids[c.ID]; ok {
				problems = append(problems, l.problemf(field, "the claim %s is already at %s; ids are unique in the catalogue", c.ID, first))
			} else {
				ids[c.ID] = l.At(field)
			}
		}
	}
	return problems
}

func claimField(i int) string { return fmt.Sprintf("spec.claims[%d]", i) }
