package validate

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/extract"
	"github.com/isolation-stack/labctl/pkg/docs/formats"
	"github.com/isolation-stack/labctl/pkg/docs/judge"
	"github.com/isolation-stack/labctl/pkg/docs/rules"
	"github.com/isolation-stack/labctl/pkg/docs/tree"
)

// Rules are all that a run can find broken, sorted by id.
func Rules() []docs.Rule {
	return sorted(byID(tree.Rules, extract.Rules, rules.Rules, formats.Rules, []docs.Rule{staleBaseline}, judge.Rules))
}

// byID joins lists of rules. One that several packages find is the last one's:
// a judge sees more than a rule does.
func byID(lists ...[]docs.Rule) map[string]docs.Rule {
	out := map[string]docs.Rule{}
	for _, r := range slices.Concat(lists...) {
		out[r.ID] = r
	}
	return out
}

// judged are the rules of judges.
var judged = byID(judge.Rules)

// choose gives the rules that the options want, by id. Where none of them is a
// judge's there is no judge, and without one none of its rules.
func (o *Options) choose() (map[string]docs.Rule, error) {
	wanted := func(id string) bool {
		return (len(o.Rules) == 0 || slices.Contains(o.Rules, id)) && !slices.Contains(o.Without, id)
	}
	all := Rules()
	for _, id := range slices.Concat(o.Rules, o.Without) {
		if !slices.ContainsFunc(all, func(r docs.Rule) bool { return r.ID == id }) {
			return nil, fmt.Errorf("unknown rule %q", id)
		}
	}
	if !slices.ContainsFunc(judge.Rules, func(r docs.Rule) bool { return wanted(r.ID) }) {
		o.Judge = nil
	}
	chosen := byID(tree.Rules, extract.Rules, rules.Rules, formats.Rules, []docs.Rule{staleBaseline})
	if o.Judge != nil {
		chosen = byID(all)
	}
	maps.DeleteFunc(chosen, func(id string, _ docs.Rule) bool { return !wanted(id) })
	return chosen, nil
}

// sorted are rules in the order of their ids.
func sorted(rules map[string]docs.Rule) []docs.Rule {
	return slices.SortedFunc(maps.Values(rules), func(a, b docs.Rule) int { return strings.Compare(a.ID, b.ID) })
}

// files are the documents that the options name, sorted by path.
func (o *Options) files(ctx context.Context) ([]tree.File, []docs.Finding, error) {
	if len(o.Paths) == 0 {
		return tree.Files(ctx, o.Root, o.Tree)
	}
	var files []tree.File
	for _, p := range slices.Compact(slices.Sorted(slices.Values(o.Paths))) {
		found, _, err := tree.Files(ctx, filepath.Join(o.Root, filepath.FromSlash(p)), o.Tree)
		if err != nil {
			return nil, nil, err
		}
		for _, f := range found {
			files = append(files, tree.File{Path: strings.ToValidUTF8(p, "\uFFFD"), Read: f.Read})
		}
	}
	return files, nil, nil
}
