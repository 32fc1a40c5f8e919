package judge

import (
	"net/http"
	"reflect"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/isolation-stack/labctl/pkg/docs"
)

// The messages are those of kube-apiserver 1.37.2.

func status(code int32, reason metav1.StatusReason, message string, causes ...metav1.StatusCause) error {
	s := metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: reason, Message: message}
	if causes != nil {
		s.Details = &metav1.StatusDetails{Causes: causes}
	}
	return &apierrors.StatusError{ErrStatus: s}
}

func bad(message string) error {
	return status(http.StatusBadRequest, metav1.StatusReasonBadRequest, message)
}

func forbidden(message string) error {
	return status(http.StatusForbidden, metav1.StatusReasonForbidden, message)
}

func cause(kind metav1.CauseType, field, message string) metav1.StatusCause {
	return metav1.StatusCause{Type: kind, Field: field, Message: message}
}

func TestUnderstand(t *testing.T) {
	noNamespace := &apierrors.StatusError{ErrStatus: metav1.Status{
		Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound, Message: `namespaces "nsx" not found`,
		Details: &metav1.StatusDetails{Name: "nsx", Kind: "namespaces"},
	}}
	for _, c := range []struct {
		name string
		err  error
		want answer
	}{
		{
			"unknown fields",
			bad(`Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: unknown field "metadata.lables", unknown field "spec.template.spec.containers[0].volumes"`),
			answer{kind: strictness, problems: []problem{
				{rule: unknownField, field: "metadata.lables", onKey: true, message: `unknown field "metadata.lables"`},
				{rule: unknownField, field: "spec.template.spec.containers[0].volumes", onKey: true, message: `unknown field "spec.template.spec.containers[0].volumes"`},
			}},
		},
		{
			"a duplicate field is no unknown one",
			bad(`ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: duplicate field "data.a"`),
			answer{kind: strictness},
		},
		{
			"a field with a quote in its name",
			bad(`Db in version "v1" cannot be handled as a Db: strict decoding error: unknown field "spec.a\"b"`),
			answer{kind: strictness, problems: []problem{
				{rule: unknownField, field: `spec.a\"b`, onKey: true, message: `unknown field "spec.a\\\"b"`},
			}},
		},
		{
			"a value of a wrong type",
			bad(`Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string`),
			answer{kind: undecoded, problems: []problem{{
				rule: wrongType, field: "spec.containers.env.value",
				message: "json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string",
			}}},
		},
		{
			"a quantity",
			bad(`Pod in version "v1" cannot be handled as a Pod: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'`),
			answer{kind: undecoded, problems: []problem{{
				rule: wrongType, message: `quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'`,
			}}},
		},
		{
			"causes",
			status(422, metav1.StatusReasonInvalid, "…",
				cause(metav1.CauseTypeFieldValueRequired, "spec.selector", "Required value"),
				cause(metav1.CauseTypeFieldValueInvalid, "spec.template.metadata.labels", "Invalid value: null: `selector` does not match template `labels`"),
				cause(metav1.CauseTypeFieldValueRequired, "spec.selector", "Required value")),
			answer{problems: []problem{
				{rule: apiRejected, field: "spec.selector", message: "spec.selector: Required value"},
				{rule: apiRejected, field: "spec.template.metadata.labels", message: "spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`"},
			}},
		},
		{
			"a custom resource",
			status(422, metav1.StatusReasonInvalid, "…",
				cause(metav1.CauseTypeTypeInvalid, "spec.m.b.c/d", `Invalid value: "integer": spec.m.b.c/d in body must be of type string: "integer"`),
				cause(metav1.CauseTypeFieldValueInvalid, "<nil>", "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation")),
			answer{problems: []problem{
				{rule: wrongType, field: "spec.m.b.c/d", message: "spec.m.b.c/d: it is of type integer and must be of type string"},
			}},
		},
		{
			"what follows in the status",
			status(422, metav1.StatusReasonInvalid, "…",
				cause(metav1.CauseTypeFieldValueRequired, "spec.scope", "Required value"),
				cause(metav1.CauseTypeFieldValueInvalid, "status.storedVersions", "Invalid value: null: must have at least one stored version")),
			answer{problems: []problem{{rule: apiRejected, field: "spec.scope", message: "spec.scope: Required value"}}},
		},
		{
			"but a status alone is said",
			status(422, metav1.StatusReasonInvalid, "…", cause(metav1.CauseTypeFieldValueInvalid, "status.storedVersions", "Invalid value: null")),
			answer{problems: []problem{{rule: apiRejected, field: "status.storedVersions", message: "status.storedVersions: Invalid value: null"}}},
		},
		{
			"a range of addresses is the cluster's",
			status(422, metav1.StatusReasonInvalid, "…", cause(metav1.CauseTypeFieldValueInvalid, "spec.clusterIPs",
				`Invalid value: ["172.20.0.10"]: failed to allocate IP 172.20.0.10: the provided IP (172.20.0.10) is not in the valid range. The range of valid IPs is 10.96.0.0/12`)),
			answer{problems: []problem{{rule: clusterDependent, field: "spec.clusterIPs",
				message: `spec.clusterIPs: Invalid value: ["172.20.0.10"]: failed to allocate IP 172.20.0.10: the provided IP (172.20.0.10) is not in the valid range. The range of valid IPs is 10.96.0.0/12`}}},
		},
		{
			"one of the other family",
			status(422, metav1.StatusReasonInvalid, "…", cause(metav1.CauseTypeFieldValueInvalid, "spec.clusterIPs",
				`Invalid value: ["172.20.0.10"]: failed to allocate IP 172.20.0.10: the provided network does not match the current range`)),
			answer{problems: []problem{{rule: clusterDependent, field: "spec.clusterIPs",
				message: `spec.clusterIPs: Invalid value: ["172.20.0.10"]: failed to allocate IP 172.20.0.10: the provided network does not match the current range`}}},
		},
		{
			"that of node ports is Kubernetes's",
			status(422, metav1.StatusReasonInvalid, "…", cause(metav1.CauseTypeFieldValueInvalid, "spec.ports[0].nodePort",
				"Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767")),
			answer{problems: []problem{{rule: apiRejected, field: "spec.ports[0].nodePort",
				message: "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767"}}},
		},
		{
			"a RuntimeClass", forbidden(`pods "a" is forbidden: pod rejected: RuntimeClass "gvisorx" not found`),
			answer{kind: missing, needs: dependency{kind: "RuntimeClass", name: "gvisorx", field: "spec.runtimeClassName"}},
		},
		{
			"a PriorityClass", forbidden(`pods "a" is forbidden: no PriorityClass with name high was found`),
			answer{kind: missing, needs: dependency{kind: "PriorityClass", name: "high", field: "spec.priorityClassName"}},
		},
		{
			"a ServiceAccount", forbidden(`pods "a" is forbidden: error looking up service account default/sax: serviceaccount "sax" not found`),
			answer{kind: missing, needs: dependency{kind: "ServiceAccount", namespace: "default", name: "sax", field: "spec.serviceAccountName"}},
		},
		{
			"a namespace", noNamespace,
			answer{kind: missing, needs: dependency{kind: "Namespace", name: "nsx", field: "metadata.namespace"}},
		},
		{
			"a policy", forbidden(`pods "p" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false`),
			answer{problems: []problem{{rule: admissionRefused,
				message: `pods "p" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false`}}},
		},
		{
			"no policy", forbidden(`priorityclasses.scheduling.k8s.io "b" is forbidden: PriorityClass a is already marked as default. Only one default can exist`),
			answer{problems: []problem{{rule: apiRejected, field: "globalDefault",
				message: `priorityclasses.scheduling.k8s.io "b" is forbidden: PriorityClass a is already marked as default. Only one default can exist`}}},
		},
		{
			"a resourceVersion", status(500, "", "resourceVersion should not be set on objects to be created"),
			answer{kind: preset, problems: []problem{{rule: serverSetField, field: "metadata.resourceVersion", onKey: true,
				message: "metadata.resourceVersion: resourceVersion should not be set on objects to be created"}}},
		},
		{
			"an object that is there", status(409, metav1.StatusReasonAlreadyExists, `pods "p1" already exists`), answer{kind: exists},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := understand(c.err); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestMessagesAreShort(t *testing.T) {
	dump := `{"labels":{"controller-uid":"5d46f743-3f21-41ab-8896-d5f55ade6028"},"Spec":{"Volumes":null,"Containers":[{"Name":"c","Image":"y"}]}}`
	for got, want := range map[string]string{
		trimValue("Invalid value: " + dump + ": field is immutable"):              "Invalid value: field is immutable",
		trimValue(`Invalid value: {"matchLabels":{"a":"c"}}: field is immutable`): `Invalid value: {"matchLabels":{"a":"c"}}: field is immutable`,
		trimValue(`Invalid value: core.PodTemplateSpec{ObjectMeta:v1.ObjectMeta{Name:"", GenerateName:"", Namespace:""}, Spec:core.PodSpec{Volumes:[]core.Volume(nil)}}: field is immutable`): "Invalid value: field is immutable",
		trimValue("Duplicate value: " + dump):                                                           "Duplicate value",
		oneLine("Forbidden: pod updates may not change fields\n@@ -97,7 +97,9 @@\n   {\n"):              "Forbidden: pod updates may not change fields",
		oneLine(strings.Repeat("é", 1000)):                                                              strings.Repeat("é", 300) + "…",
		oneLine("compilation failed: ERROR: <input>:1:25: Syntax error\n | object.spec.replicas <= \n"): "compilation failed: ERROR: <input>:1:25: Syntax error",
	} {
		if got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

func TestWarned(t *testing.T) {
	for text, want := range map[string]problem{
		`v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice`: {rule: deprecatedAPI, field: "apiVersion"},
		`spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead`: {
			rule: deprecatedAPI, field: "spec.template.spec.nodeSelector[beta.kubernetes.io/os]", onKey: true},
		`spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply`: {
			rule: apiWarning, field: "spec.containers[0].env[1]", onKey: true},
		`The v1alpha2 version of TCPRoute has been deprecated and will be removed. Please upgrade to v1.`: {rule: deprecatedAPI, field: "apiVersion"},
		`annotation "kubernetes.io/ingress.class" is deprecated, please use 'spec.ingressClassName' instead`: {
			rule: deprecatedAPI, field: "metadata.annotations[kubernetes.io/ingress.class]", onKey: true},
		`would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false`: {rule: apiWarning},
	} {
		want.message = text
		if got := warned(text); got != want {
			t.Errorf("%s: got %+v", text, got)
		}
	}
}

func TestRulesAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Rules {
		if r.ID == "" || r.Title == "" || r.Help == "" || seen[r.ID] ||
			r.Severity != docs.Error && r.Severity != docs.Warning && r.Severity != docs.Note {
			t.Errorf("rule %+v", r)
		}
		seen[r.ID] = true
	}
}

func TestDistinct(t *testing.T) {
	_, m, _ := manifest(t, "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: c\n  volumes: 1\n")
	need := func(field string) problem {
		return problem{rule: apiRejected, field: field, message: field + ": Required value"}
	}
	got := distinct([]problem{
		need("spec.a.b"), need("spec.containers[0].image"), need("spec.a.c"),
		{rule: apiRejected, field: "spec.containers[0].name", message: "spec.containers[0].name: Invalid value: null: not so"},
		{rule: unknownField, field: "spec.volumes.x"}, {rule: unknownField, field: "spec.volumesx"}, {rule: wrongType, field: "spec.volumes"},
		need("spec.d"),
		{rule: apiRejected, field: "spec.template.metadata.labels", message: "spec.template.metadata.labels: Invalid value: map[string]string(nil): not so"},
	}, m)
	want := []problem{
		{rule: missingField, field: "spec.a.b", message: "spec.a.b: Required value; spec.a.c: Required value; spec.d: Required value; spec.template.metadata.labels: Invalid value: map[string]string(nil): not so"},
		{rule: missingField, field: "spec.containers[0].image", message: "spec.containers[0].image: Required value"},
		{rule: apiRejected, field: "spec.containers[0].name", message: "spec.containers[0].name: Invalid value: null: not so"},
		{rule: unknownField, field: "spec.volumesx"}, {rule: wrongType, field: "spec.volumes"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestExcerpt(t *testing.T) {
	for text, want := range map[string]bool{
		"a: 1\n# ...\n": true, "a: 1 # (…) more\n": true, "a:\n- x\n- ...\n": true, "spec:\n  # [...]\n  a: 1\n": true,
		"a: 1\n": false, "a: b...\n": false, "# and so on\na: 1\n": false, "a: \"x # y\"\n": false,
	} {
		o := origin{example: &docs.Example{Text: "x: 1\n---\n" + text + "---\n# ...\ny: 1\n"}}
		o.doc.Line, o.doc.EndLine = 3, 2+strings.Count(text, "\n")
		if got := o.excerpt(); got != want {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

func TestStandsFor(t *testing.T) {
	doc, _, _ := manifest(t, "apiVersion: v1\nkind: Secret\ndata:\n  a: <base64 of it>\n  b: {CONFIG}\n  d: \"plain text!\"\n  e: {x: 1}\n  f: ...\n  g: $NAME\n  h: a < b\n")
	o := origin{example: &docs.Example{}, doc: doc}
	for name, want := range map[string]bool{"a": true, "b": true, "d": false, "e": false, "f": true, "g": true, "h": false} {
		if got := o.standsFor(problem{rule: wrongType, field: "data." + name}); got != want {
			t.Errorf("%s: got %v", name, got)
		}
	}
	if !o.standsFor(problem{field: "metadata.labels", message: `Invalid value: "${NAME}": no`}) {
		t.Error("a value in the message")
	}
}
