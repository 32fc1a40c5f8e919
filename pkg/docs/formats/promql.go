package formats

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

var promqlInvalid = docs.Rule{
	ID: "promql-invalid", Severity: docs.Error,
	Title: "a PromQL expression doesn't parse",
	Help: "Prometheus' parser refuses the expression: a rule file with it isn't loaded, a query with it gives an error. " +
		"Looked at are blocks of promql, alerting and recording rules, KEDA's and Argo Rollouts' queries and Grafana's panels. " +
		"Expressions with variables ($name, {{ name }}) and LogQL are left out.",
}

var promql = format{
	name: "PromQL", rules: []docs.Rule{promqlInvalid},
	is: func(t text) bool {
		found := t.Language == "promql"
		expressions(t, func(yamldoc.Doc, *yaml.Node, string) { found = true })
		return found
	},
	check: func(t text) (found []docs.Finding) {
		if t.Language == "promql" {
			return promqlBlock(t)
		}
		expressions(t, func(d yamldoc.Doc, n *yaml.Node, path string) {
			if len(found) <= maxFindings {
				e := t.scalar(d, n, path)
				found = append(found, promqlErrors(e, e.Text, 0)...)
			}
		})
		return found
	},
}

// expressionParser takes what any feature flag of Prometheus allows.
var expressionParser = parser.NewParser(parser.Options{
	EnableExperimentalFunctions: true, ExperimentalDurationExpr: true,
	EnableExtendedRangeSelectors: true, EnableBinopFillModifiers: true,
})

// promqlBlock judges a block: one expression, or several apart by empty lines
// or one on each line.
func promqlBlock(t text) (found []docs.Finding) {
	if judgeable(t.Text) && parses(t.Text) {
		return nil
	}
	lines := strings.Split(t.Text, "\n")
	for first := 0; first < len(lines) && len(found) <= maxFindings; {
		last := first
		for last < len(lines) && strings.TrimSpace(lines[last]) != "" {
			last++
		}
		found = append(found, promqlParagraph(t, lines, first, last)...)
		first = last + 1
	}
	return found
}

func promqlParagraph(t text, lines []string, first, last int) []docs.Finding {
	whole := strings.Join(lines[first:last], "\n")
	if parses(whole) {
		return nil
	}
	each := true
	for _, line := range lines[first:last] {
		each = each && parses(line)
	}
	if each {
		return nil
	}
	return promqlErrors(t, whole, first)
}

var comment = regexp.MustCompile(`(?m)^\s*#.*$`)

// parses says that a text is an expression, no expression at all, or one that
// can't be judged.
func parses(s string) bool {
	if strings.TrimSpace(comment.ReplaceAllString(s, "")) == "" || !judgeable(s) {
		return true
	}
	_, err := expressionParser.ParseExpr(s)
	return err == nil
}

// maxExpression is the size in bytes of an expression that is parsed: a chain
// of operators takes time that grows with the square of its length.
const maxExpression = 8 << 10

// judgeable leaves out what isn't PromQL before something is filled in, and
// LogQL, whose rule files look the same: only that has pipes.
func judgeable(s string) bool {
	bare := inQuotes.ReplaceAllString(comment.ReplaceAllString(s, ""), `""`)
	return len(s) <= maxExpression && !abridged(s) && !strings.ContainsAny(bare, "$|") && !strings.Contains(bare, "...")
}

// promqlErrors gives the first mistake of an expression that begins after
// `shift` lines of t.
func promqlErrors(t text, expression string, shift int) []docs.Finding {
	if !judgeable(expression) {
		return nil
	}
	_, err := expressionParser.ParseExpr(expression)
	if err == nil {
		return nil
	}
	if strings.Contains(err.Error(), "unexpected character: '.'") {
		return nil // a name with dots, which a feature flag of later versions allows
	}
	line, column, message := 1, 1, err.Error()
	var several parser.ParseErrors
	if errors.As(err, &several) && len(several) > 0 {
		at := min(max(int(several[0].PositionRange.Start), 0), len(strings.TrimRight(expression, "\n")))
		before := expression[:at]
		line = strings.Count(before, "\n") + 1
		column = at - strings.LastIndexByte(before, '\n')
		message = several[0].Err.Error()
	}
	return []docs.Finding{t.finding(promqlInvalid, line+shift, column, "Prometheus refuses the expression: %s", message)}
}

// expressions gives those of the objects and rule files of a text, each with
// its document and path.
func expressions(t text, give func(d yamldoc.Doc, n *yaml.Node, path string)) {
	for _, d := range t.docs {
		add := func(n *yaml.Node, path string) {
			if isString(n) {
				give(d, n, path)
			}
		}
		o, isObject := d.Object()
		group, _, _ := strings.Cut(o.APIVersion, "/")
		switch {
		case !isObject:
			ruleGroups(d.Value("groups"), "groups", add)
			for i, panel := range panels(d.Node) {
				for j, target := range items(field(panel, "targets")) {
					if prometheusPanel(panel, target) {
						add(field(target, "expr"), fmt.Sprintf("panels[%d].targets[%d].expr", i, j))
					}
				}
			}
		case group == "monitoring.coreos.com" && o.Kind == "PrometheusRule":
			ruleGroups(d.Value("spec.groups"), "spec.groups", add)
		case group == "keda.sh":
			for i, trigger := range items(d.Value("spec.triggers")) {
				if kind := field(trigger, "type"); kind != nil && kind.Value == "prometheus" {
					add(field(trigger, "metadata", "query"), fmt.Sprintf("spec.triggers[%d].metadata.query", i))
				}
			}
		case group == "argoproj.io":
			for i, metric := range items(d.Value("spec.metrics")) {
				add(field(metric, "provider", "prometheus", "query"), fmt.Sprintf("spec.metrics[%d].provider.prometheus.query", i))
			}
		}
	}
}

// ruleGroups finds the expressions of groups of rules: those whose rules have
// a name for what the expression gives.
func ruleGroups(groups *yaml.Node, path string, add func(*yaml.Node, string)) {
	for i, group := range items(groups) {
		for j, rule := range items(field(group, "rules")) {
			if field(rule, "alert") != nil || field(rule, "record") != nil {
				add(field(rule, "expr"), fmt.Sprintf("%s[%d].rules[%d].expr", path, i, j))
			}
		}
	}
}

// panels are those of a Grafana dashboard, as a file or as the API has it.
func panels(root *yaml.Node) []*yaml.Node {
	var found []*yaml.Node
	for _, dashboard := range []*yaml.Node{root, field(root, "dashboard")} {
		for _, panel := range items(field(dashboard, "panels")) {
			found = append(found, panel)
			for _, inner := range items(field(panel, "panels")) { // of a row
				found = append(found, inner)
			}
		}
	}
	return found
}

// prometheusPanel says that a query isn't for another source of data.
func prometheusPanel(panel, target *yaml.Node) bool {
	for _, n := range []*yaml.Node{field(target, "datasource"), field(panel, "datasource")} {
		if kind := field(n, "type"); kind != nil {
			return kind.Value == "prometheus"
		}
		if isString(n) && strings.Contains(strings.ToLower(n.Value), "loki") {
			return false
		}
	}
	return true
}
