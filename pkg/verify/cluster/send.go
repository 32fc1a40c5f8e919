package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/verify/apply"
)

// answers is what a request gives that changes something.
var answers = []evidence.Output{
	{Name: "accepted", Type: evidence.Bool, Doc: "the API server took it"},
	{Name: "code", Type: evidence.Int, Doc: "the HTTP status of the last request"},
	{Name: "reason", Type: evidence.String, Doc: "the reason of a refusal, as Forbidden; empty where accepted"},
	{Name: "message", Type: evidence.String, Doc: "the message of a refusal; empty where accepted"},
	{Name: "warnings", Type: evidence.List, Doc: "the warnings that came with the answers"},
}

// sendVerb is apply and objects.
type sendVerb struct {
	step   *Step
	values []evidence.Output
}

func newSend(s *Step) (verb, error) {
	if !slices.Contains(modes, s.Mode) {
		return nil, fmt.Errorf("mode: is %q; write %s or %s, or leave it out", s.Mode, apply.Create, apply.DryRun)
	}
	if s.Apply != "" && (!fs.ValidPath(s.Apply) || path.Ext(s.Apply) != ".yaml") {
		return nil, fmt.Errorf("apply: %q is no path of a .yaml file below the manifests folder", s.Apply)
	}
	if s.Objects != nil && len(s.Objects) == 0 {
		return nil, errors.New("objects: is an empty list")
	}
	values, err := declareValues(s.Values)
	if err != nil {
		return nil, err
	}
	for _, v := range values {
		if slices.ContainsFunc(answers, func(o evidence.Output) bool { return o.Name == v.Name }) {
			return nil, fmt.Errorf("values: %s is what the step gives already", v.Name)
		}
	}
	return &sendVerb{step: s, values: values}, nil
}

func (v *sendVerb) outputs() []evidence.Output { return append(slices.Clone(answers), v.values...) }

// objects are the filled-in objects that are sent. Manifests are nil where
// only what stands in the step is looked at.
func (v *sendVerb) objects(n Names, manifests fs.FS) ([]apply.Object, error) {
	var raw []apply.Object
	for i, content := range v.step.Objects {
		o, err := apply.Inline(fmt.Sprintf("objects[%d]", i), content)
		if err != nil {
			return nil, err
		}
		raw = append(raw, o)
	}
	if v.step.Apply != "" && manifests != nil {
		var err error
		if raw, err = apply.Parse(manifests, v.step.Apply); err != nil {
			return nil, err
		}
		if len(raw) == 0 {
			return nil, fmt.Errorf("%s: holds no object", v.step.Apply)
		}
	}
	for i, o := range raw {
		filled, err := n.Tree(o.Object)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.At(), err)
		}
		raw[i].Unstructured = &unstructured.Unstructured{Object: filled.(map[string]any)} // as a copy of one
		if raw[i].GetName() == "" && v.step.Mode != apply.Create {
			return nil, fmt.Errorf("%s: %s has no metadata.name; only mode: create can do without", o.At(), o.GetKind())
		}
	}
	return raw, nil
}

func (v *sendVerb) prepare(n Names) (action, error) {
	if _, err := v.objects(n, nil); err != nil {
		return nil, err
	}
	reads, err := readers(n, v.step.Values, true)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, w *world) (evidence.Set, error) {
		objects, err := v.objects(n, w.env.Manifests)
		if err != nil {
			return nil, err
		}
		var all answer
		for i, o := range objects {
			o.Home = w.in(v.step.Namespace)
			asked, a := noted(ctx)
			made, err := w.session.Apply(asked, o, v.step.Mode)
			all.code, all.warnings = a.code, append(all.warnings, a.warnings...)
			if err != nil {
				return refusal(o.String(), all, err)
			}
			if i < len(objects)-1 {
				continue
			}
			set := all.evidence(o.String(), true, "", "")
			more, err := read(ctx, reads, Objects{One: true, Items: []map[string]any{made.Object}}, o.String())
			return append(set, more...), err
		}
		return nil, errors.New("there is nothing to send")
	}, nil
}

// refusal turns what the API server has against a request into evidence and
// an *unmet; any other error stays what it is.
func refusal(what string, a answer, err error) (evidence.Set, error) {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		s := status.Status()
		a.code = int(s.Code)
		return a.evidence(what, false, string(s.Reason), s.Message), &unmet{err}
	}
	var kind *meta.NoKindMatchError
	if errors.As(err, &kind) {
		a.code = 404 // what a request to that path gets
		return a.evidence(what, false, string(metav1.StatusReasonNotFound), kind.Error()), &unmet{err}
	}
	return nil, err
}

func (a answer) evidence(what string, accepted bool, reason, message string) evidence.Set {
	source := evidence.Source{Kind: "object", Ref: what + ": the API server's answer", Where: where}
	warnings := a.warnings
	if warnings == nil {
		warnings = []string{}
	}
	return evidence.Set{
		{Name: "accepted", Type: evidence.Bool, Value: accepted, Source: source},
		{Name: "code", Type: evidence.Int, Value: int64(a.code), Source: source},
		{Name: "reason", Type: evidence.String, Value: reason, Source: source},
		{Name: "message", Type: evidence.String, Value: message, Source: source},
		{Name: "warnings", Type: evidence.List, Value: warnings, Source: source},
	}
}

// where is the place of what the API server shows.
const where = "cluster"
