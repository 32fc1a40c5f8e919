package judge

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/isolation-stack/labctl/pkg/docs"
)

var metaPackage = reflect.TypeFor[metav1.Status]().PkgPath()

// resolve finds where objects of a kind are sent. Without one there is a
// problem, or the kind isn't one of objects and there is nothing to say.
func (s *session) resolve(gvk schema.GroupVersionKind) (r resource, p *problem, ok bool) {
	c := s.catalogue
	if r, ok := s.kinds[gvk]; ok {
		return r, nil, true
	}
	if r, ok := c.kinds[gvk]; ok {
		return r, nil, true
	}
	name := gvk.GroupVersion().String() + " " + gvk.Kind
	life, builtIn := lifeOf(gvk)
	own := s.ownGroup(gvk.Group)
	switch {
	case c.subresources[gvk] != "":
		return r, &problem{rule: notJudged, field: "kind", message: fmt.Sprintf(
			"a %s is sent to %s of an object and can't be applied by itself; it was not judged", gvk.Kind, c.subresources[gvk])}, false
	case builtIn && life.removed != nil && c.server.AtLeast(life.removed):
		return r, &problem{rule: removedAPI, field: "apiVersion", message: life.removedFrom(gvk)}, false
	case builtIn && life.introduced != nil && c.server.LessThan(life.introduced):
		return r, &problem{rule: unservedAPI, severity: docs.Error, field: "apiVersion", message: fmt.Sprintf(
			"%s came in Kubernetes %d.%d; this API server is %d.%d", name, life.introduced.Major(), life.introduced.Minor(),
			c.server.Major(), c.server.Minor())}, false
	case builtIn && life.introduced != nil:
		return r, &problem{rule: unservedAPI, field: "apiVersion", message: fmt.Sprintf(
			"%s is off by default in Kubernetes %d.%d; it needs --runtime-config=%s=true", name, c.server.Major(), c.server.Minor(),
			gvk.GroupVersion())}, false
	case builtIn && inMeta(gvk):
		return r, nil, false // such as Status: an answer, not an object
	case builtIn:
		return r, &problem{rule: notJudged, field: "kind", message: fmt.Sprintf(
			"nobody can create a %s; it was not judged", name)}, false
	case c.failed[gvk.Group]:
		return r, &problem{rule: notJudged, field: "apiVersion", message: fmt.Sprintf(
			"the server of %s doesn't answer; the object was not judged", gvk.Group)}, false
	case own || c.custom[gvk.Group]:
		return r, s.customProblem(gvk, own), false
	case len(c.versions[gvk.Group]) > 0:
		return r, s.builtInProblem(gvk), false
	}
	return r, s.groupProblem(gvk), false
}

func inMeta(gvk schema.GroupVersionKind) bool {
	t, ok := scheme.Scheme.AllKnownTypes()[gvk]
	return ok && t.PkgPath() == metaPackage
}

// ownGroup says whether a CRD of the document is of this group.
func (s *session) ownGroup(group string) bool {
	for gvk := range s.kinds {
		if gvk.Group == group {
			return true
		}
	}
	return false
}

// customProblem is about a kind or version that the CRDs of a group don't have.
func (s *session) customProblem(gvk schema.GroupVersionKind, own bool) *problem {
	var served []string
	for known := range s.catalogue.kinds {
		if known.Group == gvk.Group && known.Kind == gvk.Kind {
			served = append(served, known.Version)
		}
	}
	for known := range s.kinds {
		if known.Group == gvk.Group && known.Kind == gvk.Kind {
			served = append(served, known.Version)
		}
	}
	from := "the CRDs that are installed"
	if source := s.Sources[gvk.Group]; source != "" {
		from = "the CRDs of " + source
	}
	severity := docs.Warning
	if own {
		from, severity = "the CRD of this document", docs.Error
	}
	if len(served) > 0 {
		slices.Sort(served)
		return &problem{rule: unservedAPI, severity: severity, field: "apiVersion", message: fmt.Sprintf(
			"%s of %s doesn't serve version %s; it serves %s", gvk.Kind, from, gvk.Version, strings.Join(slices.Compact(served), ", "))}
	}
	p := &problem{rule: unknownKind, severity: docs.Warning, field: "kind", message: fmt.Sprintf(
		"%s have no kind %s in group %s; the object was not judged", from, gvk.Kind, gvk.Group)}
	if own {
		p.message = fmt.Sprintf("no CRD of this document or of the API server defines kind %s in group %s", gvk.Kind, gvk.Group)
	}
	if similar := s.catalogue.similar(gvk); similar != "" {
		p.message += "; did you mean " + similar + "?"
	}
	return p
}

// builtInProblem is about a kind or version that a built-in group doesn't have.
func (s *session) builtInProblem(gvk schema.GroupVersionKind) *problem {
	p := &problem{rule: unknownKind, field: "kind"}
	p.message = fmt.Sprintf("%s has no kind %s", gvk.GroupVersion(), gvk.Kind)
	if !slices.Contains(s.catalogue.versions[gvk.Group], gvk.Version) {
		p.field = "apiVersion"
		p.message = fmt.Sprintf("there is no API %s", gvk.GroupVersion())
	}
	if others := s.catalogue.elsewhere(gvk.Kind, gvk.Group); len(others) > 0 {
		p.field = "apiVersion"
		p.message += fmt.Sprintf("; %s is in %s", gvk.Kind, others[0])
	} else if similar := s.catalogue.similar(gvk); similar != "" {
		p.message += "; did you mean " + similar + "?"
	}
	return p
}

// groupProblem is about a group that the API server doesn't have. It is a
// mistake only if it can't be a group of custom resources (whose names have a
// dot) or is a misspelt one that has just this kind.
func (s *session) groupProblem(gvk schema.GroupVersionKind) *problem {
	for _, other := range s.catalogue.elsewhere(gvk.Kind, gvk.Group) {
		gv, err := schema.ParseGroupVersion(other)
		if err == nil && !s.catalogue.custom[gv.Group] && (!strings.Contains(gvk.Group, ".") || edits(gv.Group, gvk.Group) <= 2) {
			return &problem{rule: unknownKind, field: "apiVersion", message: fmt.Sprintf(
				"there is no API %s; %s is in %s", gvk.GroupVersion(), gvk.Kind, other)}
		}
	}
	return &problem{rule: unknownAPI, field: "apiVersion", message: fmt.Sprintf(
		"no CRD of group %s is installed, so this %s was not judged; give its CRDs with --crds", gvk.Group, gvk.Kind)}
}
