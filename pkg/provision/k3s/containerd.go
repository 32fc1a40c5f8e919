package k3s

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/isolation-stack/labctl/pkg/provision/k3s/ledger"
	"github.com/isolation-stack/labctl/pkg/provision/runtimes"
)

// block marks labctl's tables in a template that is another's.
var block = &ledger.Block{
	Begin: "# >>> labctl: the labs' runtimes; labctl down --provider k3s takes this block away",
	End:   "# <<< labctl",
}

// containerdFiles is what K3s's folder of containerd's configuration holds.
type containerdFiles struct {
	// Rendered is what K3s wrote when it started; nil if it hasn't yet.
	Rendered []byte
	// TemplateV3, TemplateV2 and DropIn are nil where there is none.
	TemplateV3, TemplateV2, DropIn []byte
	// DropIns are the other files that are imported, by name.
	DropIns map[string][]byte
}

// mechanism is how a K3s takes additions to containerd's configuration.
type mechanism struct {
	file     string
	version  int64 // of the file's format
	template bool
}

var (
	byDropIn     = mechanism{dropIn, 3, false}
	byTemplateV3 = mechanism{templateV3, 3, true}
	byTemplateV2 = mechanism{templateV2, 2, true}
)

// addition is the file with which labctl adds handlers.
type addition struct {
	mechanism
	content []byte
	// handlers are those in it; others are those that are there without it.
	handlers, others []string
	// changed says that the file isn't like that yet.
	changed bool
}

// parsed is what matters of a rendered configuration.
type parsed struct {
	version int64
	imports []string
	// handlers are the tables of the runtimes by name.
	handlers map[string]map[string]any
}

// The plugins that hold the handlers, by the version of the file
// (containerd's docs/cri/config.md).
var criPlugins = map[int64]string{2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.runtime"}

func parseContainerd(text []byte) (parsed, error) {
	var config map[string]any
	if err := toml.Unmarshal(text, &config); err != nil {
		return parsed{}, err
	}
	p := parsed{handlers: map[string]map[string]any{}}
	p.version, _ = config["version"].(int64)
	imports, _ := config["imports"].([]any)
	for _, i := range imports {
		p.imports = append(p.imports, fmt.Sprint(i))
	}
	table := config
	for _, key := range []string{"plugins", criPlugins[p.version], "containerd", "runtimes"} {
		table, _ = table[key].(map[string]any)
	}
	for name, handler := range table {
		if t, ok := handler.(map[string]any); ok {
			p.handlers[name] = t
		}
	}
	return p, nil
}

// add says which file adds the handlers gvisor and wasmedge to the
// configuration, and what is in it. runwasi says that K3s renders the table
// wasmedge at its next start, because it finds runwasi's shim.
func add(f containerdFiles, k3s *version.Version, l runtimes.Layout, runwasi bool) (addition, error) {
	if f.Rendered == nil {
		return addition{}, fmt.Errorf("K3s runs, but it wrote no %s: labctl configures the containerd that K3s brings, below its own data folder (not one of --docker, --container-runtime-endpoint or --data-dir)", rendered)
	}
	now, err := parseContainerd(f.Rendered)
	if err != nil {
		return addition{}, fmt.Errorf("%s, as K3s wrote it, doesn't parse: %w; mend the template beside it and restart K3s", rendered, err)
	}
	if criPlugins[now.version] == "" {
		return addition{}, fmt.Errorf("%s has version %d, and labctl knows 2 and 3; this K3s is too old or too new for this labctl", rendered, now.version)
	}
	a := addition{mechanism: choose(f, now)}
	there := f.text(a.file)
	rest := there
	if a.template {
		rest = block.Cut(there)
	}
	others, err := others(f, now, a.mechanism, there, rest)
	if err != nil {
		return a, err
	}
	if runwasi {
		others[runtimes.WasmEdge] = true
	}
	a.others = slices.Sorted(maps.Keys(others))
	runc, ok := now.handlers[runtimes.Runc]
	if !ok {
		return a, fmt.Errorf("%s has no handler runc, which is there in every configuration of K3s's own; does the template extend the base?", rendered)
	}
	var tables bytes.Buffer
	handlers := l.Handlers(runc)
	for _, name := range slices.Sorted(maps.Keys(handlers)) {
		if others[name] {
			continue
		}
		a.handlers = append(a.handlers, name)
		if err := writeTable(&tables, now.version, name, handlers[name].(map[string]any)); err != nil {
			return a, err
		}
	}
	if there == nil && len(a.handlers) == 0 {
		return a, nil
	}
	if a.content, err = a.compose(rest, tables.Bytes(), k3s); err != nil {
		return a, err
	}
	a.changed = !bytes.Equal(a.content, there)
	if a.changed && a.template {
		err = a.check(f.Rendered, there, tables.Bytes())
	}
	return a, err
}

// choose takes the mechanism that was taken before as long as it fits what K3s
// rendered, else the best that this K3s has.
func choose(f containerdFiles, now parsed) mechanism {
	for _, m := range []mechanism{byTemplateV3, byTemplateV2} {
		if _, _, ours := block.Find(f.text(m.file)); ours && m.version == now.version {
			return m
		}
	}
	switch {
	case now.version == 2:
		return byTemplateV2
	case slices.ContainsFunc(now.imports, func(i string) bool { return path.Dir(i) == dropIns }):
		return byDropIn
	}
	return byTemplateV3
}

func (f containerdFiles) text(file string) []byte {
	switch file {
	case templateV3:
		return f.TemplateV3
	case templateV2:
		return f.TemplateV2
	}
	return f.DropIn
}

// header finds the tables of handlers in a template, which is no TOML yet.
var header = regexp.MustCompile(`(?m)^[ \t]*\[plugins\..+\.containerd\.runtimes\.["']?([A-Za-z0-9_-]+)["']?\]`)

// others are the handlers that don't come from labctl: that K3s rendered, or
// that a template or a drop-in of the user's has.
func others(f containerdFiles, now parsed, m mechanism, there, rest []byte) (map[string]bool, error) {
	found := map[string]bool{}
	for name := range now.handlers {
		found[name] = true
	}
	if start, end, ours := block.Find(there); m.template && ours {
		for _, match := range header.FindAllSubmatch(there[start:end], -1) {
			delete(found, string(match[1]))
		}
	}
	if m.template {
		for _, match := range header.FindAllSubmatch(rest, -1) {
			found[string(match[1])] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.DropIns)) {
		imported, err := parseContainerd(f.DropIns[name])
		if err != nil {
			return nil, fmt.Errorf("%s doesn't parse, and containerd doesn't start with it: %w", path.Join(dropIns, name), err)
		}
		for handler := range imported.handlers {
			found[handler] = true
		}
	}
	return found, nil
}

// writeTable writes a handler's tables with their full names: the tables above
// are K3s's, and TOML has each once.
func writeTable(b *bytes.Buffer, version int64, name string, handler map[string]any) error {
	flat := maps.Clone(handler)
	options, _ := flat["options"].(map[string]any)
	delete(flat, "options")
	full := fmt.Sprintf("plugins.'%s'.containerd.runtimes.'%s'", criPlugins[version], name)
	for _, t := range []struct {
		name   string
		values map[string]any
	}{{full, flat}, {full + ".options", options}} {
		fmt.Fprintf(b, "[%s]\n", t.name)
		e := toml.NewEncoder(b)
		e.Indent = ""
		if err := e.Encode(t.values); err != nil {
			return fmt.Errorf("containerd's handler %s: %w", name, err)
		}
	}
	return nil
}

// base is how a template takes in K3s's own (text/template).
var base = regexp.MustCompile(`\{\{-?\s*template\s+"base"\s+\.\s*-?\}\}`)

const extend = "{{ template \"base\" . }}\n"

// compose puts the tables into the file; rest is the file without labctl's part.
func (a addition) compose(rest, tables []byte, k3s *version.Version) ([]byte, error) {
	if !a.template {
		return append([]byte("# Written by labctl; labctl down --provider k3s takes it away.\nversion = 3\n"), tables...), nil
	}
	if len(tables) == 0 {
		return rest, nil
	}
	if bytes.Contains(tables, []byte("{{")) {
		return nil, errors.New("a path of a runtime has {{ in it, which a template of K3s's can't hold")
	}
	if a.version == 2 && k3s != nil && !extendsBase(k3s) {
		return nil, fmt.Errorf("K3s %s can't extend its own template of containerd's configuration; take 1.24.17, 1.25.13, 1.26.8, 1.27.5, 1.28 or newer", k3s)
	}
	switch {
	case len(bytes.TrimSpace(rest)) == 0:
		rest = []byte(extend)
	case !base.Match(rest):
		return nil, fmt.Errorf("%s is yours and doesn't extend K3s's own (it has no %s), so labctl doesn't know what it makes of the machine and leaves it alone; add that line, or the handlers yourself:\n%s",
			a.file, strings.TrimSpace(extend), tables)
	case !bytes.HasSuffix(rest, []byte("\n")):
		rest = append(bytes.Clone(rest), '\n')
	}
	return slices.Concat(rest, []byte("\n"+block.Begin+"\n"), tables, []byte(block.End+"\n")), nil
}

// extendsBase says whether a K3s knows {{ template "base" . }} in
// config.toml.tmpl: those of August 2023 and newer do
// (https://github.com/k3s-io/k3s/pull/7991 and its backports).
func extendsBase(k3s *version.Version) bool {
	first := map[uint]uint{24: 17, 25: 13, 26: 8, 27: 5}
	if k3s.Major() != 1 || k3s.Minor() >= 28 {
		return k3s.Major() >= 1
	}
	patch, known := first[k3s.Minor()]
	return known && k3s.Patch() >= patch
}

// check puts the tables behind what K3s rendered, as K3s will, and sees
// whether that is TOML.
func (a addition) check(now, there, tables []byte) error {
	if _, _, ours := block.Find(there); ours {
		return nil // what is rendered has the old tables
	}
	var config map[string]any
	if _, err := toml.Decode(string(slices.Concat(now, []byte("\n"), tables)), &config); err != nil {
		return fmt.Errorf("containerd's configuration with labctl's handlers wouldn't parse: %w", err)
	}
	return nil
}
