package formats

import "testing"

func TestPromQLBlocks(t *testing.T) {
	run1(t, []testCase{
		{name: "one", language: "promql", content: "sum by (pod) (\n  rate(http_requests_total[5m])\n)\n"},
		{name: "several", language: "promql", content: "# 负载\nrate(a[5m])\n\n# errors\nrate(b[5m]) /\nrate(c[5m])\n\nup\nup == 0\n"},
		{name: "wrong", language: "promql", content: "# load\nrate(a[5m])\n\n# errors\nrate(b[5m) /\nrate(c[5m])\n", want: []string{"promql-invalid 5:10"}, message: "unexpected"},
		{name: "variables", language: "promql", content: "rate(a{job=\"$job\"}[$__rate_interval])\n"},
		{name: "variables beside a mistake", language: "promql", content: "a{job=\"$job\"}\n\nrate(a[5m)\n", want: []string{"promql-invalid 3:10"}},
		{name: "left out", language: "promql", content: "rate(a{...}[5m])\n"},
		{name: "placeholder", language: "promql", content: "rate(<metric>[5m])\n"},
		{name: "an instant vector in rate", language: "promql", content: "rate(a)\n", want: []string{"promql-invalid 1:6"}, message: "expected type range vector"},
		{name: "LogQL", language: "promql", content: "sum(rate({app=\"shop\"} |= \"error\" [5m]))\n"},
		{name: "a pipe in quotes", language: "promql", content: "rate(a{x=~\"b|c\"}[5m)\n", want: []string{"promql-invalid 1:20"}},
	})
}

func TestPromQLInYAML(t *testing.T) {
	run1(t, []testCase{
		{name: "PrometheusRule", language: "yaml", content: `
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata: {name: shop}
spec:
  groups:
    - name: shop
      rules:
        - alert: Slow
          expr: histogram_quantile(0.9, rate(a_bucket[5m]) > 1
        - alert: Down
          expr: up == 0
        - record: shop:rate
          expr: |
            sum(
              rate(a[5m)
            )
`, want: []string{"promql-invalid 9:63", "promql-invalid 15:24"}, message: "unclosed left parenthesis", field: "spec.groups[0].rules[0].expr"},
		{name: "rule file", language: "yaml", content: `
groups:
  - name: shop
    rules:
      - alert: Slow
        expr: "a >"
`, want: []string{"promql-invalid 5:19"}, field: ""},
		{name: "rule file in a ConfigMap", language: "yaml", content: `
apiVersion: v1
kind: ConfigMap
metadata: {name: rules}
data:
  shop.yaml: |
    groups:
      - name: shop
        rules:
          - record: x
            expr: 'sum(a'
`, want: []string{"promql-invalid 10:25"}, field: "data[shop.yaml]"},
		{name: "Loki's rules", language: "yaml", content: `
groups:
  - name: shop
    rules:
      - alert: Errors
        expr: sum(rate({app="shop"} |= "error" [5m])) > 10
`},
		{name: "Helm's", language: "yaml", content: `
groups:
  - name: shop
    rules:
      - alert: Errors
        expr: 'a{namespace="{{ .Release.Namespace }}"'
`},
		{name: "rules of something else", language: "yaml", content: `
groups:
  - name: shop
    rules:
      - expr: 1 +
`},
		{name: "KEDA", language: "yaml", content: `
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: shop}
spec:
  triggers:
    - type: prometheus
      metadata:
        query: sum(rate(a[2m])
    - type: cron
      metadata:
        query: sum(
`, want: []string{"promql-invalid 8:31"}, field: "spec.triggers[0].metadata.query"},
		{name: "Rollouts", language: "yaml", content: `
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: {name: shop}
spec:
  metrics:
    - name: errors
      provider:
        prometheus:
          query: sum(rate(a[2m]))
    - name: more
      provider:
        prometheus:
          query: sum(rate(a[2m])) by
`, want: []string{"promql-invalid 13:37"}, field: "spec.metrics[1].provider.prometheus.query"},
	})
}

func TestPromQLOfDashboards(t *testing.T) {
	run1(t, []testCase{
		{name: "wrong", language: "json", content: `
{"dashboard": {"panels": [
  {"title": "CPU", "targets": [{"expr": "sum(rate(a[5m])"}]},
  {"title": "Logs", "datasource": {"type": "loki"}, "targets": [{"expr": "sum(rate({a=\"b\"}[5m])"}]},
  {"title": "Any", "targets": [{"expr": "rate(a[$__interval])"}]}
]}}
`, want: []string{"promql-invalid 2:57"}},
	})
}
