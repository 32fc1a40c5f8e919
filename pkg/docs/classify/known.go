package classify

import (
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// k3s is the configuration of K3s and RKE2: the flags of their server and
// agent, at least one of which is theirs alone.
func k3s(n *yaml.Node) bool {
	known, own, all, content := 0, 0, keys(n), values(n)
	for i, key := range all {
		if v := content[i]; !isScalar(v) && !strs(v) {
			return false
		}
		switch {
		case k3sOwn.MatchString(key):
			own++
		case k3sFlags.MatchString(key):
			known++
		}
	}
	return own > 0 && 2*(own+known) > len(all)
}

// Flags of "k3s server --help" and "rke2 server --help".
var (
	k3sOwn = regexp.MustCompile(`^(write-kubeconfig(-mode)?|tls-san|disable-(network-policy|cloud-controller|kube-proxy|helm-controller|apiserver|scheduler|controller-manager|etcd)|` +
		`cluster-init|cluster-cidr|service-cidr|service-node-port-range|cluster-dns|cluster-domain|flannel-(backend|iface|conf|ipv6-masq|external-ip|cni-conf)|node-(label|taint|ip|external-ip|name)|` +
		`(kubelet|kube-apiserver|kube-controller-manager|kube-scheduler|kube-proxy|etcd)-arg|datastore-(endpoint|cafile|certfile|keyfile)|` +
		`etcd-(expose-metrics|disable-snapshots|snapshot-[\w-]+|s3[\w-]*)|protect-kernel-defaults|secrets-encryption|agent-token(-file)?|egress-selector-mode|` +
		`embedded-registry|container-runtime-endpoint|system-default-registry|private-registry|default-runtime|prefer-bundled-bin|default-local-storage-path|with-node-id)$`)
	k3sFlags = regexp.MustCompile(`^(token(-file)?|server|disable|data-dir|debug|selinux|snapshotter|docker|rootless|bind-address|advertise-(address|port)|https-listen-port|` +
		`cni|profile|v|vmodule|log|alsologtostderr|kubelet-.*|lb-server-port|resolv-conf|vpn-auth(-file)?|image-credential-provider-.*|supervisor-metrics|pause-image|kine-tls|airgap-extra-registry)$`)
)

// collector is the configuration of an OpenTelemetry collector, or a part of
// it that is a file of its own: sections of components, each a mapping.
func collector(n *yaml.Node) bool {
	sections, known, all, content := 0, 0, keys(n), values(n)
	for i, key := range all {
		v := content[i]
		switch key {
		case "receivers", "processors", "exporters", "connectors", "extensions":
			if !each(anyOf(isMapping, isNull))(v) {
				if isNull(v) {
					continue
				}
				return false
			}
			for _, id := range keys(v) {
				if !componentID.MatchString(id) {
					return false
				}
				kind, _, _ := strings.Cut(id, "/")
				if strings.Contains(components, " "+kind+" ") {
					known++
				}
			}
			sections++
		case "service":
			if has(fields{"pipelines": each(hasAny("receivers", "exporters", "processors"))})(v) {
				sections, known = sections+1, known+1
			} else if hasAny("telemetry", "extensions")(v) {
				sections++
			}
		}
	}
	// Only a known component says that sections beside other keys, or a single
	// one whose name others use too, are those of a collector.
	return sections > 0 && (known > 0 || sections == len(all) && (sections > 1 || field(n, "extensions") == nil && field(n, "service") == nil))
}

// componentID is type[/name] (go.opentelemetry.io/collector/component.ID).
var componentID = regexp.MustCompile(`^[A-Za-z]\w*(/.+)?$`)

// components are the types of receivers, processors, exporters, connectors
// and extensions that the distributions "core", "contrib" and "k8s" of the
// collector document most.
const components = " otlp otlphttp otlp_http otlp_grpc debug logging file prometheus prometheusremotewrite prometheus_simple jaeger zipkin kafka hostmetrics host_metrics " +
	"kubeletstats k8s_cluster k8s_events k8sobjects filelog file_log fluentforward syslog tcplog udplog statsd redis postgresql mysql mongodb nginx " +
	"batch memory_limiter attributes resource resourcedetection k8sattributes k8s_attributes filter transform tail_sampling probabilistic_sampler span " +
	"metricstransform groupbyattrs groupbytrace cumulativetodelta deltatorate routing redaction interval " +
	"loki elasticsearch opensearch clickhouse awsxray awsemf datadog googlecloud splunk_hec loadbalancing nop null " +
	"spanmetrics span_metrics servicegraph forward count health_check pprof zpages file_storage bearertokenauth basicauth oauth2client oidc headers_setter docker_stats "

// gitlab is a pipeline of GitLab: jobs with a script.
func gitlab(n *yaml.Node) bool {
	jobs, keywords, all, content := 0, 0, keys(n), values(n)
	for i, key := range all {
		v := content[i]
		switch key {
		case "stages", "variables", "include", "default", "workflow", "image", "before_script", "after_script", "cache", "services", "spec":
			keywords++
		default:
			if has(fields{"script": command})(v) || isMapping(v) && hasAny("trigger", "extends", "stage")(v) && (strings.HasPrefix(key, ".") || field(v, "stage") != nil) {
				jobs++
			}
		}
	}
	switch {
	case jobs == 0:
		return keywords == len(all) && has(fields{"stages": strs})(n)
	case has(fields{"stages": strs})(n):
		return 2*(jobs+keywords) > len(all)
	}
	return jobs+keywords == len(all)
}

// helmValues are a chart's values: what charts made by "helm create", and the
// large charts that follow it, call their values, in their shapes.
func helmValues(n *yaml.Node) bool {
	return isMapping(n) && helmScore(n, 0) >= 3
}

func helmScore(n *yaml.Node, depth int) int {
	score := 0
	for key, signal := range helmSignals {
		if v := field(n, key); v != nil && signal.is(v) {
			score += signal.weight
		}
	}
	if depth < 2 {
		for _, v := range values(n) {
			if isMapping(v) {
				score += helmScore(v, depth+1)
			}
		}
	}
	return score
}

var helmSignals = map[string]struct {
	weight int
	is     shape
}{
	"image":              {3, both(has(fields{"repository": isScalar}), hasAny("tag", "pullPolicy", "registry", "digest"))},
	"replicaCount":       {2, isNumber},
	"nameOverride":       {2, isScalar},
	"fullnameOverride":   {2, isScalar},
	"serviceAccount":     {2, has(fields{"create": isBool})},
	"rbac":               {2, has(fields{"create": isBool})},
	"podAnnotations":     {1, isMapping},
	"podSecurityContext": {1, isMapping},
	"imagePullSecrets":   {1, isList},
	"persistence":        {2, has(fields{"enabled": isBool})},
	"ingress":            {2, has(fields{"enabled": isBool})},
	"autoscaling":        {2, has(fields{"enabled": isBool, "minReplicas": isNumber})},
	"serviceMonitor":     {2, has(fields{"enabled": isBool})},
	"service":            {1, both(has(fields{"type": value("ClusterIP", "NodePort", "LoadBalancer")}), hasNo("selector"), hasNo("ports"))},
	"installCRDs":        {2, isBool},
}
