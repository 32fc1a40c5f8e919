package k3s

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/BurntSushi/toml"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/isolation-stack/labctl/pkg/provision/runtimes"
)

// What K3s renders, cut down to what matters here; the template's fields stand
// for what it finds on PATH.
const (
	base2 = `version = 2
[plugins."io.containerd.grpc.v1.cri"]
  stream_server_port = "10010"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = true
{{ range $name, $type := . }}
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes."{{ $name }}"]
  runtime_type = "{{ $type }}"
{{ end }}`
	base3 = `version = 3
[plugins.'io.containerd.cri.v1.runtime']
  enable_selinux = false
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  SystemdCgroup = true
{{ range $name, $type := . }}
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.'{{ $name }}']
  runtime_type = "{{ $type }}"
{{ end }}`
	imports = "imports = [\"/var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.d/*.toml\"]\n"
)

// found are runtimes that K3s finds.
type found map[string]string

var crunFound = found{"crun": "io.containerd.runc.v2"}

// render does what K3s does when it starts; user is the user's template or "".
func render(t *testing.T, user, base string, f found) []byte {
	t.Helper()
	if user == "" {
		user = extend
	}
	tmpl, err := template.New("user").Parse(user)
	if err != nil {
		t.Fatalf("K3s refuses the template: %v\n%s", err, user)
	}
	if _, err := tmpl.New("base").Parse(base); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := tmpl.Execute(&out, f); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestAdd(t *testing.T) {
	both := []string{"gvisor", "wasmedge"}
	for _, c := range []struct {
		name    string
		base    string
		user    string // the template that is there
		dropIns map[string][]byte
		found   found // at the last start
		next    found // at the next start, if it is another
		runwasi bool
		version string
		file    string
		want    []string // labctl's handlers
		err     string
	}{
		{name: "drop-in", base: imports + base3, file: dropIn, want: both},
		{name: "drop-in beside the user's template", base: imports + base3, user: "{{ template \"base\" . }}\n# mine\n", file: dropIn, want: both},
		{name: "version 3 without import", base: base3, file: templateV3, want: both},
		{name: "version 2", base: base2, file: templateV2, want: both},
		{name: "version 2 with an import folder", base: strings.Replace(imports, "config-v3", "config", 1) + base2, file: templateV2, want: both},
		{name: "version 3 with the user's template", base: base3, user: "{{- template \"base\" . -}}\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.'mine']\n  runtime_type = \"x\"", file: templateV3, want: both},
		{name: "crun that K3s found", base: base3, found: crunFound, file: templateV3, want: both},
		{name: "crun that K3s will find", base: base3, next: crunFound, file: templateV3, want: both},
		{name: "runwasi's shim that K3s will find", base: base3, next: found{"wasmedge": "io.containerd.wasmedge.v1"}, runwasi: true, file: templateV3, want: []string{"gvisor"}},
		{name: "runwasi's shim, by drop-in", base: imports + base3, next: found{"wasmedge": "io.containerd.wasmedge.v1"}, runwasi: true, file: dropIn, want: []string{"gvisor"}},
		{name: "the user's handler gvisor in his template", base: base2,
			user: "{{ template \"base\" . }}\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.gvisor]\n  runtime_type = \"io.containerd.runsc.v1\"\n",
			file: templateV2, want: []string{"wasmedge"}},
		{name: "the user's handler gvisor in a drop-in", base: imports + base3,
			dropIns: map[string][]byte{"10-mine.toml": []byte("version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.gvisor]\nruntime_type = \"io.containerd.runsc.v1\"\n")},
			file:    dropIn, want: []string{"wasmedge"}},
		{name: "a template without the base", base: base3, user: base3, file: templateV3, err: "add that line"},
		{name: "a broken drop-in", base: imports + base3, dropIns: map[string][]byte{"10-mine.toml": []byte("[")}, err: "10-mine.toml doesn't parse"},
		{name: "an old K3s", base: base2, version: "1.27.4", err: "1.27.5"},
		{name: "a K3s with the backport", base: base2, version: "1.25.13", file: templateV2, want: both},
		{name: "not there yet", err: "--docker"},
		{name: "no TOML", base: "version = ", err: "doesn't parse"},
		{name: "another version", base: "version = 4", err: "has version 4"},
		{name: "no runc", base: "version = 3", err: "no handler runc"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.version == "" {
				c.version = "1.33.1"
			}
			if c.next == nil {
				c.next = c.found
			}
			f := containerdFiles{DropIns: c.dropIns}
			if c.base != "" {
				f.Rendered = render(t, c.user, c.base, c.found)
			}
			if c.user != "" && strings.Contains(c.base, "version = 2") {
				f.TemplateV2 = []byte(c.user)
			} else if c.user != "" {
				f.TemplateV3 = []byte(c.user)
			}
			box := layout("/usr/bin/crun", true)
			a, err := add(f, version.MustParseGeneric(c.version), box, c.runwasi)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("got %v, want it to say %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if a.file != c.file || !slices.Equal(a.handlers, c.want) || !a.changed {
				t.Fatalf("%s with %q (changed: %v), want %s with %q\n%s", a.file, a.handlers, a.changed, c.file, c.want, a.content)
			}
			// K3s starts again, containerd reads what there is.
			user := c.user
			if a.template {
				user = string(a.content)
			}
			config := render(t, user, c.base, c.next)
			handlers := merged(t, config, a, c.dropIns)
			want := slices.Concat(both, []string{"runc"})
			for _, name := range want {
				if !slices.Contains(handlers, name) {
					t.Errorf("no handler %s in %q\n%s", name, handlers, config)
				}
			}
			// Once more: nothing to do.
			f.Rendered = config
			switch a.file {
			case dropIn:
				f.DropIn = a.content
			case templateV2:
				f.TemplateV2 = a.content
			case templateV3:
				f.TemplateV3 = a.content
			}
			again, err := add(f, version.MustParseGeneric(c.version), box, c.runwasi)
			if err != nil || again.changed || again.file != a.file || !slices.Equal(again.handlers, a.handlers) {
				t.Errorf("again: %s with %q, changed %v, error %v\n%s\nis now\n%s", again.file, again.handlers, again.changed, err, a.content, again.content)
			}
			// And taken back, the template is the user's again.
			if a.template && c.user != "" {
				cut := string(block.Cut(a.content))
				if cut != c.user && cut != c.user+"\n" {
					t.Errorf("without the block it is %q, and was %q", cut, c.user)
				}
			}
		})
	}
}

// merged are the handlers of the configuration with what it imports.
func merged(t *testing.T, config []byte, a addition, dropIns map[string][]byte) []string {
	t.Helper()
	files := [][]byte{config}
	if a.file == dropIn {
		files = append(files, a.content)
		for _, d := range dropIns {
			files = append(files, d)
		}
	}
	var names []string
	for _, text := range files {
		var all map[string]any
		if _, err := toml.Decode(string(text), &all); err != nil {
			t.Fatalf("containerd refuses it: %v\n%s", err, text)
		}
		handlers, err := runtimes.ReadBack(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range handlers {
			names = append(names, h.Name)
			if h.Name == "gvisor" && h.Type != "io.containerd.runsc.v1" {
				t.Errorf("gvisor has the type %q", h.Type)
			}
		}
	}
	return names
}

// TestAddAfterRunwasi is runwasi's shim that comes after labctl: the table
// that K3s will render goes out of labctl's block.
func TestAddAfterRunwasi(t *testing.T) {
	box := layout("/usr/bin/crun", true)
	k3s := version.MustParseGeneric("1.33.1")
	f := containerdFiles{Rendered: render(t, "", base3, nil)}
	a, err := add(f, k3s, box, false)
	if err != nil {
		t.Fatal(err)
	}
	f.TemplateV3, f.Rendered = a.content, render(t, string(a.content), base3, nil)
	a, err = add(f, k3s, box, true)
	if err != nil || !a.changed || !slices.Equal(a.handlers, []string{"gvisor"}) {
		t.Fatalf("%q, changed %v, %v", a.handlers, a.changed, err)
	}
	config := render(t, string(a.content), base3, found{"wasmedge": "io.containerd.wasmedge.v1"})
	if got := merged(t, config, a, nil); !slices.Contains(got, "gvisor") || !slices.Contains(got, "wasmedge") {
		t.Errorf("%q", got)
	}
}

// TestAddKeepsMechanism is a K3s that was upgraded to one with drop-ins after
// labctl wrote a template.
func TestAddKeepsMechanism(t *testing.T) {
	box := layout("/usr/bin/crun", false)
	k3s := version.MustParseGeneric("1.35.2")
	f := containerdFiles{Rendered: render(t, "", base3, nil)}
	a, err := add(f, k3s, box, false)
	if err != nil {
		t.Fatal(err)
	}
	f.TemplateV3, f.Rendered = a.content, render(t, string(a.content), imports+base3, nil)
	if a, err = add(f, k3s, box, false); err != nil || a.changed || a.file != templateV3 {
		t.Errorf("%s, changed %v, %v", a.file, a.changed, err)
	}
}

func TestExtendsBase(t *testing.T) {
	for v, want := range map[string]bool{
		"1.23.17": false, "1.24.16": false, "1.24.17": true, "1.25.12": false, "1.25.13": true,
		"1.26.7": false, "1.26.8": true, "1.27.4": false, "1.27.5": true, "1.28.1": true, "1.35.0": true,
	} {
		if got := extendsBase(version.MustParseGeneric(v)); got != want {
			t.Errorf("%s: %v", v, got)
		}
	}
}
