package formats

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/isolation-stack/labctl/pkg/docs"
)

var prometheusInvalid = docs.Rule{
	ID: "prometheus-config-invalid", Severity: docs.Error,
	Title: "Prometheus doesn't start with a configuration file",
	Help: "Prometheus reads its file strictly: a field that doesn't exist ends it. Looked at are the top of the file, global and scrape_configs, as Prometheus 3.13 has them. " +
		"How long data is kept isn't in global: it is the flag --storage.tsdb.retention.time, or storage.tsdb.retention.",
}

// prometheusFields are the fields of parts of Prometheus' configuration: the
// structs Config, GlobalConfig and ScrapeConfig of
// github.com/prometheus/prometheus/config v0.313.3, and HTTPClientConfig of
// github.com/prometheus/common/config. The loader itself isn't linked: it
// brings the clients of the clouds' APIs with it.
var prometheusFields = map[string]string{
	"Config": "global runtime alerting rule_files scrape_config_files scrape_configs storage tracing remote_write remote_read otlp",
	"GlobalConfig": "scrape_interval scrape_timeout scrape_protocols evaluation_interval rule_query_offset query_log_file scrape_failure_log_file " +
		"external_labels body_size_limit sample_limit target_limit label_limit label_name_length_limit label_value_length_limit keep_dropped_targets " +
		"metric_name_validation_scheme metric_name_escaping_scheme scrape_native_histograms convert_classic_histograms_to_nhcb " +
		"always_scrape_classic_histograms extra_scrape_metrics",
	"ScrapeConfig": "job_name honor_labels honor_timestamps track_timestamps_staleness params scrape_interval scrape_timeout scrape_protocols " +
		"fallback_scrape_protocol scrape_native_histograms always_scrape_classic_histograms convert_classic_histograms_to_nhcb scrape_failure_log_file " +
		"metrics_path scheme enable_compression body_size_limit sample_limit target_limit label_limit label_name_length_limit label_value_length_limit " +
		"native_histogram_bucket_limit native_histogram_min_bucket_factor keep_dropped_targets metric_name_validation_scheme metric_name_escaping_scheme " +
		"extra_scrape_metrics relabel_configs metric_relabel_configs",
	"HTTPClientConfig": "basic_auth authorization oauth2 bearer_token bearer_token_file tls_config follow_redirects enable_http2 http_headers " +
		"proxy_url no_proxy proxy_from_environment proxy_connect_header",
}

var prometheus = format{
	name: "Prometheus", rules: []docs.Rule{prometheusInvalid},
	is: func(t text) bool { return t.Format == "prometheus" && !template(t.Text) },
	check: func(t text) (found []docs.Finding) {
		for _, d := range t.docs {
			if _, ok := d.Object(); ok {
				continue
			}
			unknown := func(n *yaml.Node, path string, structs ...string) {
				for key := range entries(n) {
					if known(key.Value, structs) || key.ShortTag() == "!!merge" {
						continue
					}
					f := t.finding(prometheusInvalid, key.Line, key.Column, "Prometheus doesn't know the field %s%s", path, key.Value)
					if t.object == "" {
						f.Field = path + key.Value
					}
					found = append(found, f)
				}
			}
			if global, scrape := d.Value("global"), d.Value("scrape_configs"); global == nil && scrape == nil {
				continue // a part of a file
			}
			unknown(d.Node, "", "Config")
			unknown(d.Value("global"), "global.", "GlobalConfig")
			for i, n := range items(d.Value("scrape_configs")) {
				unknown(n, fmt.Sprintf("scrape_configs[%d].", i), "ScrapeConfig", "HTTPClientConfig")
			}
		}
		return found
	},
}

func known(field string, structs []string) bool {
	if slices.Contains(structs, "ScrapeConfig") && (strings.HasSuffix(field, "_sd_configs") || field == "static_configs") {
		return true
	}
	return slices.ContainsFunc(structs, func(s string) bool {
		return slices.Contains(strings.Fields(prometheusFields[s]), field)
	})
}
