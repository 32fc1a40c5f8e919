package formats

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestPrometheus(t *testing.T) {
	run1(t, []testCase{
		{name: "right", language: "yaml", format: "prometheus", content: `
global: {scrape_interval: 15s, external_labels: {site: a}}
rule_files: [a.yml]
scrape_configs:
  - job_name: a
    basic_auth: {username: a}
    kubernetes_sd_configs: [{role: pod}]
    relabel_configs: []
remote_write: [{url: "http://a/"}]
`},
		{name: "unknown fields", language: "yaml", format: "prometheus", content: `
global:
  scrape_interval: 15s
  retention: 24h
scrape_configs:
  - job: a
    static_config: [{targets: [a]}]
scrape_config: []
`, want: []string{
			"prometheus-config-invalid 7:1", "prometheus-config-invalid 3:3", "prometheus-config-invalid 5:5", "prometheus-config-invalid 6:5",
		}, message: "the field scrape_config", field: "scrape_config"},
		{name: "in a ConfigMap before which there is no ---", language: "yaml", content: `
apiVersion: v1
kind: ServiceAccount
metadata: {name: prometheus}

apiVersion: v1
kind: ConfigMap
metadata: {name: prometheus}
data:
  prometheus.yml: |
    global:
      retention: 24h
    scrape_configs:
      - job_name: a
        static_configs: [{targets: [a]}]
`, want: []string{"prometheus-config-invalid 11:7"}, message: "global.retention", field: "data[prometheus.yml]"},
		{name: "a part", language: "yaml", format: "prometheus", content: "alerting: {alertmanagers: []}\nfoo: 1\n"},
		{name: "something else", language: "yaml", format: "loki", content: "global: {retention: 1}\n"},
	})
}

// TestPrometheusFields compares the fields with the structs of the module.
func TestPrometheusFields(t *testing.T) {
	for module, structs := range map[string][]string{
		"github.com/prometheus/prometheus": {"Config", "GlobalConfig", "ScrapeConfig"},
		"github.com/prometheus/common":     {"HTTPClientConfig"},
	} {
		dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
		if err != nil || strings.TrimSpace(string(dir)) == "" {
			t.Skipf("the source of %s isn't there: %v", module, err)
		}
		file := map[bool]string{true: "config.go", false: "http_config.go"}[strings.HasSuffix(module, "/prometheus")]
		source, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "config", file))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range structs {
			body := regexp.MustCompile(`(?s)\ntype ` + name + ` struct \{(.*?)\n\}`).FindSubmatch(source)
			if body == nil {
				t.Fatalf("%s has no struct %s", module, name)
			}
			var want []string
			for _, m := range regexp.MustCompile(`yaml:"([a-z]\w*)`).FindAllSubmatch(body[1], -1) {
				want = append(want, string(m[1]))
			}
			got := slices.DeleteFunc(strings.Fields(prometheusFields[name]), func(f string) bool { return strings.Contains(f, "proxy") })
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s has the fields %q, not %q", name, want, got)
			}
		}
	}
}
