package lab_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/lab"
)

const example = "kernel-identity/lab.yaml"

var testdata = os.DirFS("testdata")

func sub(t *testing.T, dir string) fs.FS {
	t.Helper()
	fsys, err := fs.Sub(testdata, dir)
	if err != nil {
		t.Fatal(err)
	}
	return fsys
}

// schema is that of two probe kinds with outputs of every type.
func schema(kind string, with json.RawMessage) ([]evidence.Output, error) {
	var params struct {
		Runtime  string
		Labprobe []string
	}
	decoder := json.NewDecoder(strings.NewReader(string(with)))
	decoder.DisallowUnknownFields()
	switch {
	case kind != "pod" && kind != "node":
		return nil, fmt.Errorf("unknown probe kind %q; %s", kind, lab.Suggest(kind, []string{"node", "pod"}))
	case decoder.Decode(&params) != nil:
		return nil, errors.New(`parameters: unknown field "runtim"`)
	}
	return []evidence.Output{
		{Name: "kernel.release", Type: evidence.String},
		{Name: "kernel.boot_id", Type: evidence.String},
		{Name: "start", Type: evidence.Duration},
		{Name: "memory", Type: evidence.Quantity, Unit: "bytes"},
		{Name: "count", Type: evidence.Int},
		{Name: "ratio", Type: evidence.Double},
		{Name: "there", Type: evidence.Bool},
		{Name: "names", Type: evidence.List},
	}, nil
}

// condition refuses the variable that isn't there.
func condition(text string, one bool) error {
	if one == strings.Contains(text, "objects") {
		return errors.New("CEL: looks at what isn't there")
	}
	return nil
}

func against(t *testing.T) lab.Against {
	return lab.Against{Schema: schema, Manifests: sub(t, "manifests"), Docs: sub(t, "docs"), Condition: condition, Addons: []string{"metrics-server"}}
}

// edited is the example with one piece of text replaced.
func edited(t *testing.T, old, replacement string) fstest.MapFS {
	t.Helper()
	data, err := fs.ReadFile(sub(t, "catalogue"), example)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), old) {
		t.Fatalf("the example doesn't hold %q", old)
	}
	return fstest.MapFS{example: {Data: []byte(strings.Replace(string(data), old, replacement, 1))}}
}

func TestExample(t *testing.T) {
	if problems := lab.Lint(sub(t, "catalogue"), against(t)); len(problems) > 0 {
		t.Errorf("the example has problems:\n%s", problems.Error())
	}
	labs, _ := lab.Catalogue(sub(t, "catalogue"))
	if len(labs) != 1 || len(labs[0].Spec.Claims) != 3 || labs[0].File() != example {
		t.Fatalf("loaded %+v", labs)
	}
	c := labs[0].Spec.Claims[1]
	if c.ID != "ex-2" || string(c.Probes[0].With) != `{"labprobe":["identity"],"runtime":"gvisor"}` || c.Truth.ZH == "" {
		t.Errorf("claim %+v", c)
	}
}

// TestDocumentedExample keeps docs/lab-spec.md true.
func TestDocumentedExample(t *testing.T) {
	page, err := os.ReadFile("../../docs/lab-spec.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	text, _, ok := strings.Cut(rest, "```\n")
	if !ok {
		t.Fatal("docs/lab-spec.md has no YAML")
	}
	if problems := lab.Lint(fstest.MapFS{example: {Data: []byte(text)}}, against(t)); len(problems) > 0 {
		t.Error(problems)
	}
}

// TestMistakes holds one mistake a case: what is written, and what lint says.
func TestMistakes(t *testing.T) {
	for name, c := range map[string]struct{ old, replacement, want string }{
		"unknown field":     {"      show: [runc", "      shows: [runc", `30:7: spec.claims[0].shows: is no field of the spec; did you mean show?`},
		"far from a field":  {"  layer: L-3\n  needs", "  colour: red\n  layer: L-3\n  needs", `11:3: spec.colour: is no field of the spec; known: document, title, layer, needs, intro, manifests, claims, examples, steps`},
		"wrong type":        {"line: 9", "line: nine", `20:36: spec.claims[0].source.line: is the text "nine"; write a whole number`},
		"number for text":   {"id: ex-1", "id: 29.10", `16:11: spec.claims[0].id: is the number 29.10; put it in quotes: "29.10"`},
		"text for list":     {"manifests: [greeting.yaml]", "manifests: greeting.yaml", `14:14: spec.manifests: is the text "greeting.yaml"; write a list`},
		"list for fields":   {"  needs:\n    runtimes: [runc, gvisor]", "  needs: [runc]", `12:10: spec.needs: is a list; write fields (runtimes, nodes, host, addons, docker)`},
		"text for params":   {"with: {runtime: runc, labprobe: [identity]}", "with: identity", `25:17: spec.claims[0].probes[0].with: is the text "identity"; write the probe's parameters as fields`},
		"empty":             {"document: kernels.md", "document:", `7:12: spec.document: is empty; write text`},
		"blank":             {"en: Whose kernel is it?", `en: " "`, `9:9: spec.title.en: is empty; write something or leave the field out`},
		"duplicate field":   {"      show: [runc", "      layer: L-4\n      show: [runc", `30:7: spec.claims[0].layer: is there twice, first on line 21; keep one`},
		"duplicate param":   {"{runtime: runc, labprobe", "{runtime: runc, runtime: runc, labprobe", `25:33: spec.claims[0].probes[0].with.runtime: is there twice, first on line 25; keep one`},
		"missing field":     {"  document: kernels.md\n", "", `7:3: spec.document: is missing`},
		"missing language":  {"    zh: 这是谁的内核？\n", "", `9:5: spec.title.zh: is missing`},
		"bad enum":          {"expect: confirmed", "expect: confirm", `31:15: spec.claims[0].expect: is "confirm"; write one of confirmed, refuted, inconclusive, untestable, planned`},
		"bad layer":         {"  layer: L-3\n  needs", "  layer: L3\n  needs", `11:10: spec.layer: is "L3"; write one of L-0, L-1,`},
		"not YAML":          {"  name: kernel-identity", "  name: [", `5:1: is not YAML: `},
		"two documents":     {"    - title: {en: Ask", "---\na: 1\n---\n    - title: {en: Ask", `69:1: a second YAML document; write one lab a file`},
		"other version":     {"labctl.dev/v1alpha1", "labctl.dev/v2", `2:13: apiVersion: is "labctl.dev/v2"; this labctl reads labctl.dev/v1alpha1`},
		"other kind":        {"kind: Lab", "kind: Pod", `3:7: kind: is "Pod"; write Lab`},
		"bad name":          {"name: kernel-identity", "name: Kernel", `5:9: metadata.name: is "Kernel"; write a DNS label`},
		"path upwards":      {"document: kernels.md", "document: ../kernels.md", `7:13: spec.document: is "../kernels.md"; write a path relative to the docs folder`},
		"unknown runtime":   {"[runc, gvisor]", "[runc, gviser]", `13:22: spec.needs.runtimes[1]: is "gviser"; did you mean gvisor?`},
		"no cluster":        {"    runtimes: [runc, gvisor]", "    nodes: 0", `14:14: spec.manifests: need a cluster, but spec.needs.nodes is 0`},
		"unknown add-on":    {"[runc, gvisor]", "[runc, gvisor]\n    addons: [metric-server]", `14:14: spec.needs.addons[0]: unknown add-on "metric-server"; did you mean metrics-server?`},
		"add-on unasked":    {"id: ex-2", "id: ex-2\n      addons: [metrics-server]", `33:16: spec.claims[1].addons[0]: metrics-server isn't in spec.needs.addons (); name it there as well`},
		"unknown without":   {"id: ex-2", "id: ex-2\n      without: [a]", `33:17: spec.claims[1].without[0]: unknown add-on "a"`},
		"same id":           {"id: ex-2", "id: ex-1", `32:11: spec.claims[1].id: the claim ex-1 is in this lab twice; ids are unique in the catalogue`},
		"line zero":         {"line: 9", "line: 0", `20:36: spec.claims[0].source.line: is 0; lines count from 1`},
		"no digest":         {"lines: 2, sha256: ", "lines: 2, sha256: x", `20:57: spec.claims[0].source.sha256: kernels.md changed at line 9: the digest is 24941f239373bf67ff6aad063be8802a950d7f939d1dfdfcfbae9a1ee4aa6bb0 now; read the text again, then write that`},
		"no truth":          {"      truth:\n        en: The Sentry answers with a release of its own.\n        zh: Sentry 返回自己的版本号。\n", "", `32:7: spec.claims[1].truth: is missing; a claim that is expected to be refuted says what is true instead`},
		"truth of nothing":  {"expect: refuted", "expect: confirmed", `56:9: spec.claims[1].truth: belongs to expect: refuted, but this claim expects confirmed`},
		"no decide":         {"      decide: runc.kernel.boot_id == node.kernel.boot_id\n", "", `16:7: spec.claims[0].decide: is missing; a claim with probes says in CEL what confirms it`},
		"planned probes":    {"expect: confirmed", "expect: planned", `31:15: spec.claims[0].expect: is planned, but the claim has probes`},
		"no probes":         {"expect: planned", "expect: confirmed", `58:7: spec.claims[2].probes: are missing; without probes a claim can only be expected planned or untestable, not confirmed`},
		"no reason":         {"      because:\n        en: needs a hypervisor that migrates\n        zh: 需要支持热迁移的虚拟机管理器\n", "", `58:7: spec.claims[2].because: is missing; a claim that is planned without probes says why`},
		"decide alone":      {"expect: planned", "decide: a == b\n      expect: planned", `64:15: spec.claims[2].decide: needs probes; this claim has none`},
		"reason at probes":  {"expect: confirmed", "expect: confirmed\n      because: {en: x, zh: x}", `32:16: spec.claims[0].because: is for claims without probes`},
		"bad subject":       {"as: runc", "as: run-c", `23:15: spec.claims[0].probes[0].as: is "run-c"; write a name for CEL`},
		"reserved subject":  {"as: runc", "as: namespace", `23:15: spec.claims[0].probes[0].as: namespace is a word that CEL keeps; choose another name`},
		"same subject":      {"as: node", "as: runc", `26:15: spec.claims[0].probes[1].as: two probes are called runc; subjects are unique in a claim`},
		"unless gives yes":  {"verdict: inconclusive", "verdict: confirmed", `47:20: spec.claims[1].unless[0].verdict: is confirmed; write untestable`},
		"unknown probe":     {"kind: pod", "kind: pood", `24:17: spec.claims[0].probes[0].kind: unknown probe kind "pood"; did you mean pod?`},
		"unknown parameter": {"{runtime: runc,", "{runtim: runc,", `25:26: spec.claims[0].probes[0].with.runtim: parameters: unknown field "runtim"`},
		"unknown manifest":  {"greeting.yaml", "greetings.yaml", `14:15: spec.manifests[0]: there is no manifest greetings.yaml: file does not exist`},
		"unknown show":      {"show: [runc.kernel.boot_id]", "show: [runc.kernel.bootid]", `30:14: spec.claims[0].show[0]: no probe of this claim gives runc.kernel.bootid; did you mean runc.kernel.boot_id?`},
		"unused probe":      {"decide: runc.kernel.boot_id == node.kernel.boot_id", "decide: runc.kernel.boot_id != ''", `26:15: spec.claims[0].probes[1].as: nothing uses node; use its values in decide, unless or show, or drop the probe`},
		"no document":       {"document: kernels.md", "document: gone.md", `20:15: spec.claims[0].source: the document gone.md can't be read: file does not exist`},
		"line too far":      {"line: 9", "line: 14", `20:36: spec.claims[0].source.line: lines 14 to 15 are not in kernels.md, which has 14 lines`},
		"text moved":        {"line: 9", "line: 8", `20:36: spec.claims[0].source.line: the text moved in kernels.md: it is at line 9 now, not 8`},
		"text changed":      {"lines: 2", "lines: 1", `20:57: spec.claims[0].source.sha256: kernels.md changed at line 9: the digest is `},
		"other heading":     {`heading: "1"`, `heading: "2"`, `20:25: spec.claims[0].source.heading: is "2", but the nearest heading above line 9 of kernels.md is "1. Containers"`},

		"step's manifest":     {"labctl manifest greeting.yaml", "labctl manifest greetings.yaml greeting.yaml", `73:12: spec.steps[1].run: there is no manifest greetings.yaml: file does not exist`},
		"check of nothing":    {"        name: greeting\n", "", `78:9: spec.steps[1].check: write name for one object, or selector for several`},
		"check of two":        {"        name: greeting\n", "        name: greeting\n        selector: a=b\n", `78:9: spec.steps[1].check: write name for one object, or selector for several`},
		"check's selector":    {"        name: greeting\n", "        selector: a in b\n", `79:19: spec.steps[1].check.selector: is no label selector: `},
		"check's expression":  {"for: object != null", "for: objects != null", `80:14: spec.steps[1].check.for: CEL: looks at what isn't there`},
		"check until before":  {"        name: greeting\n", "        name: greeting\n        until: 2\n", `80:16: spec.steps[1].check.until: is 2; write the number of a later step that has a check`},
		"check without run":   {"    - title: {en: Greet, zh: 打招呼}\n      run: |\n        labctl manifest greeting.yaml | kubectl apply -f -\n        kubectl get configmap greeting -o yaml\n", "    - title: {en: Greet, zh: 打招呼}\n", `75:9: spec.steps[1].check: is for a step with a command`},
		"check without words": {"        hint: {en: Apply the manifest., zh: 应用这个清单。}\n", "        hint: {en: Apply the manifest.}\n", `81:15: spec.steps[1].check.hint.zh: is missing`},
		"check of no cluster": {"    runtimes: [runc, gvisor]\n  manifests: [greeting.yaml]", "    nodes: 0", `77:9: spec.steps[1].check: looks at a cluster, but spec.needs.nodes is 0`},

		"CEL syntax":           {"boot_id == node", "boot_id === node", `29:37: spec.claims[0].decide: CEL: Syntax error: token recognition error`},
		"CEL unknown name":     {"== node.kernel.boot_id", "== node.kernel.bootid", `29:38: spec.claims[0].decide: CEL: no probe of this claim gives node.kernel.bootid; did you mean node.kernel.boot_id?`},
		"CEL type":             {`gvisor.start < duration("10s")`, "gvisor.start < 10", `53:24: spec.claims[1].decide: CEL: found no matching overload for '_<_' applied to '(duration, int)'`},
		"CEL no bool":          {"runc.kernel.boot_id == node.kernel.boot_id", "runc.kernel.boot_id + node.kernel.boot_id", `29:15: spec.claims[0].decide: CEL: gives string; it must give a bool`},
		"CEL constant":         {"runc.kernel.boot_id == node.kernel.boot_id", "1 < 2", `29:15: spec.claims[0].decide: CEL: looks at no evidence, so it can't fail`},
		"CEL unless":           {`"!defined(gvisor.kernel.release)"`, `"!defined(gvisor.kernel.relase)"`, `46:26: spec.claims[1].unless[0].when: CEL: no probe of this claim gives gvisor.kernel.relase; did you mean gvisor.kernel.release?`},
		"CEL defined of what?": {`"!defined(gvisor.kernel.release)"`, `'!defined("x")'`, `46:27: spec.claims[1].unless[0].when: CEL: defined() wants the name of a value`},
		"CEL folded":           {"decide: |\n        gvisor.kernel.release == ", "decide: >-\n        gvisor.kernel.release\n\n        == nodes.kernel.release || \n        ", `54:12: spec.claims[1].decide: CEL: no probe of this claim gives nodes.kernel.release`},
	} {
		t.Run(name, func(t *testing.T) {
			problems := lab.Lint(edited(t, c.old, c.replacement), against(t))
			want := example + ":" + c.want
			if !slices.ContainsFunc(problems, func(p lab.Problem) bool { return strings.HasPrefix(p.String(), want) }) {
				t.Errorf("got  %s\nwant %s", problems.Error(), want)
			}
		})
	}
}

// TestEmptySelector: an empty selector is one that takes all.
func TestEmptySelector(t *testing.T) {
	fsys := edited(t, "        name: greeting\n        for: object != null && object.data.text != \"\"", "        selector: \"\"\n        for: size(objects) > 0")
	if problems := lab.Lint(fsys, against(t)); len(problems) > 0 {
		t.Fatal(problems)
	}
	l, _ := lab.Load(fsys, example)
	if s := l.Spec.Steps[1].Check.Selector; s == nil || *s != "" {
		t.Errorf("the selector is %v", s)
	}
}

func TestWithoutDocuments(t *testing.T) {
	without := against(t)
	without.Docs = nil
	if problems := lab.Lint(edited(t, "document: kernels.md", "document: gone.md"), without); len(problems) > 0 {
		t.Errorf("got %s", problems.Error())
	}
	problems := lab.Lint(edited(t, "lines: 2, sha256: ", "lines: 2, sha256: x"), without)
	if len(problems) != 1 || !strings.HasPrefix(problems[0].String(), example+":20:57: spec.claims[0].source.sha256: is \"x") {
		t.Errorf("got %s", problems.Error())
	}
}

func TestEveryMistakeIsNamed(t *testing.T) {
	fsys := fstest.MapFS{example: {Data: []byte("apiVersion: 1\nkind: Lab\nmetadata: {nam: x}\nspec: {document: [], layer: L-9}\n")}}
	_, problems := lab.Load(fsys, example)
	if len(problems) != 7 {
		t.Errorf("found %d:\n%s", len(problems), problems.Error())
	}
	if problems.Err() == nil || lab.Problems(nil).Err() != nil {
		t.Error("Err is wrong")
	}
}

func TestCatalogueWide(t *testing.T) {
	data, err := fs.ReadFile(sub(t, "catalogue"), example)
	if err != nil {
		t.Fatal(err)
	}
	fsys := fstest.MapFS{"a/lab.yaml": {Data: data}, "b/lab.yaml": {Data: data}, "b/guide.md": {Data: []byte("x")}}
	labs, problems := lab.Catalogue(fsys)
	if len(labs) != 2 || len(problems) != 4 {
		t.Fatalf("%d labs, problems:\n%s", len(labs), problems.Error())
	}
	for i, want := range []string{
		"b/lab.yaml:5:9: metadata.name: the lab kernel-identity is already at a/lab.yaml:5:9",
		"b/lab.yaml:16:11: spec.claims[0].id: the claim ex-1 is already at a/lab.yaml:16:11",
	} {
		if !strings.HasPrefix(problems[i].String(), want) {
			t.Errorf("got  %s\nwant %s", problems[i], want)
		}
	}
}

func TestHostileInput(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'i'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s*%c]\n", c, c, strings.Repeat(fmt.Sprintf("*%c,", c-1), 9), c-1)
	}
	params := func(with string) string {
		return "spec: {claims: [{probes: [{as: x, kind: y, with: " + with + "}]}]}\n"
	}
	for name, c := range map[string]struct{ text, want string }{
		"nothing":       {"", "is empty; a lab spec begins with apiVersion"},
		"only comments": {"# hello\n", "is empty; a lab spec begins with apiVersion"},
		"a scalar":      {"hello\n", `is the text "hello"; write fields (apiVersion, kind, metadata, spec)`},
		"binary":        {"\x00\x01\x02", "is not YAML: "},
		"alias bomb":    {bomb + params("{q: *i}"), "the spec has more than"},
		"self alias":    {params("&s {q: *s}"), "is nested too deeply"},
		"infinite":      {params("{q: .inf}"), "is .inf, which JSON can't hold"},
		"key of a list": {"? [a]\n: b\n", "has a key that is a list; write a name"},
	} {
		t.Run(name, func(t *testing.T) {
			l, problems := lab.Load(fstest.MapFS{example: {Data: []byte(c.text)}}, example)
			if l != nil || !strings.Contains(problems.Error(), c.want) {
				t.Errorf("got %.600s\nwant %s", problems.Error(), c.want)
			}
		})
	}
}

func TestDigest(t *testing.T) {
	unix, dos := lab.Digest([]string{"a", "b"}), lab.Digest([]string{"a\r", "b\r"})
	if unix != dos || len(unix) != 64 || unix == lab.Digest([]string{"ab"}) {
		t.Errorf("%s, %s", unix, dos)
	}
}
