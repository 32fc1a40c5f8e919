package judge

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// follow does what controllers do when an object is there, as far as other
// objects need it to be judged: none runs beside the throw-away API server.
func (s *session) follow(ctx context.Context, o object) error {
	if o.template {
		return nil
	}
	if o.gvk.Kind == "CustomResourceDefinition" && o.gvk.Group == "apiextensions.k8s.io" {
		s.learn(o.manifest)
	}
	if s.State == nil || governs(o.gvk) {
		return nil
	}
	if o.name != "" {
		c := creation{manifest: o.manifest, example: o.index}
		if o.index >= 0 {
			line, column, _ := o.place(problem{})
			c.line = o.example.At(line, column).Line
		}
		s.made[o.key()] = c
	}
	switch {
	case o.gvk.Group == "" && o.gvk.Kind == "Namespace":
		return s.serviceAccount(ctx, o.name)
	case o.gvk.Group == "apiextensions.k8s.io" && o.gvk.Kind == "CustomResourceDefinition":
		return s.established(ctx, o)
	case o.gvk.Group == "templates.gatekeeper.sh" && o.gvk.Kind == "ConstraintTemplate":
		return s.constraintKind(ctx, o)
	}
	return nil
}

// serviceAccount creates the one that each namespace has.
func (s *session) serviceAccount(ctx context.Context, namespace string) error {
	d := dependency{kind: "ServiceAccount", namespace: namespace, name: "default"}
	return s.standIn(ctx, d)
}

// learn keeps the kinds that a CRD defines.
func (s *session) learn(crd map[string]any) { maps.Copy(s.kinds, defined(crd)) }

// defined are the kinds that a CRD defines.
func defined(crd map[string]any) map[schema.GroupVersionKind]resource {
	out := map[schema.GroupVersionKind]resource{}
	group, kind := text(crd, "spec", "group"), text(crd, "spec", "names", "kind")
	versions, _ := get(crd, "spec", "versions").([]any)
	for _, v := range versions {
		if served, _ := get(v, "served").(bool); !served {
			continue
		}
		gvk := schema.GroupVersionKind{Group: group, Version: text(v, "name"), Kind: kind}
		out[gvk] = resource{
			gvk: gvk, plural: text(crd, "spec", "names", "plural"),
			namespaced: text(crd, "spec", "scope") == "Namespaced", made: true,
		}
	}
	return out
}

// established waits until the API server serves a CRD.
func (s *session) established(ctx context.Context, o object) error {
	deadline := time.Now().Add(patience)
	for wait := 5 * time.Millisecond; time.Now().Before(deadline); wait = min(2*wait, 200*time.Millisecond) {
		crd, err := s.client.get(ctx, o.resource, "", o.name)
		if isBroken(err) {
			return err
		}
		conditions, _ := get(crd, "status", "conditions").([]any)
		for _, c := range conditions {
			switch {
			case text(c, "type") == "Established" && text(c, "status") == "True":
				return nil
			case text(c, "type") == "NamesAccepted" && text(c, "status") == "False":
				s.refuse(o, problem{rule: apiRejected, field: "spec.names", message: "spec.names: " + text(c, "message")})
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
	return fmt.Errorf("the API server doesn't serve CRD %s after %s", o.name, patience)
}

// constraintKind creates the CRD that Gatekeeper makes from a
// ConstraintTemplate, as its constraint framework does
// (github.com/open-policy-agent/frameworks/constraint/pkg/client/crds).
func (s *session) constraintKind(ctx context.Context, o object) error {
	kind := text(o.manifest, "spec", "crd", "spec", "names", "kind")
	if kind == "" {
		return nil
	}
	if want := strings.ToLower(kind); o.name != want {
		s.refuse(o, problem{rule: apiRejected, field: "metadata.name", message: fmt.Sprintf(
			"metadata.name: Gatekeeper refuses a ConstraintTemplate whose name isn't the kind in lower case, %q", want)})
		return nil
	}
	crd := constraintCRD(kind, o)
	gvk := schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}
	c := object{
		origin: o.origin, index: -1, manifest: crd, gvk: gvk, name: text(crd, "metadata", "name"), resource: s.catalogue.kinds[gvk],
	}
	err := s.create(ctx, c, false)
	switch {
	case isBroken(err):
		return err
	case apierrors.IsAlreadyExists(err):
	case err != nil:
		for _, p := range understand(err).problems {
			s.refuse(o, problem{rule: apiRejected, field: "spec.crd.spec",
				message: "spec.crd.spec: the CRD that Gatekeeper makes from it is refused: " + p.message})
		}
		return nil
	}
	return s.follow(ctx, c)
}

// constraintCRD is the CRD of a kind of constraint.
func constraintCRD(kind string, o object) map[string]any {
	// In v1beta1 templates schemas need no types unless legacySchema is false.
	parameters, _ := clone(get(o.manifest, "spec", "crd", "spec", "validation", "openAPIV3Schema")).(map[string]any)
	legacy, set := get(o.manifest, "spec", "crd", "spec", "validation", "legacySchema").(bool)
	if !set {
		legacy = o.gvk.Version != "v1"
	}
	if legacy || parameters == nil {
		parameters = open()
	}
	schema := map[string]any{
		"type": "object",
		"properties": map[string]any{
			"metadata": map[string]any{"type": "object", "properties": map[string]any{
				"name": map[string]any{"type": "string", "maxLength": 63},
			}},
			"spec": map[string]any{"type": "object", "properties": map[string]any{
				"enforcementAction":        map[string]any{"type": "string"},
				"scopedEnforcementActions": map[string]any{"type": "array", "items": open()},
				"match":                    open(),
				"parameters":               parameters,
			}},
			"status": open(),
		},
	}
	version := func(name string, storage bool) map[string]any {
		return map[string]any{
			"name": name, "served": true, "storage": storage, "schema": map[string]any{"openAPIV3Schema": schema},
			"subresources": map[string]any{"status": map[string]any{}},
		}
	}
	plural := strings.ToLower(kind)
	return map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": plural + ".constraints.gatekeeper.sh"},
		"spec": map[string]any{
			"group": "constraints.gatekeeper.sh", "scope": "Cluster",
			"names":    map[string]any{"kind": kind, "listKind": kind + "List", "plural": plural, "singular": plural},
			"versions": []any{version("v1beta1", true), version("v1alpha1", false)},
		},
	}
}

// open is a schema that takes any object.
func open() map[string]any {
	return map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}
}
