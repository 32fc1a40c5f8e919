package lab

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/ext"
	"k8s.io/apimachinery/pkg/api/resource"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/library"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// The limits of one evaluation. Expressions come with labs, and labs may come
// from strangers. The cost unit is CEL's own, about one step; Kubernetes
// allows 10^7 for one request's expressions (RuntimeCELCostBudget).
const (
	costLimit = 100_000
	timeLimit = 2 * time.Second
)

var celTypes = map[evidence.Type]*cel.Type{
	evidence.Bool:     cel.BoolType,
	evidence.Int:      cel.IntType,
	evidence.Double:   cel.DoubleType,
	evidence.String:   cel.StringType,
	evidence.Duration: cel.DurationType,
	evidence.Quantity: apiservercel.QuantityType,
	evidence.List:     cel.ListType(cel.StringType),
}

// definedPrefix is put before a variable's name to name the bool that says
// whether the value is there. No expression can spell it.
const definedPrefix = "@defined."

// Language is CEL over the evidence of one claim. Every value that a probe
// declares is a variable SUBJECT.NAME of its type. Beside CEL's own functions
// there are those of the ext packages strings, math and sets, Kubernetes'
// quantities (quantity("64Mi"), isLessThan, …), and defined(SUBJECT.NAME).
type Language struct {
	env     *cel.Env
	outputs []evidence.Output // with full names
}

// libraries is what all languages share.
var libraries = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		ext.Strings(), ext.Math(), ext.Sets(), library.Quantity(),
		cel.CrossTypeNumericComparisons(true),
		cel.Macros(append(slices.Clone(cel.StandardMacros), definedMacro)...),
	)
})

// NewLanguage makes the language over outputs with full names (SUBJECT.NAME).
// It refuses names that expressions can't say.
func NewLanguage(outputs []evidence.Output) (*Language, error) {
	base, err := libraries()
	if err != nil {
		return nil, fmt.Errorf("CEL environment: %w", err)
	}
	var options []cel.EnvOption
	for i, o := range outputs {
		t, ok := celTypes[o.Type]
		if !ok {
			return nil, fmt.Errorf("the probe declares %s with the unknown type %q", o.Name, o.Type)
		}
		for _, part := range strings.Split(o.Name, ".") {
			if !subject.MatchString(part) || slices.Contains([]string{"in", "true", "false", "null"}, part) {
				return nil, fmt.Errorf("the probe declares %s, which CEL can't name because of %q", o.Name, part)
			}
		}
		for _, other := range outputs[:i] {
			if other.Name == o.Name {
				return nil, fmt.Errorf("the probe declares %s twice", o.Name)
			}
		}
		options = append(options, cel.Variable(o.Name, t), cel.Variable(definedPrefix+o.Name, cel.BoolType))
	}
	env, err := base.Extend(options...)
	if err != nil {
		return nil, fmt.Errorf("CEL environment: %w", err)
	}
	return &Language{env: env, outputs: outputs}, nil
}

// definedMacro turns defined(a.b) into the variable @defined.a.b.
var definedMacro = cel.GlobalMacro("defined", 1, func(f cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
	name, ok := dotted(args[0])
	if !ok {
		return nil, f.NewError(args[0].ID(), "defined() wants the name of a value, as in defined(gvisor.kernel.release)")
	}
	return f.NewIdent(definedPrefix + name), nil
})

func dotted(e ast.Expr) (string, bool) {
	switch e.Kind() {
	case ast.IdentKind:
		return e.AsIdent(), true
	case ast.SelectKind:
		name, ok := dotted(e.AsSelect().Operand())
		return name + "." + e.AsSelect().FieldName(), ok
	}
	return "", false
}

// Issue is a mistake in an expression. Offset is where, in runes.
type Issue struct {
	Offset  int
	Message string
}

// Expression is a compiled expression that gives a bool.
type Expression struct {
	text    string
	program cel.Program
	outputs []evidence.Output
	// Names are the values that it refers to, sorted.
	Names []string
}

// Compile checks an expression: every name and type in it, and that it gives
// a bool and looks at evidence at all.
func (l *Language) Compile(text string) (*Expression, []Issue) {
	checked, issues := l.env.Compile(text)
	if issues.Err() != nil {
		var out []Issue
		for _, e := range issues.Errors() {
			at := offset(text, e.Location)
			out = append(out, Issue{Offset: at, Message: l.explain(e.Message, string([]rune(text)[min(at, len([]rune(text))):]))})
		}
		return nil, out
	}
	if checked.OutputType() != cel.BoolType {
		return nil, []Issue{{Message: fmt.Sprintf("gives %s; it must give a bool", checked.OutputType())}}
	}
	var names []string
	for _, r := range checked.NativeRep().ReferenceMap() {
		name := strings.TrimPrefix(r.Name, definedPrefix)
		if slices.ContainsFunc(l.outputs, func(o evidence.Output) bool { return o.Name == name }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) == 0 {
		return nil, []Issue{{Message: "looks at no evidence, so it can't fail; use the values that the probes give"}}
	}
	program, err := l.env.Program(checked, cel.CostLimit(costLimit), cel.InterruptCheckFrequency(100), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, []Issue{{Message: err.Error()}}
	}
	return &Expression{text: text, program: program, outputs: l.outputs, Names: names}, nil
}

// dottedName is a name and the fields that are selected from it, but not a
// function that is called on it.
var dottedName = regexp.MustCompile(`^\w+(\.\w+)*`)

// explain puts CEL's messages into the words of labs. at is the expression
// from the place of the mistake on: CEL names only the first part of a name
// that it doesn't know.
func (l *Language) explain(message, at string) string {
	message = strings.NewReplacer("google.protobuf.", "", " (in container '')", "", definedPrefix, "").Replace(message)
	name, ok := strings.CutPrefix(message, "undeclared reference to '")
	if !ok {
		return message
	}
	name = strings.TrimSuffix(name, "'")
	if found := dottedName.FindString(at); strings.HasPrefix(found, name) {
		if name = found; strings.HasPrefix(at[len(found):], "(") {
			name = found[:max(strings.LastIndex(found, "."), 0)]
		}
	}
	return l.unknown(name)
}

// unknown says that there is no value called name, and what there is.
func (l *Language) unknown(name string) string {
	var known []string
	for _, o := range l.outputs {
		known = append(known, o.Name)
	}
	return fmt.Sprintf("no probe of this claim gives %s; %s", name, Suggest(name, known))
}

// offset is a location of CEL (line from 1, column from 0) in runes from the start.
func offset(text string, at common.Location) int {
	lines := strings.SplitAfter(text, "\n")
	n := max(at.Column(), 0)
	for i := range min(at.Line()-1, len(lines)) {
		n += len([]rune(lines[i]))
	}
	return n
}

// Eval evaluates the expression over evidence with full names.
func (e *Expression) Eval(ctx context.Context, set evidence.Set) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	values := map[string]any{}
	for _, o := range e.outputs {
		v, ok := set.Get(o.Name)
		values[definedPrefix+o.Name] = ok
		if !ok {
			continue
		}
		bound, err := bind(v)
		if err != nil {
			return false, err
		}
		values[o.Name] = bound
	}
	out, _, err := e.program.ContextEval(ctx, values)
	if err != nil {
		return false, e.evalError(err, values)
	}
	b, ok := out.Value().(bool)
	if !ok {
		return false, fmt.Errorf("%s gave %s, not a bool", e.text, out.Type().TypeName())
	}
	return b, nil
}

// evalError names the values that are missing, where that is the cause.
func (e *Expression) evalError(err error, values map[string]any) error {
	if strings.HasPrefix(err.Error(), "no such attribute") {
		var missing []string
		for _, name := range e.Names {
			if _, ok := values[name]; !ok {
				missing = append(missing, name)
			}
		}
		return fmt.Errorf("the probe declared %s but didn't return it; guard it with defined(…) if it may be absent", strings.Join(missing, ", "))
	}
	return fmt.Errorf("%s: %w", strings.Join(strings.Fields(e.text), " "), err)
}

// bind turns a value into what CEL holds for its type.
func bind(v evidence.Value) (any, error) {
	if v.Type != evidence.Quantity {
		return v.Value, nil
	}
	text, _ := v.Value.(string) // evidence holds quantities as text
	q, err := resource.ParseQuantity(text)
	if err != nil {
		return nil, fmt.Errorf("evidence %s is %q, which is no quantity: %w", v.Name, text, err)
	}
	return apiservercel.Quantity{Quantity: &q}, nil
}
