package formats

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	opatypes "github.com/open-policy-agent/opa/v1/types"
	"go.yaml.in/yaml/v3"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

var (
	regoInvalid = docs.Rule{
		ID: "rego-invalid", Severity: docs.Error,
		Title: "a Rego policy doesn't compile",
		Help: "OPA's compiler refuses the policy, so nothing is enforced by it. A module is read as Rego v1 and as v0; " +
			"one that imports rego.v1 is v1, where a rule's body follows `if` and a partial set is `deny contains msg`. " +
			"Gatekeeper reads a ConstraintTemplate as v0 unless its source has version: v1, and needs a rule named violation. " +
			"Functions of other packages are not looked for in a block of Rego.",
	}
	regoV0 = docs.Rule{
		ID: "rego-v0-syntax", Severity: docs.Note,
		Title: "a policy is written in Rego v0, which OPA 1.0 and later don't read by default",
		Help: "OPA reads Rego v1 since 1.0 (December 2024): `if` before a rule's body, `contains` in partial sets. " +
			"v0 needs --v0-compatible, or `import rego.v1` and the new syntax; `opa fmt --v0-v1` rewrites it. Gatekeeper still reads v0.",
	}
)

var rego = format{
	name: "Rego", rules: []docs.Rule{regoInvalid, regoV0},
	is: func(t text) bool {
		return t.Language == "rego" || slices.ContainsFunc(t.docs, isConstraintTemplate)
	},
	check: func(t text) (found []docs.Finding) {
		if t.Language == "rego" {
			return regoModules(t)
		}
		for _, d := range t.docs {
			if isConstraintTemplate(d) {
				found = append(found, constraintTemplate(t, d)...)
			}
		}
		return found
	},
}

var packageLine = regexp.MustCompile(`(?m)^package[ \t]+[\w."\[\]]+`)

// regoModules judges a block of Rego: one module, or several one after the
// other, each of which begins with its package. Without a package it is a part
// of a module, which no compiler can judge.
func regoModules(t text) (found []docs.Finding) {
	if abridged(t.Text) {
		return nil
	}
	starts := packageLine.FindAllStringIndex(t.Text, -1)
	for i, start := range starts {
		begin, end := start[0], len(t.Text)
		if i == 0 {
			begin = 0 // comments and annotations above
		}
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		source := t.Text[begin:end]
		shift := strings.Count(t.Text[:begin], "\n")
		v1, v0 := compileRego(source, ast.RegoV1), compileRego(source, ast.RegoV0)
		switch {
		case len(v1) == 0:
		case len(v0) == 0:
			at := v1[0]
			found = append(found, t.finding(regoV0, at.line+shift, at.column, "OPA 1.0 and later refuse this policy without --v0-compatible: %s", at.message))
		default:
			for _, e := range nearest(v1, v0) {
				found = append(found, t.finding(regoInvalid, e.line+shift, e.column, "OPA refuses the policy: %s", e.message))
			}
		}
	}
	return found
}

// regoError is one of a module, at a place of its source.
type regoError struct {
	line, column int
	message      string
}

// nearest are the mistakes of the version that a module is meant for: the one
// whose parser comes further.
func nearest(v1, v0 []regoError) []regoError {
	if v0[0].line > v1[0].line || v0[0].line == v1[0].line && v0[0].column > v1[0].column {
		return v0
	}
	return v1
}

// Terms inside terms, and comprehensions inside comprehensions, that are
// compiled: the compiler's time grows with the cube of the one (1+1+1…), and
// exponentially with the other. No policy that is written by hand has as many.
const (
	maxTerms          = 100
	maxComprehensions = 5
)

// intricate says that a module would take the compiler too long; it is only
// parsed then.
func intricate(m *ast.Module) bool {
	terms, comprehensions, deepest := 0, 0, false
	count := func(x any, by int) {
		switch x.(type) {
		case *ast.Term, *ast.Rule: // else is a rule inside its rule
			terms += by
		case *ast.ArrayComprehension, *ast.SetComprehension, *ast.ObjectComprehension, *ast.Every:
			comprehensions += by
		}
		deepest = deepest || terms > maxTerms || comprehensions > maxComprehensions
	}
	ast.NewBeforeAfterVisitor(
		func(x any) bool { count(x, 1); return false },
		func(x any) { count(x, -1) },
	).Walk(m)
	return deepest
}

// elsewhere says that an error may be none beside the other files of a module's
// package, or in a later version: what a name stands for isn't in the module
// (an unknown function, an "unsafe" variable), or a keyword is imported that
// this version of OPA doesn't have.
func elsewhere(e *ast.Error) bool {
	return strings.HasPrefix(e.Message, "undefined function") || e.Code == ast.UnsafeVarErr ||
		strings.HasPrefix(e.Message, "unexpected keyword, must be one of")
}

// compileRego gives the mistakes of a module that stands alone.
func compileRego(source string, version ast.RegoVersion) []regoError {
	module, err := ast.ParseModuleWithOpts("", source, ast.ParserOptions{RegoVersion: version})
	var errs ast.Errors
	if errors.As(err, &errs) && slices.ContainsFunc(errs, elsewhere) {
		return nil
	}
	if err != nil || module == nil || intricate(module) {
		return regoErrors(source, err)
	}
	c := ast.NewCompiler().WithDefaultRegoVersion(version).WithEnablePrintStatements(true)
	c.Compile(map[string]*ast.Module{"": module})
	errs = slices.DeleteFunc(c.Errors, elsewhere)
	if len(errs) == 0 {
		return nil
	}
	return regoErrors(source, errs)
}

func regoErrors(source string, err error) (found []regoError) {
	var several ast.Errors
	var one *ast.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &several):
	case errors.As(err, &one):
		several = ast.Errors{one}
	default:
		return []regoError{{1, 0, err.Error()}}
	}
	for _, e := range several {
		found = append(found, regoPlace(source, e))
	}
	slices.SortStableFunc(found, func(a, b regoError) int { return (a.line-b.line)*10_000 + a.column - b.column })
	// A line with one mistake often has several errors.
	return slices.CompactFunc(found, func(a, b regoError) bool { return a.line == b.line })
}

// regoPlace gives the line and the column in bytes of an error.
func regoPlace(source string, e *ast.Error) regoError {
	if e.Location == nil {
		return regoError{1, 0, e.Message}
	}
	at := regoError{e.Location.Row, e.Location.Col, e.Message}
	if offset := e.Location.Offset; offset > 0 && offset <= len(source) {
		before := source[:offset]
		if strings.Count(before, "\n")+1 == at.line {
			at.column = offset - strings.LastIndexByte(before, '\n')
		}
	}
	return at
}

func isConstraintTemplate(d yamldoc.Doc) bool {
	o, ok := d.Object()
	return ok && o.Kind == "ConstraintTemplate" && path.Dir(o.APIVersion) == "templates.gatekeeper.sh"
}

// gatekeeper has what Gatekeeper adds to OPA: the function external_data
// (github.com/open-policy-agent/frameworks, constraint/pkg/client/drivers/rego).
var gatekeeper = sync.OnceValue(func() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.Builtins = append(c.Builtins, &ast.Builtin{
		Name: "external_data",
		Decl: opatypes.NewFunction(opatypes.Args(opatypes.A), opatypes.A),
	})
	return c
})

// constraintTemplate judges the policies of a ConstraintTemplate as Gatekeeper
// does: a module with a rule named violation, and libraries below data.lib.
func constraintTemplate(t text, d yamldoc.Doc) (found []docs.Finding) {
	for i, target := range items(d.Value("spec.targets")) {
		if len(found) > maxFindings {
			break
		}
		at := fmt.Sprintf("spec.targets[%d]", i)
		found = append(found, constraintSource(t, d, target, at, ast.RegoV0)...)
		for j, code := range items(field(target, "code")) {
			source := field(code, "source")
			if engine := field(code, "engine"); engine == nil || engine.Value != "Rego" {
				continue
			}
			version := ast.RegoV0
			if v := field(source, "version"); v != nil && v.Value == "v1" {
				version = ast.RegoV1
			}
			found = append(found, constraintSource(t, d, source, fmt.Sprintf("%s.code[%d].source", at, j), version)...)
		}
	}
	return found
}

// constraintSource judges the fields rego and libs of a mapping.
func constraintSource(t text, d yamldoc.Doc, source *yaml.Node, at string, version ast.RegoVersion) (found []docs.Finding) {
	entry := field(source, "rego")
	if !isString(entry) || abridged(entry.Value) {
		return nil
	}
	parts := []text{t.scalar(d, entry, at+".rego")}
	open := false // the policy isn't compiled: a library is no string, or a module is intricate
	for i, lib := range items(field(source, "libs")) {
		if !isString(lib) || abridged(lib.Value) {
			open = true
			continue
		}
		parts = append(parts, t.scalar(d, lib, fmt.Sprintf("%s.libs[%d]", at, i)))
	}
	hint := ""
	if version == ast.RegoV0 && len(compileRego(parts[0].Text, ast.RegoV1)) == 0 {
		hint = "; it is Rego v1, which stands in targets[].code with source.version: v1"
	}
	report := func(part text, errs []regoError) {
		for _, e := range errs {
			found = append(found, part.finding(regoInvalid, e.line, e.column, "Gatekeeper refuses the policy: %s%s", e.message, hint))
		}
	}
	modules := map[string]*ast.Module{}
	for i, part := range parts {
		module, err := ast.ParseModuleWithOpts(part.field, part.Text, ast.ParserOptions{RegoVersion: version})
		if err != nil {
			report(part, regoErrors(part.Text, err))
			continue
		}
		if module == nil {
			report(part, []regoError{{1, 0, "it is empty"}})
			continue
		}
		if i > 0 && !strings.HasPrefix(module.Package.Path.String(), "data.lib.") {
			report(part, []regoError{{module.Package.Location.Row, module.Package.Location.Col, "the package of a library has to be below lib, such as lib.images"}})
		}
		if i == 0 && !slices.ContainsFunc(module.Rules, func(r *ast.Rule) bool { return r.Head.Ref()[0].String() == "violation" }) {
			report(part, []regoError{{module.Package.Location.Row, module.Package.Location.Col, "it has no rule named violation"}})
		}
		open = open || intricate(module)
		modules[part.field] = module
	}
	if len(found) > 0 || open {
		return found
	}
	c := ast.NewCompiler().WithDefaultRegoVersion(version).WithEnablePrintStatements(true).WithCapabilities(gatekeeper())
	c.Compile(modules)
	for _, e := range c.Errors {
		for _, part := range parts {
			if e.Location != nil && e.Location.File == part.field {
				report(part, []regoError{regoPlace(part.Text, e)})
			}
		}
	}
	return found
}
