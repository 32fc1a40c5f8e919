package judge

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"go.yaml.in/yaml/v3"

	"github.com/isolation-stack/labctl/pkg/docs"
)

// maxTries is how often one object is sent: the API server names only one
// value of a wrong type, or one missing object, at a time.
const maxTries = 12

// judge says what the API server says of one object, and creates it if others
// may need it.
func (s *session) judge(ctx context.Context, o object) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if !s.place(&o) {
		return nil
	}
	if !o.template {
		o.printed = printed(o.manifest)
	}
	if s.schemas != nil {
		return s.compare(ctx, o)
	}
	s.sent = true
	if err := s.serverSet(ctx, o); err != nil {
		return err
	}
	accepted, err := s.send(ctx, o)
	if err != nil || !accepted {
		return err
	}
	if err := s.follow(ctx, o); err != nil {
		return err
	}
	s.queueTemplate(o)
	return nil
}

// place finds out where an object is sent; false if nowhere.
func (s *session) place(o *object) bool {
	if o.template {
		return true
	}
	gv, err := schema.ParseGroupVersion(text(o.manifest, "apiVersion"))
	if err != nil {
		s.refuse(*o, problem{rule: apiRejected, field: "apiVersion", message: "apiVersion: " + err.Error()})
		return false
	}
	o.gvk = gv.WithKind(o.gvk.Kind)
	r, p, ok := s.resolve(o.gvk)
	if p != nil {
		s.refuse(*o, *p)
	}
	if !ok {
		return false
	}
	o.resource = r
	if r.namespaced {
		o.namespace = cmp.Or(o.named, o.given, "default")
		if o.named != "" && o.example.Target != "" && o.named != o.example.Target {
			s.refuse(*o, problem{rule: namespaceMismatch, field: "metadata.namespace", message: fmt.Sprintf(
				"the object is of namespace %s, but the command says -n %s: kubectl refuses that", o.named, o.example.Target)})
		}
	}
	if s.State == nil && r.made {
		s.report(*o, problem{rule: notJudged, field: "kind", message: fmt.Sprintf(
			"the CRD of %s is only in this document, and nothing is created; the object was not judged", o.gvk.Kind)})
		return false
	}
	return true
}

// refuse reports a problem because of which the object isn't accepted.
func (s *session) refuse(o object, p problem) {
	if severity := cmp.Or(p.severity, severities[p.rule]); severity != docs.Note {
		s.refused = true
	}
	if o.printed != "" && p.rule == missingField {
		return // output is often an excerpt
	}
	if p.rule == missingField && o.excerpt() || o.standsFor(p) {
		p.severity = docs.Note
	}
	if o.template {
		p.message = "the Pods made from it are refused: " + p.message
	}
	s.report(o, p)
}

var uuid = regexp.MustCompile(`^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$`)

// printed gives the field that shows that a manifest is what an API server
// printed, "" if none does: nobody writes a status, or a uid with a version.
func printed(m map[string]any) string {
	uid := text(m, "metadata", "uid")
	switch {
	case uuid.MatchString(uid) && (text(m, "metadata", "resourceVersion") != "" || text(m, "metadata", "creationTimestamp") != ""):
		return "metadata.uid"
	case uid == "" && filled(m["status"]):
		return "status"
	}
	return ""
}

// filled says that something stands in a structure. What generators leave of a
// status has no content.
func filled(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case string:
		return v != ""
	case map[string]any:
		for _, item := range v {
			if filled(item) {
				return true
			}
		}
		return false
	case []any:
		return slices.ContainsFunc(v, filled)
	}
	return true
}

// serverSet takes out what only an API server sets. An apply of an object with
// a uid is refused; a create ignores it.
func (s *session) serverSet(ctx context.Context, o object) error {
	if o.template {
		return nil
	}
	if o.printed != "" {
		s.output(o)
		return nil
	}
	uid := text(o.manifest, "metadata", "uid")
	if uid == "" {
		return nil
	}
	body := map[string]any{
		"apiVersion": o.manifest["apiVersion"], "kind": o.manifest["kind"],
		"metadata": map[string]any{"name": o.name, "uid": uid},
	}
	err := s.client.apply(ctx, o.resource, o.namespace, cmp.Or(o.name, "x"), body)
	if isBroken(err) {
		return err
	}
	if apierrors.IsConflict(err) {
		_, why, _ := strings.Cut(err.Error(), ": ")
		s.refuse(o, problem{rule: serverSetField, field: "metadata.uid", onKey: true,
			message: "metadata.uid: an apply is refused: " + oneLine(why)})
	}
	prune(o.manifest, "metadata.uid")
	return nil
}

// output takes out of an object what an API server has printed.
func (s *session) output(o object) {
	s.report(o, problem{rule: printedObject, field: o.printed, onKey: true, message: fmt.Sprintf(
		"%s is what an API server prints, so this is taken as output, not as a manifest", o.printed)})
	for _, field := range []string{"uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink"} {
		prune(o.manifest, "metadata."+field)
	}
	delete(o.manifest, "status")
}

// send creates the object. What the API server refuses is mended as far as
// labctl can and sent again, so that the rest is seen as well.
func (s *session) send(ctx context.Context, o object) (accepted bool, err error) {
	var (
		found  []problem
		heard  = map[string]bool{}
		mended []string
		strict = true
	)
	defer func() {
		for _, p := range distinct(found, o.manifest) {
			s.refuse(o, p)
		}
	}()
	for range maxTries {
		listenCtx, warnings := listening(ctx)
		err := s.create(listenCtx, o, strict)
		if isBroken(err) {
			return false, err
		}
		for _, w := range *warnings {
			if !heard[w] && !o.template {
				heard[w] = true
				s.report(o, warned(w))
			}
		}
		if err == nil {
			return true, nil
		}
		a := understand(err)
		switch a.kind {
		case strictness:
			if !strict {
				return false, nil
			}
			strict = false
			shape, err := s.shapeOf(ctx, o.resource)
			if err != nil {
				return false, err
			}
			for _, p := range a.problems {
				says, to := hint(shape, p.field)
				if says != "" {
					p.message += "; " + says
				}
				found = append(found, p)
				if move(o.manifest, p.field, to) {
					mended = append(mended, to)
				}
			}
		case undecoded:
			wrong := mistyped(goType(o.gvk), o.manifest)
			if len(wrong) == 0 {
				found = append(found, a.problems[0])
				return false, nil
			}
			for _, p := range wrong {
				p.message = o.asWritten(p)
				if !follows(p, mended) {
					found = append(found, p)
				}
				if !prune(o.manifest, p.field) {
					return false, nil
				}
				mended = append(mended, p.field)
			}
		case preset:
			found = append(found, a.problems[0])
			if !prune(o.manifest, a.problems[0].field) {
				return false, nil
			}
		case missing:
			again, err := s.missing(ctx, &o, a.needs)
			if err != nil || !again {
				return false, err
			}
		case exists:
			return s.update(ctx, o)
		default:
			if o.template && apierrors.IsInvalid(err) {
				return false, nil // the template itself is valid: its controller adds what is missing
			}
			for _, p := range a.problems {
				if !follows(p, mended) {
					found = append(found, p)
				}
			}
			return false, nil
		}
	}
	return false, nil
}

// asWritten gives the message about a value of a wrong type with the word that
// stands in the text, if YAML 1.1, which Kubernetes reads, makes another value
// of it: yes is true.
func (o object) asWritten(p problem) string {
	n := o.doc.Value(o.below(p.field))
	if n == nil || n.Kind != yaml.ScalarNode || n.Style != 0 {
		return p.message
	}
	for _, value := range []string{"true", "false"} {
		if n.Value != value {
			p.message = strings.Replace(p.message, ": "+value+" is a boolean;", ": "+n.Value+" is a boolean in YAML 1.1;", 1)
		}
	}
	return p.message
}

// follows says that a problem is one of a field that labctl took out or put
// elsewhere, and so was reported already.
func follows(p problem, mended []string) bool {
	for _, field := range mended {
		if p.field == field || below(p.field, field) || below(field, p.field) && strings.Contains(p.message, required) {
			return true
		}
	}
	return false
}

// create sends an object once more where caches of the API server may not
// have seen yet what the document just created.
func (s *session) create(ctx context.Context, o object, strict bool) error {
	dry := s.State == nil || o.template || governs(o.gvk)
	if !dry {
		s.dirty = true
	}
	deadline := time.Now().Add(patience)
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		err := s.client.create(ctx, o.resource, o.namespace, manifestFor(o), strict, dry)
		if err == nil || isBroken(err) || !s.tooEarly(o, err) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return broken{context.Cause(ctx)}
		case <-time.After(wait):
		}
	}
}

// tooEarly says that an answer may come from a cache: what it misses was
// created a moment ago.
func (s *session) tooEarly(o object, err error) bool {
	if needs := understand(err); needs.kind == missing {
		_, made := s.made[s.keyOf(needs.needs)]
		return made
	}
	return o.resource.made && (apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err))
}

// manifestFor is what is sent for an object. Resources of a CRD whose versions
// a webhook converts couldn't be read without it.
func manifestFor(o object) map[string]any {
	if o.gvk.Kind != "CustomResourceDefinition" || text(o.manifest, "spec", "conversion", "strategy") != "Webhook" {
		return o.manifest
	}
	copied := clone(o.manifest).(map[string]any)
	delete(copied["spec"].(map[string]any), "conversion")
	return copied
}

// governs says that an object acts on how others are admitted or served, so
// that it is only judged: nothing runs behind a webhook or an APIService here,
// quotas need a controller, and admission remembers limits and policies beyond
// the state of one document.
func governs(gvk schema.GroupVersionKind) bool {
	switch gvk.Group {
	case "admissionregistration.k8s.io", "apiregistration.k8s.io", "flowcontrol.apiserver.k8s.io":
		return true
	case "":
		return gvk.Kind == "ResourceQuota" || gvk.Kind == "LimitRange"
	case "networking.k8s.io":
		return gvk.Kind == "ServiceCIDR" || gvk.Kind == "IPAddress"
	}
	return false
}

// missing reports what an object needs and doesn't find, and creates it;
// again says that the object is to be sent again.
func (s *session) missing(ctx context.Context, o *object, d dependency) (again bool, err error) {
	if s.State != nil {
		err := s.standIn(ctx, d)
		if err == nil || isBroken(err) {
			s.tell(*o, d)
			return true, err
		}
		// Nobody can create it, for its name.
		for _, p := range understand(err).problems {
			s.refuse(*o, problem{rule: apiRejected, field: d.field, message: d.field + ": there can't be a " + d.String() + ": " + p.message})
		}
	} else {
		s.tell(*o, d)
	}
	// The object is judged without it.
	if d.kind == "Namespace" && o.namespace != "default" {
		o.namespace = "default"
		prune(o.manifest, "metadata.namespace")
		return true, nil
	}
	return prune(o.manifest, d.field), nil
}

// tell reports a missing dependency, once a document.
func (s *session) tell(o object, d dependency) {
	assumed := d.kind == "Namespace" && (d.name == o.given || d.name == "default" || strings.HasPrefix(d.name, "kube-")) ||
		d.kind == "ServiceAccount" && d.name == "default"
	if assumed {
		return
	}
	if d.kind != "Namespace" {
		s.refused = true
	}
	if s.reported[d.String()] {
		return
	}
	s.reported[d.String()] = true
	p := problem{rule: missingDependency, field: d.field}
	if d.kind == "Namespace" {
		p.severity = docs.Note
	}
	line, same := s.later(d, o)
	switch {
	case line > 0 && s.State == nil:
		p.severity = docs.Note
		p.message = fmt.Sprintf("%s, which this object needs, is only in this document (line %d), and nothing is created on this API server", d, line)
	case line > 0 && same && !o.template:
		p.severity = docs.Warning
		p.message = fmt.Sprintf("%s is created only after this object, on line %d of the same example: applied in this order, it is refused", d, line)
	case line > 0:
		p.message = fmt.Sprintf("%s, which this object needs, comes only later in the document, on line %d", d, line)
	default:
		p.message = fmt.Sprintf("the document doesn't create %s, which this object needs to be accepted", d)
	}
	if o.template {
		p.message = strings.Replace(p.message, "this object", "each of its Pods", 1)
	}
	s.report(o, p)
}

// standIn creates a missing dependency.
func (s *session) standIn(ctx context.Context, d dependency) error {
	manifest := d.standIn()
	o := object{manifest: manifest, index: -1, name: d.name, namespace: d.namespace}
	gv, err := schema.ParseGroupVersion(text(manifest, "apiVersion"))
	if err != nil {
		return err
	}
	o.gvk = gv.WithKind(d.kind)
	r, ok := s.catalogue.kinds[o.gvk]
	if !ok {
		return fmt.Errorf("the API server has no %s", o.gvk)
	}
	o.resource = r
	if err := s.create(ctx, o, true); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return s.follow(ctx, o)
}

// key of an object by its place.
func (o object) key() string { return o.resource.path(o.namespace) + "/" + o.name }

func (s *session) keyOf(d dependency) string {
	for gvk, r := range s.catalogue.kinds {
		if gvk.Kind == d.kind && text(d.standIn(), "apiVersion") == gvk.GroupVersion().String() {
			return object{resource: r, namespace: d.namespace, name: d.name}.key()
		}
	}
	return ""
}

// update judges an object that is there already, as kubectl apply changes it.
// The API server answers that it exists only when it is valid by itself, so
// what is refused now is the change.
func (s *session) update(ctx context.Context, o object) (accepted bool, err error) {
	if s.State == nil {
		return true, nil
	}
	before, known := s.made[o.key()]
	if known && before.example < 0 && o.gvk.Kind != "Namespace" {
		// labctl's own stand-in makes room for the document's object.
		if err := s.client.remove(ctx, o.resource, o.namespace, o.name); err != nil {
			return false, fmt.Errorf("%s: %w", o, err)
		}
		delete(s.made, o.key())
		return s.send(ctx, o)
	}
	live, err := s.client.get(ctx, o.resource, o.namespace, o.name)
	if err != nil {
		return false, fmt.Errorf("%s: %w", o, err)
	}
	kind, body, err := applyPatch(o.gvk, before.manifest, o.manifest, live)
	if err != nil {
		return false, fmt.Errorf("%s: %w", o, err)
	}
	err = s.client.patch(ctx, o.resource, o.namespace, o.name, kind, body, false)
	switch {
	case err == nil:
		s.dirty = true
		return true, nil
	case isBroken(err):
		return false, err
	}
	for _, p := range understand(err).problems {
		p.rule = immutableField
		p.message = strings.Replace(p.message, "Invalid value: null: ", "", 1)
		if known && before.example >= 0 {
			if before.example != o.index && !s.follows(o.index, before.example) {
				p.severity = docs.Warning
			}
			if d := difference(at(before.manifest, p.field), at(o.manifest, p.field), p.field); d != "" {
				p.field = d
			}
			p.message = fmt.Sprintf("%s is in the document already (line %d) and can't be changed to this: %s", o, before.line, p.message)
		}
		s.refuse(o, p)
	}
	return false, nil
}

// apply sends an object as server-side apply does, dry.
func (c client) apply(ctx context.Context, r resource, namespace, name string, manifest map[string]any) error {
	body, err := jsonOf(manifest)
	if err != nil {
		return err
	}
	return c.patch(ctx, r, namespace, name, types.ApplyYAMLPatchType, body, true)
}
