package cluster

import (
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"sigs.k8s.io/yaml"

	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

func parse(t *testing.T, text string) (*Probe, error) {
	t.Helper()
	b, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return New(b)
}

const whole = `
namespace: {labels: {pod-security.kubernetes.io/enforce: restricted}}
others: [b]
timeout: 90s
exclusive: true
steps:
- apply: quota.yaml
- apply: quota.yaml
  as: again
  mode: dry-run
  namespace: b
- objects: [{apiVersion: v1, kind: Pod, metadata: {generateName: p-}, spec: {nodeName: "${NODE}"}}]
  mode: create
  as: made
  values: [{name: pod, type: string, cel: object.metadata.name}]
- watch: {kind: Pod, selector: "app=web"}
  as: pods
  until: scaled
  values: [{name: ready, type: int, unit: count, cel: "objects.size()"}]
- patch: {kind: Deployment, name: web, subresource: scale, merge: {spec: {replicas: 3}}}
- wait: {kind: Pod, name: "${made.pod}", for: "object.status.phase == 'Running' && object.spec.nodeName == '${NODE}'", timeout: 30s, hold: 2s}
  as: scaled
- get: {apiVersion: v1, kind: Pod, selector: ""}
  values: [{name: most, type: int, cel: "${pods.ready.max} + objects.size()"}, {name: ip, type: string, cel: "objects[0].?status.?podIP"}]
  as: got
- exec: {pod: "${made.pod}", container: main}
  labprobe: [identity]
  as: id
- exec: {pod: p}
  command: [cat, /x]
  as: cat
- logs: {pod: p, previous: true}
  as: log
- node: {script: 'evidence a "$NAMESPACE"', outputs: [{name: a, type: string}], node: worker}
  as: there
- delete: {kind: Pod, selector: "", propagation: Foreground, gracePeriodSeconds: 0}
- delete: {kind: Pod, name: p, evict: true}
  as: evicted
- pause: 1s
`

func TestOutputs(t *testing.T) {
	p, err := parse(t, whole)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range p.Outputs() {
		if !strings.HasPrefix(o.Name, "id.") {
			got = append(got, o.Name+" "+string(o.Type))
		}
	}
	want := strings.Fields(strings.ReplaceAll(`again.accepted:bool again.code:int again.reason:string again.message:string again.warnings:list
		made.accepted:bool made.code:int made.reason:string made.message:string made.warnings:list made.pod:string
		pods.changes:int pods.ready.min:int pods.ready.max:int pods.ready.first:int pods.ready.last:int
		scaled.met:bool scaled.after:duration got.most:int got.ip:string
		cat.exit:int cat.stdout:string cat.stderr:string cat.duration:duration log.text:string there.a:string
		evicted.accepted:bool evicted.code:int evicted.reason:string evicted.message:string evicted.warnings:list`, "\t", " "))
	for i := range want {
		want[i] = strings.Replace(want[i], ":", " ", 1)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if !p.Exclusive() || !slices.Equal(p.Manifests(), []string{"quota.yaml"}) || p.Limit() <= p.timeout {
		t.Errorf("exclusive %v, manifests %v, limit %s", p.Exclusive(), p.Manifests(), p.Limit())
	}
	var _ probe.Probe = p
}

func TestNewRefuses(t *testing.T) {
	const target = "{kind: Pod, name: p, for: 'object.status.phase == \"Running\"'"
	for name, c := range map[string]struct{ text, want string }{
		"no steps":           {"steps: []", "steps: are missing"},
		"unknown field":      {"steps: [{aply: x.yaml}]", `unknown field "steps[0].aply"`},
		"unknown in a verb":  {"steps: [{wait: {kind: Pod, nam: p}}]", `unknown field "steps[0].wait.nam"`},
		"no verb":            {"steps: [{as: a}]", "steps[0]: has no verb"},
		"two verbs":          {"steps: [{apply: a.yaml, pause: 1s}]", "steps[0]: has the verbs apply and pause"},
		"name":               {"steps: [{as: A, apply: a.yaml}]", "steps[0]: as: is \"A\""},
		"name twice":         {"steps: [{as: a, apply: a.yaml}, {as: a, apply: b.yaml}]", "steps[1]: as: two steps are called a"},
		"whole timeout":      {"timeout: 1ms\nsteps: [{apply: a.yaml}]", "timeout: 1ms is less than 1s"},
		"bad duration":       {"timeout: soon\nsteps: [{apply: a.yaml}]", "soon"},
		"other":              {"others: [A]\nsteps: [{apply: a.yaml}]", `others[0]: "A" is no DNS label`},
		"other twice":        {"others: [a, a]\nsteps: [{apply: a.yaml}]", "others[1]: a comes twice"},
		"path":               {"steps: [{apply: ../a.yaml}]", `apply: "../a.yaml" is no path`},
		"no YAML":            {"steps: [{apply: a.txt}]", `apply: "a.txt" is no path`},
		"mode":               {"steps: [{apply: a.yaml, mode: replace}]", `mode: is "replace"`},
		"mode of wait":       {"steps: [{wait: " + target + "}, mode: create}]", "mode belongs to apply, objects, not to wait"},
		"no objects":         {"steps: [{objects: []}]", "objects: is an empty list"},
		"no object":          {"steps: [{objects: [{a: b}]}]", "objects[0]: is no Kubernetes object"},
		"no name":            {"steps: [{objects: [{apiVersion: v1, kind: Pod}]}]", "has no metadata.name; only mode: create"},
		"no kind":            {"steps: [{wait: {name: p, for: 'object == null'}}]", "wait: kind is missing"},
		"neither":            {"steps: [{wait: {kind: Pod, for: 'object == null'}}]", "name or selector is missing"},
		"both":               {"steps: [{wait: {kind: Pod, name: p, selector: '', for: 'object == null'}}]", "has name and selector"},
		"selector":           {"steps: [{get: {kind: Pod, selector: 'a in'}, values: [{name: num, type: int, cel: objects.size()}]}]", "selector: "},
		"no condition":       {"steps: [{wait: {kind: Pod, name: p}}]", "wait: for is missing"},
		"CEL":                {"steps: [{wait: {kind: Pod, name: p, for: 'object.'}}]", "steps[0] (wait): wait: for: CEL: "},
		"CEL's type":         {"steps: [{as: w, wait: {kind: Pod, selector: '', for: 'objects.size()'}}]", "steps[0] (wait as w): wait: for: CEL: objects.size() gives int, not bool"},
		"too long":           {"steps: [{wait: " + target + ", timeout: 3m}}]", "wait: timeout: 3m0s is longer than the whole scenario may take (timeout: 2m0s)"},
		"negative":           {"steps: [{wait: " + target + ", hold: -1s}}]", "wait: hold: is -1s"},
		"no values":          {"steps: [{get: {kind: Pod, name: p}, as: g}]", "values: are missing"},
		"value's name":       {"steps: [{get: {kind: Pod, name: p}, values: [{name: Num, type: int, cel: object.n}]}]", `values[0].name: "Num"`},
		"value's type":       {"steps: [{get: {kind: Pod, name: p}, values: [{name: num, type: number, cel: object.n}]}]", `values[0].type: "number" is unknown`},
		"value twice":        {"steps: [{get: {kind: Pod, name: p}, values: [{name: num, type: int, cel: object.n}, {name: num, type: int, cel: object.n}]}]", "num comes twice"},
		"watch of text":      {"steps: [{watch: {kind: Pod, name: p}, as: w, values: [{name: num, type: string, cel: object.n}]}]", "write one of [int double]"},
		"watch without name": {"steps: [{watch: {kind: Pod, name: p}}]", "as: is missing"},
		"until nothing":      {"steps: [{watch: {kind: Pod, name: p}, as: w, until: x}, {apply: a.yaml, as: z}]", `until: no later step is called "x"`},
		"watch's values early": {"steps: [{watch: {kind: Pod, name: p}, as: w, until: z}, {wait: {kind: Pod, name: '${w.changes}', for: 'object == null'}}, {apply: a.yaml, as: z}]",
			"steps[1] (wait): wait: ${w.changes}: is no name"},
		"a later step":     {"steps: [{wait: {kind: Pod, name: '${a.code}', for: 'object == null'}}, {apply: a.yaml, as: a}]", "${a.code}: is no name"},
		"unknown in tree":  {"steps: [{objects: [{apiVersion: v1, kind: Pod, metadata: {name: 'p-${X}'}}]}]", "objects[0]: ${X}: is no name"},
		"unknown in patch": {"steps: [{patch: {kind: Pod, name: p, merge: {a: '${X}'}}}]", "patch: merge: ${X}: is no name"},
		"empty patch":      {"steps: [{patch: {kind: Pod, name: p, merge: {}}}]", "patch: merge is missing"},
		"patch of many":    {"steps: [{patch: {kind: Pod, selector: '', merge: {a: 1}}}]", "takes a name, not a selector"},
		"propagation":      {"steps: [{delete: {kind: Pod, name: p, propagation: orphan}}]", `propagation is "orphan"`},
		"evict a Service":  {"steps: [{delete: {kind: Service, name: p, evict: true}}]", "evict is for Pods"},
		"exec nothing":     {"steps: [{exec: {pod: p}}]", "exec has one of labprobe and command"},
		"unknown labprobe": {"steps: [{exec: {pod: p}, labprobe: [nothing]}]", `unknown labprobe command "nothing"`},
		"labprobe alone":   {"steps: [{apply: a.yaml, labprobe: [identity]}]", "labprobe belongs to exec, not to apply"},
		"no Pod":           {"steps: [{logs: {container: c}}]", "logs: pod is missing"},
		"no outputs":       {"steps: [{node: {script: 'true', outputs: []}}]", "node: outputs: a script declares"},
		"shell variable":   {"steps: [{node: {script: 'echo ${HOME}', outputs: [{name: a, type: int}]}}]", "node: ${HOME}: is no name"},
		"named pause":      {"steps: [{pause: 1s, as: p}]", "a pause has no evidence"},
		"endless pause":    {"steps: [{pause: 1h}]", "pause: 1h0m0s is longer"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(t, c.text)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

// TestCheck looks into the manifests that a scenario applies.
func TestCheck(t *testing.T) {
	p, err := parse(t, "steps: [{apply: a.yaml}]")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		manifests fstest.MapFS
		want      string
	}{
		"good":         {fstest.MapFS{"a.yaml": {Data: []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: \"${NAMESPACE}-p\"}\n")}}, ""},
		"not there":    {fstest.MapFS{}, "steps[0] (apply): manifest: open a.yaml"},
		"empty":        {fstest.MapFS{"a.yaml": {Data: []byte("---\n")}}, "a.yaml: holds no object"},
		"no object":    {fstest.MapFS{"a.yaml": {Data: []byte("\nkind: Pod\n")}}, "a.yaml:2: apiVersion is missing"},
		"unknown name": {fstest.MapFS{"a.yaml": {Data: []byte("# x\napiVersion: v1\nkind: Pod\nmetadata: {name: \"${X}\"}\n")}}, "a.yaml:2: ${X}: is no name"},
	} {
		t.Run(name, func(t *testing.T) {
			err := p.Check(fs.FS(c.manifests))
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
