package formats

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/xconfmap"
	"go.opentelemetry.io/collector/exporter/debugexporter"
	"go.opentelemetry.io/collector/exporter/otlpexporter"
	"go.opentelemetry.io/collector/exporter/otlphttpexporter"
	"go.opentelemetry.io/collector/pipeline"
	"go.opentelemetry.io/collector/processor/batchprocessor"
	"go.opentelemetry.io/collector/processor/memorylimiterprocessor"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/service/pipelines"
	"go.opentelemetry.io/collector/service/telemetry/otelconftelemetry"
	"go.yaml.in/yaml/v3"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

var (
	otelInvalid = docs.Rule{
		ID: "otel-collector-invalid", Severity: docs.Error,
		Title: "the OpenTelemetry collector doesn't start with a configuration",
		Help: "The collector reads its whole configuration before it starts and ends at the first mistake: a pipeline that names a component which isn't configured, " +
			"a section or field that doesn't exist, a component that was removed (logging → debug, jaeger → otlp). " +
			"The fields of the components of the collector's core are judged by their own code, v0.157; those of others aren't.",
	}
	otelComponent = docs.Rule{
		ID: "otel-collector-component", Severity: docs.Warning,
		Title: "no distribution of the OpenTelemetry collector has a component of this type",
		Help: "The collector's releases (core, contrib, k8s, otlp, eBPF profiler) don't have it, so they end with \"unknown type\". " +
			"Only a collector that was built with it starts; say which one, or use a component that is there.",
	}
)

var otel = format{
	name: "OpenTelemetry collector", rules: []docs.Rule{otelInvalid, otelComponent},
	is: func(t text) bool { return t.Format == "otel-collector" || slices.ContainsFunc(t.docs, isCollector) },
	check: func(t text) (found []docs.Finding) {
		for _, d := range t.docs {
			c := collector{text: t, found: &found}
			switch {
			case !isCollector(d):
				if t.Format == "otel-collector" {
					c.check(d.Node)
				}
			case isString(d.Value("spec.config")): // v1alpha1
				inner := t.scalar(d, d.Value("spec.config"), "spec.config")
				for _, config := range yamldoc.Parse(inner.Text) {
					c.text = inner
					c.check(config.Node)
				}
			default:
				if o, ok := d.Object(); ok {
					c.text.object, c.path = objectName(o), "spec.config."
				}
				c.check(d.Value("spec.config"))
			}
		}
		return found
	},
}

func isCollector(d yamldoc.Doc) bool {
	o, ok := d.Object()
	return ok && o.Kind == "OpenTelemetryCollector" && strings.HasPrefix(o.APIVersion, "opentelemetry.io/")
}

// sections of a configuration that hold components, with the factories of
// the collector's core.
var sections = sync.OnceValue(func() map[string]map[string]component.Factory {
	return map[string]map[string]component.Factory{
		"receivers":  {"otlp": otlpreceiver.NewFactory()},
		"processors": {"batch": batchprocessor.NewFactory(), "memorylimiter": memorylimiterprocessor.NewFactory()},
		"exporters": {
			"otlp": otlpexporter.NewFactory(), "otlpgrpc": otlpexporter.NewFactory(),
			"otlphttp": otlphttpexporter.NewFactory(), "debug": debugexporter.NewFactory(),
		},
		"connectors": {},
		"extensions": {},
	}
})

// removed are types that the collector had, with what took their place
// (changelogs of the collector and of contrib).
var removed = map[string]map[string]string{
	"receivers":  {"opencensus": "use otlp", "prometheusexec": "run the exporter and use prometheus"},
	"processors": {"spanmetrics": "use the connector span_metrics", "servicegraph": "use the connector service_graph", "routing": "use the connector routing"},
	"exporters": {
		"logging": "use debug", "jaeger": "use otlp_grpc: Jaeger reads OTLP", "jaegerthrifthttp": "use otlp_http: Jaeger reads OTLP",
		"loki": "use otlp_http: Loki reads OTLP", "opencensus": "use otlp_grpc", "sapm": "use otlp_http",
	},
	"extensions": {"memoryballast": "set the environment variable GOMEMLIMIT"},
}

//go:embed otel_components.txt
var componentList string

// componentTypes are those of all distributions, as "receivers/otlp", without
// underscores.
var componentTypes = sync.OnceValue(func() map[string]bool {
	all := map[string]bool{}
	for line := range strings.Lines(componentList) {
		section, names, _ := strings.Cut(line, ":")
		if strings.HasPrefix(line, "#") {
			continue
		}
		for _, name := range strings.Fields(names) {
			all[section+"/"+plain(name)] = true
		}
	}
	return all
})

// sample is a name that stands for any component.
var sample = regexp.MustCompile(`^(?:foo|bar|baz|example|sample|my|your|custom)|^(?:receiver|processor|exporter|connector|extension)\d*$`)

// plain is a type without underscores: file_log and filelog are one receiver.
func plain(typ string) string { return strings.ReplaceAll(typ, "_", "") }

// collector judges one configuration.
type collector struct {
	text  text
	path  string // before the fields' paths: "spec.config."
	found *[]docs.Finding
}

func (c collector) report(r docs.Rule, n *yaml.Node, path, message string, args ...any) {
	f := c.text.finding(r, n.Line, n.Column, message, args...)
	if c.text.object == "" || c.path != "" {
		f.Field = c.path + path
	}
	*c.found = append(*c.found, f)
}

func (c collector) check(root *yaml.Node) {
	if root == nil || root.Kind != yaml.MappingNode {
		return
	}
	service := field(root, "service")
	defined := map[string]map[string]bool{} // section → ids
	for key, section := range entries(root) {
		factories, ok := sections()[key.Value]
		switch {
		case ok:
			defined[key.Value] = c.components(key.Value, section, factories)
		case key.Value != "service" && service != nil:
			c.report(otelInvalid, key, key.Value, "the collector has no section %q: there are receivers, processors, exporters, connectors, extensions and service", key.Value)
		}
	}
	c.service(service, defined)
}

// components judges those of a section and gives their ids.
func (c collector) components(section string, components *yaml.Node, factories map[string]component.Factory) map[string]bool {
	kind := strings.TrimSuffix(section, "s")
	ids := map[string]bool{}
	for key, config := range entries(components) {
		if key.ShortTag() == "!!merge" {
			return nil // what is merged in isn't looked at, so nothing is missing
		}
		path := section + "." + key.Value
		var id component.ID
		if err := id.UnmarshalText([]byte(key.Value)); err != nil {
			c.report(otelInvalid, key, path, "%q is no name of a component (type or type/name): %v", key.Value, err)
			continue
		}
		ids[id.String()] = true
		typ := plain(id.Type().String())
		if instead, ok := removed[section][typ]; ok {
			c.report(otelInvalid, key, path, "the collector has no %s %s any more: %s", kind, id.Type(), instead)
			continue
		}
		if sample.MatchString(typ) {
			continue
		}
		if !componentTypes()[section+"/"+typ] {
			c.report(otelComponent, key, path, "no distribution of the collector has a %s of type %s", kind, id.Type())
			continue
		}
		if f := factories[typ]; f != nil {
			c.settings(key, config, path, f.CreateDefaultConfig())
		}
	}
	return ids
}

// settings judges the fields of a component by its own code. Values that the
// collector takes from elsewhere (${env:NAME}) aren't known.
func (c collector) settings(key, config *yaml.Node, path string, into any) {
	if refers(config) || config.ShortTag() == "!!null" {
		return // nothing at all stands for what isn't shown as often as for the defaults
	}
	values := map[string]any{}
	if config.Kind == yaml.MappingNode {
		if err := config.Decode(&values); err != nil {
			return
		}
	} else {
		c.report(otelInvalid, key, path, "the collector needs a mapping or nothing in %s", path)
		return
	}
	err := confmap.NewFromStringMap(values).Unmarshal(into)
	if err != nil {
		c.fields(key, config, path, err.Error())
		return
	}
	if err := xconfmap.Validate(into); err != nil {
		c.fields(key, config, path, err.Error())
	}
}

var (
	unknownKeys = regexp.MustCompile(`'([^'\n]*)' has invalid keys: ([^\n]+)`)
	ofField     = regexp.MustCompile(`'([\w.\[\]/-]+)'`)
	ofPath      = regexp.MustCompile(`^([\w-]+(?:::[\w./-]+)*): `)
)

// fields reports what the code of a component says of its fields, at them.
func (c collector) fields(key, config *yaml.Node, path, message string) {
	if all := unknownKeys.FindAllStringSubmatch(message, -1); all != nil {
		for _, m := range all {
			// The path that the message has is that inside some part of the
			// component, so the field is looked for below it.
			inside, at, parent := descend(key, config, m[1])
			for _, name := range strings.Split(m[2], ", ") {
				place, where := at, join(parent, name)
				if k, path := search(inside, name); k != nil {
					place, where = k, join(parent, path)
				}
				c.report(otelInvalid, place, join(path, where), "the collector doesn't know the field %s in %s", name, strings.TrimSuffix(join(path, where), "."+name))
			}
		}
		return
	}
	parts := ""
	if m := ofPath.FindStringSubmatch(message); m != nil {
		parts = strings.ReplaceAll(m[1], "::", ".")
	} else if m := ofField.FindStringSubmatch(message); m != nil {
		parts = m[1]
	}
	_, at, parent := descend(key, config, parts)
	message = strings.TrimPrefix(message, "decoding failed due to the following error(s):")
	c.report(otelInvalid, at, join(path, parent), "the collector refuses %s: %s", path, strings.TrimSpace(message))
}

// descend follows names that are joined by dots as far as they go, and gives
// the value and the key there and the names that were found.
func descend(key, n *yaml.Node, names string) (value, at *yaml.Node, path string) {
	value, at = n, key
	for _, name := range strings.Split(names, ".") {
		next := field(value, name)
		if next == nil {
			break
		}
		for k := range entries(value) {
			if k.Value == name {
				at = k
			}
		}
		value, path = next, join(path, name)
	}
	return value, at, path
}

// search finds a key by its name, the one that is least deep.
func search(n *yaml.Node, name string) (key *yaml.Node, path string) {
	type place struct {
		n    *yaml.Node
		path string
	}
	for next := []place{{n, ""}}; len(next) > 0; next = next[1:] {
		for k, v := range entries(next[0].n) {
			if k.Value == name {
				return k, join(next[0].path, name)
			}
			next = append(next, place{v, join(next[0].path, k.Value)})
		}
	}
	return nil, ""
}

func join(names ...string) string {
	return strings.Join(slices.DeleteFunc(names, func(s string) bool { return s == "" }), ".")
}

// refers says that some value comes from elsewhere, is to be filled in, or is
// an alias.
func refers(n *yaml.Node) bool {
	return n.Kind == yaml.AliasNode || strings.Contains(n.Value, "${") || placeholder.MatchString(n.Value) || n.ShortTag() == "!!merge" || slices.ContainsFunc(n.Content, refers)
}

// elides says that some value stands for what was left out.
func elides(n *yaml.Node) bool {
	return n.Value == "..." || n.Value == "…" || slices.ContainsFunc(n.Content, elides)
}

// service judges the section service: its fields, and that pipelines and
// extensions are of components that the configuration has. A section that the
// text doesn't have at all may have been left out of it.
func (c collector) service(service *yaml.Node, defined map[string]map[string]bool) {
	for key, value := range entries(service) {
		switch key.Value {
		case "telemetry":
			c.settings(key, value, "service.telemetry", otelconftelemetry.NewFactory().CreateDefaultConfig())
		case "extensions":
			c.references(value, "service.extensions", "extension", defined["extensions"])
		case "pipelines":
			for id, p := range entries(value) {
				c.pipeline(id, p, defined)
			}
		default:
			c.report(otelInvalid, key, "service."+key.Value, "the collector's service has no field %s: there are telemetry, extensions and pipelines", key.Value)
		}
	}
}

func (c collector) pipeline(key, p *yaml.Node, defined map[string]map[string]bool) {
	path := "service.pipelines." + key.Value
	var id pipeline.ID
	if err := id.UnmarshalText([]byte(key.Value)); err != nil {
		c.report(otelInvalid, key, path, "%q is no pipeline: %v", key.Value, err)
		return
	}
	if id.Signal().String() == "profiles" {
		return // behind a feature gate, which may be on
	}
	if p.Kind != yaml.MappingNode || refers(p) || elides(p) {
		return
	}
	var config pipelines.PipelineConfig
	for k, list := range entries(p) {
		at := path + "." + k.Value
		switch k.Value {
		case "receivers":
			config.Receivers = c.references(list, at, "receiver", either(defined["receivers"], defined["connectors"]))
		case "processors":
			config.Processors = c.references(list, at, "processor", defined["processors"])
		case "exporters":
			config.Exporters = c.references(list, at, "exporter", either(defined["exporters"], defined["connectors"]))
		default:
			c.report(otelInvalid, k, at, "a pipeline has no field %s: there are receivers, processors and exporters", k.Value)
		}
	}
	part := len(config.Receivers) == 0 && defined["receivers"] == nil || len(config.Exporters) == 0 && defined["exporters"] == nil
	if err := config.Validate(); err != nil && !part {
		c.report(otelInvalid, key, path, "the collector refuses the pipeline %s: %v", key.Value, err)
	}
}

// either joins the components of a section with the connectors; nil if the
// text doesn't have the section.
func either(section, connectors map[string]bool) map[string]bool {
	if section == nil {
		return nil
	}
	all := map[string]bool{}
	for _, ids := range []map[string]bool{section, connectors} {
		for id := range ids {
			all[id] = true
		}
	}
	return all
}

// references judges a list of ids of components.
func (c collector) references(list *yaml.Node, path, kind string, defined map[string]bool) (ids []component.ID) {
	for i, n := range items(list) {
		at := fmt.Sprintf("%s[%d]", path, i)
		var id component.ID
		if err := id.UnmarshalText([]byte(n.Value)); err != nil {
			c.report(otelInvalid, n, at, "%q is no name of a component (type or type/name): %v", n.Value, err)
			continue
		}
		ids = append(ids, id)
		if defined != nil && !defined[id.String()] {
			c.report(otelInvalid, n, at, "the %s %s isn't configured: %ss has no %s", kind, id, kind, id)
		}
	}
	return ids
}
