package cluster

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/ext"
	"k8s.io/apimachinery/pkg/api/resource"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/library"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// The limits of one evaluation. Expressions come with labs, and labs may come
// from strangers; lists of objects are long. The cost unit is CEL's own, about
// one step, some five for each object that is looked at; Kubernetes allows
// 10^7 for one request's expressions
// (RuntimeCELCostBudget).
const (
	costLimit = 1_000_000
	timeLimit = 5 * time.Second
)

// language is CEL over object (the object as the API gives it, or null) and
// objects (a list of them). Beside CEL's own functions and optional fields
// there are those of the ext packages strings, math, sets, lists, regex and
// twoVarComprehensions, and Kubernetes' quantities.
var language = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.OptionalTypes(), ext.Strings(), ext.Math(), ext.Sets(), ext.Lists(), ext.Regex(), ext.TwoVarComprehensions(), library.Quantity(),
		cel.CrossTypeNumericComparisons(true),
		cel.Variable("object", cel.DynType), cel.Variable("objects", cel.ListType(cel.DynType)),
	)
})

// stringList is the Go type of a list as evidence.
var stringList = reflect.TypeFor[[]string]()

// Objects is what an expression looks at: the objects of a kind by a selector,
// or (One) a single object by its name, which may not be there.
type Objects struct {
	One   bool
	Items []map[string]any
}

// variables gives CEL what its own adapter turns into values as expressions
// look at them.
func (o Objects) variables() map[string]any {
	if !o.One {
		return map[string]any{"objects": o.Items}
	}
	if len(o.Items) == 0 {
		return map[string]any{"object": types.NullValue}
	}
	return map[string]any{"object": o.Items[0]}
}

// Expression is a compiled expression over objects.
type Expression struct {
	text    string
	program cel.Program
}

// celTypes are the types that an expression may have to give a value of a
// type of evidence.
var celTypes = map[evidence.Type][]*cel.Type{
	evidence.Bool:     {cel.BoolType},
	evidence.Int:      {cel.IntType, cel.UintType},
	evidence.Double:   {cel.DoubleType, cel.IntType, cel.UintType},
	evidence.String:   {cel.StringType},
	evidence.Duration: {cel.DurationType, cel.StringType},
	evidence.Quantity: {apiservercel.QuantityType, cel.StringType, cel.IntType},
	evidence.List:     {cel.ListType(cel.StringType), cel.ListType(cel.DynType)},
}

// Compile checks an expression that gives a value of a type. one says whether
// it is over object or over objects.
func Compile(text string, t evidence.Type, one bool) (*Expression, error) {
	wanted, ok := celTypes[t]
	if !ok {
		return nil, fmt.Errorf("type: %q is unknown; known: bool, int, double, string, duration, quantity, list", t)
	}
	env, err := language()
	if err != nil {
		return nil, fmt.Errorf("CEL environment: %w", err)
	}
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, fmt.Errorf("CEL: %s", strings.Join(strings.Fields(issues.Err().Error()), " "))
	}
	given := checked.OutputType()
	if given.TypeName() == "optional_type" {
		given = given.Parameters()[0]
	}
	fits := func(w *cel.Type) bool { return w.IsAssignableType(given) }
	if given.Kind() != types.DynKind && !slices.ContainsFunc(wanted, fits) {
		return nil, fmt.Errorf("CEL: %s gives %s, not %s", text, given, t)
	}
	has, other := "object", "objects"
	if !one {
		has, other = other, has
	}
	used := map[string]bool{}
	for _, r := range checked.NativeRep().ReferenceMap() {
		used[r.Name] = true
	}
	switch {
	case used[other] && one:
		return nil, fmt.Errorf("CEL: %s looks at objects, but a name is given; it is object then", text)
	case used[other]:
		return nil, fmt.Errorf("CEL: %s looks at object, but a selector is given; it is objects then", text)
	case !used[has]:
		return nil, fmt.Errorf("CEL: %s doesn't look at %s, so it can't fail", text, has)
	}
	program, err := env.Program(checked, cel.CostLimit(costLimit), cel.InterruptCheckFrequency(100), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, fmt.Errorf("CEL: %w", err)
	}
	return &Expression{text: text, program: program}, nil
}

// Holds evaluates an expression that gives a bool.
func (e *Expression) Holds(ctx context.Context, objects Objects) (bool, error) {
	v, err := e.Value(ctx, evidence.Bool, objects)
	if err != nil {
		return false, err
	}
	b, _ := v.(bool) // null and an optional without a value don't hold
	return b, nil
}

// Value evaluates the expression; nil where it gives null or an optional
// without a value.
func (e *Expression) Value(ctx context.Context, t evidence.Type, objects Objects) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	out, _, err := e.program.ContextEval(ctx, objects.variables())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(strings.Fields(e.text), " "), err)
	}
	if o, ok := out.(*types.Optional); ok {
		if !o.HasValue() {
			return nil, nil
		}
		out = o.GetValue()
	}
	if out.Type() == types.NullType {
		return nil, nil
	}
	v, err := convert(t, out)
	if err != nil {
		return nil, fmt.Errorf("%s: gave %v: %w", strings.Join(strings.Fields(e.text), " "), out.Value(), err)
	}
	return v, nil
}

// convert turns what CEL gave into the Go type of evidence.
func convert(t evidence.Type, v ref.Val) (any, error) {
	switch x := v.Value().(type) {
	case bool:
		if t == evidence.Bool {
			return x, nil
		}
	case int64:
		switch t {
		case evidence.Int:
			return x, nil
		case evidence.Double:
			return float64(x), nil
		case evidence.Quantity:
			return fmt.Sprint(x), nil
		}
	case uint64:
		return convert(t, types.Int(x)) //nolint:gosec // what Kubernetes counts fits into 63 bits
	case float64:
		switch {
		case t == evidence.Double:
			return x, nil
		case t == evidence.Int && x == float64(int64(x)):
			return int64(x), nil
		}
	case time.Duration:
		if t == evidence.Duration {
			return x, nil
		}
	case string:
		switch t {
		case evidence.String:
			return x, nil
		case evidence.Duration:
			return time.ParseDuration(x)
		case evidence.Quantity:
			_, err := resource.ParseQuantity(x)
			return x, err
		}
	}
	if q, ok := v.(apiservercel.Quantity); ok && t == evidence.Quantity {
		return q.String(), nil
	}
	if t == evidence.List {
		native, err := v.ConvertToNative(stringList)
		if err != nil {
			return nil, errors.New("is not a list of texts")
		}
		return native, nil
	}
	return nil, fmt.Errorf("is %s, not %s", v.Type().TypeName(), t)
}
