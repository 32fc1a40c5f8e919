package formats

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/sirupsen/logrus"
	"go.yaml.in/yaml/v3"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

var (
	composeInvalid = docs.Rule{
		ID: "compose-invalid", Severity: docs.Error,
		Title: "Compose refuses a compose file",
		Help: "`docker compose config` gives this error: a field that the Compose specification doesn't have, a value of another type, " +
			"or a service that names a network, volume or service that the file doesn't define. Variables count as set; other files (include, extends, env_file) aren't read.",
	}
	composeVersion = docs.Rule{
		ID: "compose-version", Severity: docs.Note,
		Title: "a compose file has the obsolete field version",
		Help:  "Compose ignores `version` since 2.0 and warns of it on every command. Remove the line.",
	}
)

var compose = format{
	name: "Compose", rules: []docs.Rule{composeInvalid, composeVersion},
	is: func(t text) bool { return t.Format == "compose" && !abridged(t.Text) },
	check: func(t text) (found []docs.Finding) {
		for _, d := range t.docs {
			if services := d.Value("services"); services != nil && services.Kind == yaml.MappingNode {
				found = append(found, composeFile(t, d)...)
			}
		}
		return found
	},
}

func composeFile(t text, d yamldoc.Doc) (found []docs.Finding) {
	if d.Value("version") != nil {
		line, column, _ := d.FindKey("version")
		found = append(found, t.finding(composeVersion, line, column, "Compose ignores version and warns of it: remove the line"))
	}
	if len(d.Duplicates) > 0 {
		return found // another rule says so, and the loader says no more
	}
	if _, err := d.JSON(); err != nil {
		return append(found, t.finding(unchecked, d.Line, 0, "the document can't be judged as Compose: %v", err))
	}
	// The loader stops at the first mistake, in the order of a Go map. So what
	// it refuses is taken out, and it is asked again: all are found, always.
	var refused []composeError
	for len(refused) <= maxFindings {
		err := loadCompose(t.Text, d.Node, refused)
		if err == nil {
			break
		}
		e := composeErrorOf(err, d.Node)
		if slices.ContainsFunc(refused, func(r composeError) bool { return slices.Equal(r.path, e.path) }) {
			break
		}
		refused = append(refused, e)
		if len(e.path) == 0 {
			break
		}
	}
	for _, e := range refused {
		line, column, _ := d.FindKey(fieldPath(e.path))
		f := t.finding(composeInvalid, line, column, "Compose refuses the file: %s", e.message)
		f.Field = fieldPath(e.path)
		found = append(found, f)
	}
	slices.SortStableFunc(found, func(a, b docs.Finding) int { return a.Line - b.Line })
	return found
}

// loadCompose reads a file without what was refused, with all variables set
// and, if it refuses that, with none of them read.
func loadCompose(source string, root *yaml.Node, refused []composeError) error {
	var last error
	for _, interpolated := range []bool{true, false} {
		file := map[string]any{}
		if err := root.Decode(&file); err != nil {
			return err
		}
		delete(file, "version")
		for _, e := range refused {
			remove(file, e.path)
		}
		part := partial(file)
		quiet()
		_, err := loader.LoadWithContext(context.Background(), types.ConfigDetails{
			WorkingDir:  "/",
			ConfigFiles: []types.ConfigFile{{Filename: "compose.yaml", Config: file}},
		}, func(o *loader.Options) {
			o.SetProjectName("example", true)
			o.SkipInclude, o.SkipExtends, o.SkipResolveEnvironment, o.SkipResolveLabels = true, true, true, true
			o.ResolvePaths = false
			o.SkipConsistencyCheck = part
			o.SkipInterpolation = !interpolated
			o.Interpolate.LookupValue = func(name string) (string, bool) {
				return "1", !regexp.MustCompile(`\$\{` + regexp.QuoteMeta(name) + `:?-`).MatchString(source)
			}
		})
		if err == nil {
			return nil
		}
		if last == nil {
			last = err
		}
	}
	return last
}

// quiet keeps the loader's warnings off stderr; it is the only one here that
// logs by logrus.
var quiet = sync.OnceFunc(func() { logrus.SetLevel(logrus.ErrorLevel) })

// partial says that other files are meant to be read as well: what the file
// refers to may be there.
func partial(file map[string]any) bool {
	if file["include"] != nil {
		return true
	}
	services, _ := file["services"].(map[string]any)
	for _, s := range services {
		service, _ := s.(map[string]any)
		if service == nil || service["extends"] != nil || service["image"] == nil && service["build"] == nil && service["provider"] == nil {
			return true
		}
	}
	return false
}

// composeError is what the loader refuses: the keys and indices of a field
// and what is wrong with it.
type composeError struct {
	path    []string
	message string
}

var (
	undefined  = regexp.MustCompile(`^service "([^"]+)" (?:refers to undefined (?:build )?\w+|depends on undefined service) "?([^\s":]+)`)
	ofService  = regexp.MustCompile(`^service "?([^\s":]+)"? `)
	additional = regexp.MustCompile(`additional properties '([^']+)'`)
)

func composeErrorOf(err error, root *yaml.Node) composeError {
	message := strings.TrimPrefix(err.Error(), "validating compose.yaml: ")
	message = strings.TrimSuffix(message, ": invalid compose project")
	e := composeError{message: message}
	if m := undefined.FindStringSubmatch(message); m != nil {
		e.path = referring(field(root, "services", m[1]), m[2])
		if e.path != nil {
			e.path = append([]string{"services", m[1]}, e.path...)
			return e
		}
	}
	if m := ofService.FindStringSubmatch(message); m != nil {
		e.path = []string{"services", m[1]}
		return e
	}
	first, _, _ := strings.Cut(message, " ")
	e.path = walk(root, strings.Split(strings.TrimRight(first, ":"), "."))
	if m := additional.FindStringSubmatch(message); m != nil {
		e.path = append(e.path, m[1])
	}
	return e
}

// referring finds the field of a service that names something.
func referring(service *yaml.Node, name string) []string {
	for k, v := range entries(service) {
		for inner := range entries(v) {
			if inner.Value == name {
				return []string{k.Value, name}
			}
		}
		for i, item := range items(v) {
			source, _, _ := strings.Cut(item.Value, ":")
			if s := field(item, "source"); s != nil {
				source = s.Value
			}
			if source == name {
				return []string{k.Value, strconv.Itoa(i)}
			}
		}
	}
	return nil
}

// walk follows the parts of a path that was joined by dots, whose keys may
// have dots themselves, as far as it goes.
func walk(n *yaml.Node, parts []string) (path []string) {
	for len(parts) > 0 && n != nil {
		if i, err := strconv.Atoi(parts[0]); err == nil && n.Kind == yaml.SequenceNode && i >= 0 && i < len(n.Content) {
			path, n, parts = append(path, parts[0]), n.Content[i], parts[1:]
			continue
		}
		taken := 0
		for l := len(parts); l > 0 && taken == 0; l-- {
			if next := field(n, strings.Join(parts[:l], ".")); next != nil {
				path, n, taken = append(path, strings.Join(parts[:l], ".")), next, l
			}
		}
		if taken == 0 {
			break
		}
		parts = parts[taken:]
	}
	return path
}

// remove takes a field out; for an item the whole list, so that the indices
// of others stay.
func remove(in any, path []string) {
	for i, name := range path {
		m, ok := in.(map[string]any)
		if !ok {
			return
		}
		if _, list := m[name].([]any); list || i == len(path)-1 {
			delete(m, name)
			return
		}
		in = m[name]
	}
}

// fieldPath writes a path as yamldoc.Doc.Find takes it.
func fieldPath(path []string) string {
	var b strings.Builder
	for i, name := range path {
		_, err := strconv.Atoi(name)
		switch {
		case err == nil || strings.ContainsAny(name, ".[]/ "):
			b.WriteString("[" + name + "]")
		case i == 0:
			b.WriteString(name)
		default:
			b.WriteString("." + name)
		}
	}
	return b.String()
}
