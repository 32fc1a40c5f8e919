package labprobe

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// record collects the evidence of one run against the outputs that its
// command declares, so that name, type and unit are written down once.
type record struct {
	outputs []evidence.Output
	set     evidence.Set
	errs    []error
}

func newRecord(outputs []evidence.Output) *record { return &record{outputs: outputs} }

// put adds a value; kind and ref say where it came from. A value that isn't
// declared, has another type or comes twice is a mistake of the command, and
// makes result an error.
func (r *record) put(name string, value any, kind, ref string) {
	i := slices.IndexFunc(r.outputs, func(o evidence.Output) bool { return o.Name == name })
	if i < 0 {
		r.errs = append(r.errs, fmt.Errorf("evidence %s is not declared", name))
		return
	}
	o := r.outputs[i]
	v, ok := conform(value, o.Type)
	if !ok {
		r.errs = append(r.errs, fmt.Errorf("evidence %s is declared as %s and was measured as %T", name, o.Type, value))
		return
	}
	if _, dup := r.set.Get(name); dup {
		r.errs = append(r.errs, fmt.Errorf("evidence %s was measured twice", name))
		return
	}
	r.set = append(r.set, evidence.Value{
		Name: name, Type: o.Type, Value: v, Unit: o.Unit,
		Source: evidence.Source{Kind: kind, Ref: ref},
	})
}

// conform returns value as the Go type that evidence holds for t.
func conform(value any, t evidence.Type) (any, bool) {
	switch x := value.(type) {
	case bool:
		return x, t == evidence.Bool
	case int:
		return int64(x), t == evidence.Int
	case int64:
		return x, t == evidence.Int
	case float64:
		return x, t == evidence.Double
	case string:
		return x, t == evidence.String || t == evidence.Quantity
	case time.Duration:
		return x, t == evidence.Duration
	case []string:
		if x == nil {
			x = []string{} // an empty list, not null
		}
		return x, t == evidence.List
	}
	return nil, false
}

// replace is put for a value that a later finding overrides.
func (r *record) replace(name string, value any, kind, ref string) {
	r.set = slices.DeleteFunc(r.set, func(v evidence.Value) bool { return v.Name == name })
	r.put(name, value, kind, ref)
}

// file puts a small file's text; where it can't be read the value is absent.
func (r *record) file(tree fs.FS, name, path string) {
	if text, err := readText(tree, path); err == nil {
		r.put(name, text, "file", "/"+path)
	}
}

func (r *record) declares(name string) bool {
	return slices.ContainsFunc(r.outputs, func(o evidence.Output) bool { return o.Name == name })
}

func (r *record) result() (evidence.Set, error) {
	if err := errors.Join(r.errs...); err != nil {
		return nil, err
	}
	return r.set, nil
}

// bytesQuantity writes a number of bytes as a Kubernetes quantity.
func bytesQuantity(n uint64) string {
	for _, s := range []struct {
		unit uint64
		name string
	}{{1 << 30, "Gi"}, {1 << 20, "Mi"}, {1 << 10, "Ki"}} {
		if n >= s.unit && n%s.unit == 0 {
			return fmt.Sprint(n/s.unit) + s.name
		}
	}
	return fmt.Sprint(n)
}

// noArgs declares the outputs of a command that takes no arguments.
func noArgs(outputs ...evidence.Output) func([]string) ([]evidence.Output, error) {
	return func(args []string) ([]evidence.Output, error) {
		if len(args) > 0 {
			return nil, fmt.Errorf("takes no arguments, got %q", args)
		}
		return outputs, nil
	}
}

// newFlags is a flag set that reports mistakes as errors and prints nothing.
func newFlags() *flag.FlagSet {
	f := flag.NewFlagSet("labprobe", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	return f
}

// parseFlags parses args and refuses arguments that are left over.
func parseFlags(f *flag.FlagSet, args []string) error {
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	return nil
}
