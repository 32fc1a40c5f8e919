package formats

import "testing"

func TestCollector(t *testing.T) {
	run1(t, []testCase{
		{name: "right", language: "yaml", format: "otel-collector", content: `
receivers:
  otlp:
    protocols:
      grpc: {endpoint: "0.0.0.0:4317"}
      http:
  filelog/app:
    include: [/var/log/app.log]
processors:
  memory_limiter: {check_interval: 1s, limit_mib: 400}
  batch:
exporters:
  otlp/tempo:
    endpoint: "${env:TEMPO}:4317"
    tls: {insecure: true}
  debug: {verbosity: detailed}
connectors:
  spanmetrics:
extensions:
  health_check:
service:
  extensions: [health_check]
  telemetry: {logs: {level: info}}
  pipelines:
    traces:
      receivers: [otlp]
      processors: [memory_limiter, batch]
      exporters: [otlp/tempo, spanmetrics]
    metrics/spans:
      receivers: [spanmetrics]
      exporters: [debug]
    logs:
      receivers: [filelog/app]
      exporters: [debug]
`},
		{name: "names that aren't configured", language: "yaml", format: "otel-collector", content: `
receivers: {otlp: {protocols: {grpc: }}}
processors: {batch: }
exporters: {debug: }
service:
  extensions: [health_check]
  pipelines:
    traces:
      receivers: [otlp, jaeger]
      processors: [batch, memory_limiter]
      exporters:
        - debug
        - otlp
    spans:
      receivers: [otlp]
      exporters: [debug]
    metrics:
      receivers: [otlp]
    logs:
      receivers: [otlp]
      processors: [batch, batch]
      exporters: [debug]
      connectors: []
`, want: []string{
			"otel-collector-invalid 8:25", "otel-collector-invalid 9:27", "otel-collector-invalid 12:11", "otel-collector-invalid 13:5",
			"otel-collector-invalid 16:5", "otel-collector-invalid 22:7", "otel-collector-invalid 18:5",
		}, message: "the receiver jaeger isn't configured", field: "service.pipelines.traces.receivers[1]"},
		{name: "components that were removed or never were", language: "yaml", format: "otel-collector", content: `
receivers:
  otlp: {protocols: {http: }}
  ebpf: {}
  myreceiver: {}
exporters:
  logging: {loglevel: debug}
  jaeger: {endpoint: "jaeger:14250"}
  "otlp/": {endpoint: "a:1"}
extensions:
  memory_ballast: {size_mib: 64}
processors:
  filter/2: {}
`, want: []string{
			"otel-collector-component 3:3", "otel-collector-invalid 6:3", "otel-collector-invalid 7:3", "otel-collector-invalid 8:3", "otel-collector-invalid 10:3",
		}, message: "receiver of type ebpf", field: "receivers.ebpf"},
		{name: "fields of components", language: "yaml", format: "otel-collector", content: `
receivers:
  otlp:
    protocols:
      grpc:
        endpiont: 0.0.0.0:4317
  otlp/2:
processors:
  batch: {timeout: soon}
  memory_limiter: {limit_mib: 400}
exporters:
  otlp: {tls: {insecure: true}}
  otlp/3: {endpoint: "<HOST>"}
  otlphttp: []
service:
  telemetry:
    metrics: {address: ":8888"}
  pipeline: {}
extension: {}
`, want: []string{
			"otel-collector-invalid 5:9", "otel-collector-invalid 8:11", "otel-collector-invalid 9:3",
			"otel-collector-invalid 11:3", "otel-collector-invalid 13:3", "otel-collector-invalid 18:1",
			"otel-collector-invalid 16:15", "otel-collector-invalid 17:3",
		}, message: "the field endpiont in receivers.otlp.protocols.grpc", field: "receivers.otlp.protocols.grpc.endpiont"},
		{name: "a part", language: "yaml", format: "otel-collector", content: `
service:
  pipelines:
    traces:
      receivers: [otlp]
      exporters: [debug]
`},
		{name: "left out", language: "yaml", format: "otel-collector", content: `
receivers: {receiver1: {x: 1}, otlp: {protocols: {grpc: }}}
exporters: {debug: }
service:
  pipelines:
    traces: {receivers: [...], exporters: [...]}
`},
		{name: "a part without receivers", language: "yaml", format: "otel-collector", content: `
exporters: {debug: }
service:
  pipelines:
    traces: {exporters: [debug]}
`},
		{name: "in a ConfigMap", language: "yaml", content: `
apiVersion: v1
kind: ConfigMap
metadata: {name: otel}
data:
  relay: |
    receivers:
      otlp: {protocols: {grpc: }}
    exporters:
      debug: {}
    service:
      pipelines:
        traces: {receivers: [otlp], exporters: [logging]}
`, want: []string{"otel-collector-invalid 12:49"}, message: "logging isn't configured", field: "data[relay]"},
		{name: "the operator's object", language: "yaml", content: `
apiVersion: opentelemetry.io/v1beta1
kind: OpenTelemetryCollector
metadata: {name: shop}
spec:
  config:
    receivers: {otlp: {protocols: {grpc: }}}
    exporters: {logging: }
    service: {pipelines: {traces: {receivers: [otlp], exporters: [logging]}}}
`, want: []string{"otel-collector-invalid 7:17"}, message: "use debug", field: "spec.config.exporters.logging"},
		{name: "the operator's older object", language: "yaml", content: `
apiVersion: opentelemetry.io/v1alpha1
kind: OpenTelemetryCollector
metadata: {name: shop}
spec:
  config: |
    receivers: {otlp: {protocols: {grpc: }}}
    exporters: {logging: }
`, want: []string{"otel-collector-invalid 7:17"}, field: "spec.config"},
		{name: "something else", language: "yaml", format: "fluent-bit", content: "receivers: {ebpf: }\nservice: {x: 1}\n"},
	})
}
