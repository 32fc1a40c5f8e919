package classify

import (
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// format is a kind of configuration in YAML or JSON that has no apiVersion and
// kind. A value of a format is known by the keys that nothing else has in
// this shape; none of them is enough as a word.
type format struct {
	name string
	// whole is the content of a file, part what may stand inside one.
	whole, part shape
	// keys are those that the top of a file may have besides. If they are
	// given, at least half of the keys must be of them.
	keys string
}

// formatOf gives the format of a value, and whether it is a whole file; the
// name is "" if none fits.
func formatOf(root *yaml.Node) (name string, whole bool) {
	for _, f := range formats {
		if f.whole != nil && f.whole(root) && f.fits(root) {
			return f.name, true
		}
	}
	for _, f := range formats {
		if f.part != nil && f.part(root) {
			return f.name, false
		}
	}
	return "", false
}

func (f format) fits(root *yaml.Node) bool {
	if f.keys == "" || !isMapping(root) {
		return true
	}
	known, all := 0, keys(root)
	for _, key := range all {
		if strings.Contains(" "+f.keys+" ", " "+key+" ") || strings.HasPrefix(key, "x-") {
			known++
		}
	}
	return 2*known >= len(all)
}

var (
	strs    = list(isScalar)
	mapped  = shape(isMapping)
	listed  = shape(isList)
	command = anyOf(isScalar, isList)
)

// formats are in the order in which they are tried: those with the most
// particular shape first. Each names where its shape is documented.
var formats = []format{
	// Containers
	{ // github.com/compose-spec/compose-spec
		name:  "compose",
		whole: has(fields{"services": both(each(anyOf(mapped, isNull)), some(hasAny("image", "build", "extends", "provider")))}),
		keys:  "services version name networks volumes configs secrets include models",
	},
	{ // github.com/opencontainers/runtime-spec
		name:  "oci-runtime",
		whole: has(fields{"ociVersion": isScalar}),
	},
	{name: "oci-image", whole: has(fields{"schemaVersion": value("2")})},
	{ // github.com/containernetworking/cni
		name:  "cni",
		whole: both(has(fields{"cniVersion": isScalar}), hasAny("plugins", "type")),
	},
	{ // github.com/opencontainers/runtime-spec, seccomp
		name:  "seccomp",
		whole: has(fields{"defaultAction": isScalar, "syscalls": listed}),
	},
	{ // docs.docker.com/reference/cli/dockerd, daemon.json
		name: "docker-daemon",
		whole: hasAny("registry-mirrors", "insecure-registries", "exec-opts", "log-driver", "log-opts", "storage-driver",
			"storage-opts", "data-root", "live-restore", "default-runtime", "userns-remap", "default-ulimits",
			"default-address-pools", "max-concurrent-downloads", "max-concurrent-uploads", "cgroup-parent", "containerd-snapshotter"),
		keys: "registry-mirrors insecure-registries exec-opts log-driver log-opts log-level log-format storage-driver storage-opts " +
			"data-root live-restore default-runtime runtimes userns-remap default-ulimits default-address-pools " +
			"max-concurrent-downloads max-concurrent-uploads cgroup-parent features hosts tls tlsverify tlscacert tlscert tlskey " +
			"debug experimental ipv6 iptables ip6tables ip-forward ip-masq bip fixed-cidr fixed-cidr-v6 mtu dns dns-search dns-opts labels " +
			"metrics-addr builder group icc init selinux-enabled no-new-privileges seccomp-profile shutdown-timeout userland-proxy " +
			"authorization-plugins bridge containerd pidfile proxies default-shm-size default-ipc-mode default-cgroupns-mode",
	},
	{name: "docker-daemon", whole: has(fields{"runtimes": each(hasAny("path", "runtimeType"))})},
	{ // distribution.github.io/distribution/about/configuration
		name:  "docker-registry",
		whole: both(has(fields{"version": value("0.1")}), hasAny("storage", "http", "proxy", "auth", "log")),
	},
	{name: "harbor", whole: has(fields{"hostname": isScalar, "harbor_admin_password": isScalar})},

	// Clusters
	{ // docs.k3s.io/installation/private-registry
		name: "k3s-registries",
		whole: anyOf(
			has(fields{"mirrors": each(anyOf(hasAny("endpoint", "rewrite"), isNull))}),
			has(fields{"configs": each(hasAny("auth", "tls"))})),
		keys: "mirrors configs",
	},
	{name: "k3s", whole: k3s}, // docs.k3s.io/installation/configuration
	{ // etcd.io/docs, configuration file
		name:  "etcd",
		whole: has(fields{"name": isScalar, "data-dir": isScalar, "listen-client-urls": isScalar}),
	},
	{name: "rke", whole: has(fields{"nodes": list(has(fields{"address": isScalar, "role": anything}))})},
	{name: "talos", whole: has(fields{"machine": hasAny("type", "install", "kubelet", "network", "files"), "cluster": mapped})},
	{name: "talos", part: has(fields{"machine": hasAny("install", "kubelet", "network", "sysctls", "kernel")})},

	// Telemetry
	{ // opentelemetry.io/docs/collector/configuration
		name:  "otel-collector",
		whole: collector,
		part:  has(fields{"service": anyOf(has(fields{"telemetry": mapped}), has(fields{"pipelines": mapped}))}),
	},
	{ // prometheus.io/docs/prometheus/latest/configuration/configuration
		name: "prometheus",
		whole: anyOf(
			has(fields{"scrape_configs": list(hasAny("job_name"))}),
			has(fields{"global": hasAny("scrape_interval", "evaluation_interval", "external_labels", "scrape_timeout")}),
			has(fields{"alerting": has(fields{"alertmanagers": listed})}),
			has(fields{"remote_write": list(has(fields{"url": isScalar}))}),
			has(fields{"remote_read": list(has(fields{"url": isScalar}))}),
			has(fields{"rule_files": strs})),
		part: anyOf(
			list(has(fields{"job_name": isScalar})),
			both(has(fields{"job_name": isScalar}), anyServiceDiscovery),
			has(fields{"relabel_configs": listed}), has(fields{"metric_relabel_configs": listed}),
			list(has(fields{"source_labels": listed})),
			list(has(fields{"targets": strs}))),
		keys: "global scrape_configs scrape_config_files rule_files alerting remote_write remote_read storage tracing otlp runtime",
	},
	{ // prometheus.io/docs/prometheus/latest/configuration/recording_rules
		name:  "prometheus-rules",
		whole: has(fields{"groups": list(has(fields{"name": isScalar, "rules": list(promRule)}))}),
		part:  anyOf(list(promRule), promRule, both(has(fields{"name": isScalar, "rules": list(promRule)})), has(fields{"rules": list(promRule)})),
		keys:  "groups namespace",
	},
	{ // prometheus.io/docs/alerting/latest/configuration
		name: "alertmanager",
		whole: anyOf(
			has(fields{"route": hasAny("receiver", "group_by"), "receivers": list(has(fields{"name": isScalar}))}),
			has(fields{"receivers": list(both(has(fields{"name": isScalar}), notifier))}),
			has(fields{"inhibit_rules": list(hasAny("equal", "source_match", "source_matchers"))}),
			has(fields{"route": both(has(fields{"receiver": isScalar}), hasAny("group_by", "group_wait", "routes"))})),
		part: list(both(has(fields{"name": isScalar}), notifier)),
		keys: "global route receivers inhibit_rules templates time_intervals mute_time_intervals",
	},
	{name: "prometheus-adapter", whole: has(fields{"rules": list(has(fields{"seriesQuery": isScalar}))})},
	{name: "blackbox-exporter", whole: has(fields{"modules": each(has(fields{"prober": isScalar}))})},
	{ // github.com/cloudflare/ebpf_exporter
		name: "ebpf-exporter",
		whole: anyOf(
			has(fields{"programs": list(has(fields{"name": isScalar, "metrics": hasAny("counters", "histograms")}))}),
			has(fields{"metrics": both(hasAny("counters", "histograms"), each(list(has(fields{"name": isScalar, "labels": listed}))))})),
	},
	{name: "loki", whole: has(fields{"schema_config": has(fields{"configs": listed})})},
	{name: "loki", whole: has(fields{"limits_config": mapped, "server": mapped})},
	{name: "promtail", whole: has(fields{"clients": list(has(fields{"url": isScalar})), "positions": mapped})},
	{name: "tempo", whole: has(fields{"distributor": has(fields{"receivers": mapped}), "storage": mapped})},
	{name: "thanos-objstore", whole: has(fields{"type": isScalar, "config": hasAny("bucket", "container", "directory")}), keys: "type config prefix"},
	{ // grafana.com/docs/grafana/latest/administration/provisioning
		name:  "grafana-datasource",
		whole: has(fields{"apiVersion": isNumber, "datasources": list(has(fields{"name": isScalar, "type": isScalar}))}),
		part:  has(fields{"datasources": list(has(fields{"name": isScalar, "type": isScalar}))}),
	},
	{name: "grafana-dashboards", whole: has(fields{"apiVersion": isNumber, "providers": list(has(fields{"name": isScalar}))})},
	{name: "grafana-alerting", whole: both(has(fields{"apiVersion": isNumber}), hasAny("groups", "contactPoints", "policies", "muteTimes", "templates"))},
	{name: "grafana-dashboard", whole: has(fields{"panels": list(hasAny("type", "gridPos", "targets")), "title": isScalar})},
	{name: "fluent-bit", whole: has(fields{"pipeline": both(hasAny("inputs", "outputs"), each(listed))})},
	{name: "vector", whole: has(fields{"sources": each(has(fields{"type": isScalar})), "sinks": each(has(fields{"type": isScalar}))})},
	{name: "filebeat", whole: hasAny("filebeat.inputs", "filebeat.autodiscover")},
	{name: "elasticsearch", whole: has(fields{"cluster.name": isScalar}), keys: "cluster.name node.name path.data path.logs network.host http.port discovery.seed_hosts cluster.initial_master_nodes discovery.type"},

	// Packaging
	{ // helm.sh/docs/topics/charts
		name:  "helm-chart",
		whole: both(has(fields{"apiVersion": value("v1", "v2"), "name": isScalar, "version": isScalar}), hasNo("kind")),
		part:  has(fields{"dependencies": list(has(fields{"name": isScalar, "repository": isScalar}))}),
	},
	{name: "helmfile", whole: has(fields{"releases": list(has(fields{"name": isScalar, "chart": isScalar}))})},
	{ // kubectl.docs.kubernetes.io/references/kustomize/kustomization
		name: "kustomize",
		whole: anyOf(
			has(fields{"resources": both(strs, some(manifest))}), has(fields{"bases": strs}), has(fields{"components": both(strs, some(manifest))}),
			has(fields{"patchesStrategicMerge": listed}), has(fields{"patchesJson6902": listed}), has(fields{"helmCharts": list(hasAny("name"))}),
			has(fields{"configMapGenerator": list(hasAny("name"))}), has(fields{"secretGenerator": list(hasAny("name"))}),
			has(fields{"images": list(both(has(fields{"name": isScalar}), hasAny("newTag", "newName", "digest")))}),
			has(fields{"patches": list(hasAny("patch", "path"))})),
		keys: "resources bases components patches patchesStrategicMerge patchesJson6902 configMapGenerator secretGenerator generatorOptions " +
			"images namePrefix nameSuffix namespace commonLabels commonAnnotations labels replicas replacements vars crds configurations " +
			"generators transformers validators helmCharts helmGlobals openapi buildMetadata sortOptions metadata apiVersion kind",
	},
	{name: "helm-values", whole: helmValues},
	{name: "apko", whole: has(fields{"contents": hasAny("packages", "repositories")})},
	{name: "melange", whole: has(fields{"package": has(fields{"name": isScalar, "version": isScalar}), "pipeline": listed})},
	{name: "npm", whole: has(fields{"name": isScalar, "version": isScalar, "dependencies": each(isScalar)})},
	{name: "conda", whole: has(fields{"channels": strs, "dependencies": listed})},
	{name: "devfile", whole: has(fields{"schemaVersion": isScalar, "components": list(has(fields{"name": isScalar}))})},
	{name: "devcontainer", whole: both(hasAny("image", "build", "dockerComposeFile"), hasAny("postCreateCommand", "forwardPorts", "customizations", "remoteUser"))},
	{name: "openfaas", whole: has(fields{"provider": has(fields{"name": value("openfaas", "faas")}), "functions": mapped})},
	{name: "knative-func", whole: has(fields{"specVersion": isScalar, "runtime": isScalar})},
	{name: "serverless", whole: has(fields{"service": anything, "provider": has(fields{"name": isScalar}), "functions": mapped})},
	{name: "cloudformation", whole: anyOf(hasAny("AWSTemplateFormatVersion"), has(fields{"Resources": each(has(fields{"Type": isScalar}))}))},
	{name: "iam-policy", whole: has(fields{"Version": isScalar, "Statement": list(has(fields{"Effect": isScalar}))})},

	// Continuous integration
	{ // docs.github.com/actions/reference/workflow-syntax-for-github-actions
		name: "github-workflow",
		whole: both(hasAny("on", "true"),
			has(fields{"jobs": both(each(mapped), some(anyOf(hasAny("runs-on"), both(hasAny("uses"), hasNo("image")))))})),
		part: anyOf(
			has(fields{"jobs": each(hasAny("runs-on"))}), each(has(fields{"runs-on": anything})),
			list(githubStep), has(fields{"steps": list(githubStep)}),
			has(fields{"on": hasAny("push", "pull_request", "schedule", "workflow_dispatch", "release")})),
		keys: "name run-name on permissions env defaults concurrency jobs",
	},
	{name: "github-action", whole: has(fields{"name": isScalar, "runs": has(fields{"using": isScalar})})},
	{name: "dependabot", whole: has(fields{"updates": list(has(fields{"package-ecosystem": isScalar}))})},
	{name: "circleci", whole: has(fields{"version": anything, "jobs": some(both(hasAny("docker", "machine", "macos", "executor"), hasAny("steps")))})},
	{name: "azure-pipelines", whole: both(hasAny("trigger", "pool", "pr", "resources"), anyOf(
		has(fields{"steps": list(hasAny("task", "script", "bash", "checkout", "template"))}),
		has(fields{"stages": list(hasAny("stage"))}), has(fields{"jobs": list(hasAny("job", "deployment"))})))},
	{name: "drone", whole: has(fields{"kind": value("pipeline"), "steps": list(has(fields{"name": isScalar}))})},
	{name: "cloud-build", whole: has(fields{"steps": list(both(has(fields{"name": isScalar}), hasAny("args", "entrypoint", "script")))}), keys: "steps images options substitutions timeout artifacts logsBucket tags"},
	{name: "buildkite", whole: has(fields{"steps": list(anyOf(hasAny("command", "commands", "wait", "block", "group", "trigger"), value("wait")))})},
	{name: "bitbucket-pipelines", whole: has(fields{"pipelines": hasAny("default", "branches", "pull-requests", "custom", "tags")})},
	{name: "travis", whole: both(has(fields{"language": isScalar, "script": command})), keys: "language script install os dist services env matrix jobs before_install before_script after_success deploy cache branches notifications"},
	{name: "gitlab-ci", whole: gitlab}, // docs.gitlab.com/ci/yaml
	{name: "pre-commit", whole: has(fields{"repos": list(has(fields{"repo": isScalar, "hooks": listed}))})},
	{name: "taskfile", whole: has(fields{"version": value("3", "2"), "tasks": each(anyOf(hasAny("cmds", "cmd", "deps"), isList, isScalar))})},
	{name: "goreleaser", whole: both(has(fields{"builds": list(hasAny("main", "goos", "env", "binary", "ldflags"))}))},
	{name: "golangci-lint", whole: has(fields{"linters": hasAny("enable", "disable", "default", "settings", "enable-all", "disable-all")})},
	{name: "renovate", whole: has(fields{"extends": list(both(isScalar, matching(`^(config|github>|local>|:)`)))})},
	{name: "mkdocs", whole: has(fields{"site_name": isScalar})},

	// Proxies and policies
	{ // envoyproxy.io/docs/envoy/latest/api-v3/config/bootstrap
		name: "envoy",
		whole: anyOf(
			has(fields{"static_resources": hasAny("listeners", "clusters")}),
			has(fields{"dynamic_resources": hasAny("lds_config", "cds_config", "ads_config")}),
			has(fields{"resources": list(has(fields{"@type": isScalar}))})),
		part: anyOf(
			has(fields{"listeners": list(hasAny("filter_chains"))}), has(fields{"clusters": list(hasAny("load_assignment", "lb_policy"))}),
			has(fields{"http_filters": list(has(fields{"name": isScalar}))}), has(fields{"filter_chains": listed}),
			has(fields{"typed_config": has(fields{"@type": isScalar})}), list(has(fields{"name": isScalar, "typed_config": mapped}))),
	},
	{ // istio.io/latest/docs/reference/config/istio.mesh.v1alpha1
		name:  "istio-mesh",
		whole: has(fields{"defaultConfig": mapped}),
		part:  has(fields{"meshConfig": mapped}),
		keys:  "defaultConfig accessLogFile accessLogEncoding enableTracing outboundTrafficPolicy extensionProviders trustDomain rootNamespace defaultProviders enableAutoMtls",
	},
	{name: "traefik", whole: has(fields{"entryPoints": each(mapped)})},
	{name: "traefik", whole: has(fields{"http": both(hasAny("routers", "middlewares"), each(mapped))}), keys: "http tcp udp tls"},
	{name: "kong", whole: has(fields{"_format_version": isScalar})},
	{ // openpolicyagent.org/docs/latest/configuration
		name: "opa",
		whole: anyOf(
			has(fields{"bundles": each(hasAny("resource", "service"))}),
			has(fields{"services": each(has(fields{"url": isScalar})), "decision_logs": mapped}),
			has(fields{"decision_logs": hasAny("console", "service", "plugin", "reporting")}),
			has(fields{"plugins": hasAny("envoy_ext_authz_grpc")})),
		keys: "services bundles decision_logs plugins status labels discovery keys caching server storage default_decision default_authorization_decision distributed_tracing",
	},
	{ // falco.org/docs/reference/rules
		name: "falco-rules",
		whole: list(anyOf(
			has(fields{"rule": isScalar, "condition": isScalar, "output": isScalar}), has(fields{"macro": isScalar, "condition": isScalar}),
			has(fields{"list": isScalar, "items": listed}), both(has(fields{"rule": isScalar}), hasAny("priority", "enabled", "override", "append", "exceptions")),
			has(fields{"required_engine_version": anything}), has(fields{"required_plugin_versions": anything}))),
	},
	{name: "falco", whole: both(hasAny("rules_file", "rules_files", "falcoctl", "modern_ebpf"), hasAny("json_output", "engine", "http_output", "priority", "load_plugins", "plugins", "file_output", "stdout_output", "syslog_output"))},
	{name: "conftest", whole: has(fields{"policy": isScalar, "namespace": anything})},
	{name: "sops", whole: has(fields{"creation_rules": list(hasAny("age", "pgp", "kms", "path_regex", "encrypted_regex"))})},

	// Machines
	{ // docs.ansible.com/ansible/latest/playbook_guide
		name:  "ansible-playbook",
		whole: list(anyOf(both(has(fields{"hosts": anything}), hasAny("tasks", "roles", "pre_tasks", "post_tasks", "vars", "gather_facts")), hasAny("import_playbook", "ansible.builtin.import_playbook"))),
		part:  list(ansibleTask),
	},
	{name: "ansible-inventory", whole: has(fields{"all": both(hasAny("hosts", "children"), each(anyOf(mapped, isNull)))}), keys: "all"},
	{name: "cloud-init", whole: both(hasAny("runcmd", "write_files", "bootcmd", "cloud_init_modules"), hasAny("runcmd", "packages", "users", "write_files", "bootcmd", "package_update")),
		keys: "runcmd write_files bootcmd packages package_update package_upgrade users ssh_authorized_keys hostname fqdn ntp mounts apt yum_repos chpasswd swap growpart final_message power_state timezone disk_setup fs_setup groups manage_etc_hosts"},
	{name: "netplan", whole: has(fields{"network": both(hasAny("ethernets", "wifis", "bonds", "bridges", "vlans"), hasAny("version", "renderer"))})},

	// Programs
	{name: "spring", whole: has(fields{"spring": mapped})},
	{name: "openapi", whole: both(hasAny("openapi", "swagger"), hasAny("paths", "info", "components"))},
	{name: "asyncapi", whole: has(fields{"asyncapi": isScalar})},
	{
		name:  "json-schema",
		whole: has(fields{"$schema": matching(`json-schema\.org`)}),
		part: anyOf(
			has(fields{"type": value("object"), "properties": each(mapped)}), has(fields{"openAPIV3Schema": mapped}),
			has(fields{"properties": both(each(mapped), some(hasAny("type", "$ref", "anyOf", "x-kubernetes-int-or-string")))})),
	},
}

var promRule = both(has(fields{"expr": isScalar}), hasAny("alert", "record"))

var anyServiceDiscovery = hasKey(regexp.MustCompile(`^(static_configs|metrics_path|scrape_interval|[a-z0-9]+_sd_configs|relabel_configs)$`))

var notifier = hasKey(regexp.MustCompile(`^[a-z]+_configs$`))

var githubStep = anyOf(
	has(fields{"uses": matching(`^(\./|docker://|[\w.-]+/[\w./-]+@)`)}),
	both(has(fields{"name": isScalar, "run": isScalar})))

// ansibleTask has a name and a module: one of a collection by its full name,
// or one of those of ansible.builtin that are in daily use.
var ansibleTask = anyOf(
	hasKey(regexp.MustCompile(`^(ansible|community|kubernetes|amazon|azure|google|containers)\.\w+\.\w+$`)),
	both(has(fields{"name": isScalar}), hasKey(regexp.MustCompile(`^(apt|yum|dnf|copy|template|shell|systemd|service|lineinfile|blockinfile|get_url|unarchive|apt_repository|apt_key|modprobe|sysctl|set_fact|include_tasks|import_tasks|include_role|import_role)$`))))

func hasNo(key string) shape {
	return func(n *yaml.Node) bool { return field(n, key) == nil }
}

// hasKey is a mapping one of whose keys matches.
func hasKey(pattern *regexp.Regexp) shape {
	return func(n *yaml.Node) bool {
		for _, key := range keys(n) {
			if pattern.MatchString(key) {
				return true
			}
		}
		return false
	}
}

func matching(pattern string) shape {
	re := regexp.MustCompile(pattern)
	return func(n *yaml.Node) bool { return isScalar(n) && re.MatchString(n.Value) }
}

// manifest is the path or the address of a file or folder.
var manifest = matching(`\.ya?ml$|^\.{1,2}/|^https?://|/`)
