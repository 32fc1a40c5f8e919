package rules

import (
	"slices"
	"strings"

	"github.com/isolation-stack/labctl/pkg/docs"
)

var settingRules = []rule{
	{docs.Rule{
		ID: "setting-without-effect", Severity: docs.Warning,
		Title: "a label, an annotation or a variable that nothing reads there",
		Help:  "Labels and annotations are free text: a misplaced or outdated one is accepted and does nothing. The message says what to use instead.",
	}, findSetting},
	{docs.Rule{
		ID: "configmap-key-missing", Severity: docs.Warning,
		Title: "a ConfigMap of a well-known program lacks a key that it reads",
		Help:  "The program reads its configuration from keys of this ConfigMap that have fixed names; without one of them it doesn't start.",
	}, findConfigMapKey},
	{docs.Rule{
		ID: "envoy-wasm-runtime", Severity: docs.Error,
		Title: "a WebAssembly runtime that Envoy doesn't have",
		Help:  "The name of the runtime in vm_config is that of an extension which is built into Envoy: envoy.wasm.runtime.v8, .wamr, .wasmtime or .null. Istio's proxy has v8 (and null). Envoy refuses a listener with any other.",
	}, findEnvoyRuntime},
	{docs.Rule{
		ID: "serviceprofile-name", Severity: docs.Error,
		Title: "a ServiceProfile whose name is no full domain name",
		Help:  "Linkerd's proxy asks for the profile of the name that a client connects to, such as web.default.svc.cluster.local; a profile under a short name is never asked for.",
	}, findServiceProfile},
}

// where a setting stands.
type where string

const (
	namespaceLabel      where = "label of a Namespace"
	namespaceAnnotation where = "annotation of a Namespace"
	podLabel            where = "label of a Pod"
	podAnnotation       where = "annotation of a Pod"
	serviceAnnotation   where = "annotation of a Service"
	ingressAnnotation   where = "annotation of an Ingress"
	environment         where = "environment variable"
	nodeLabel           where = "label that chooses nodes"
	toleratedTaint      where = "taint that is tolerated"
)

// inert are settings that have no effect where they stand; a key that ends in
// "/" stands for all that begin so. Those of which the API server warns
// (seccomp, sysctls, critical Pods) aren't here.
var inert = []struct {
	where where
	key   string
	why   string
}{
	{namespaceLabel, "linkerd.io/inject", "Linkerd reads it as an annotation: move it to metadata.annotations"},
	{podLabel, "linkerd.io/inject", "Linkerd reads it as an annotation: move it to metadata.annotations"},
	{namespaceAnnotation, "istio-injection", "Istio reads it as a label: move it to metadata.labels"},
	{namespaceAnnotation, "pod-security.kubernetes.io/", "Pod Security admission reads labels: move it to metadata.labels"},
	{podAnnotation, "scheduler.alpha.kubernetes.io/tolerations", "ignored: use spec.tolerations"},
	{podAnnotation, "scheduler.alpha.kubernetes.io/affinity", "ignored: use spec.affinity"},
	{podAnnotation, "pod.beta.kubernetes.io/init-containers", "ignored: use spec.initContainers"},
	{serviceAnnotation, "service.alpha.kubernetes.io/tolerate-unready-endpoints", "ignored since Kubernetes 1.24: use spec.publishNotReadyAddresses"},
	{serviceAnnotation, "traefik.ingress.kubernetes.io/rule-type", "read by Traefik 1 alone, and on an Ingress"},
	{ingressAnnotation, "traefik.ingress.kubernetes.io/rule-type", "read by Traefik 1 alone: use pathType"},
	{nodeLabel, "node-role.kubernetes.io/master", "no node has it since Kubernetes 1.24: use node-role.kubernetes.io/control-plane"},
	{toleratedTaint, "node-role.kubernetes.io/master", "no node has it since Kubernetes 1.25: tolerate node-role.kubernetes.io/control-plane"},
	{environment, "WASMEDGE_WASI_SOCKET", "WasmEdge reads no such variable; its sockets are built in"},
	{environment, "WASMEDGE_PLUGIN_WASI_NN_BACKEND", "WasmEdge reads no such variable; the backend is part of --nn-preload"},
}

// noEffect says why a setting has no effect at a place, "" if it may have one.
func noEffect(at where, key string) string {
	for _, e := range inert {
		if e.where == at && (key == e.key || strings.HasSuffix(e.key, "/") && strings.HasPrefix(key, e.key)) {
			return e.why
		}
	}
	return ""
}

func findSetting(p *page, s *sink) {
	// The setting's name is a value in some places, a key in others.
	check := func(o *object, at where, f field) {
		if why := noEffect(at, f.text()); why != "" {
			s.field(o, f, "%s as %s has no effect: %s", quote(f.text()), at, why)
		}
	}
	checkKeys := func(o *object, at where, f field) {
		for _, key := range f.keys() {
			if why := noEffect(at, key); why != "" {
				s.key(o, f.get(key), "%s as %s has no effect: %s", quote(key), at, why)
			}
		}
	}
	for _, o := range p.objects {
		switch labels, annotations := o.get("metadata", "labels"), o.get("metadata", "annotations"); {
		case o.is("", "Namespace"):
			checkKeys(o, namespaceLabel, labels)
			checkKeys(o, namespaceAnnotation, annotations)
			checkPodSecurity(o, labels, s)
		case o.is("", "Service"):
			checkKeys(o, serviceAnnotation, annotations)
		case o.is(networkingGroup, "Ingress"):
			checkKeys(o, ingressAnnotation, annotations)
		}
	}
	for _, w := range p.workloads {
		checkKeys(w.object, podLabel, w.template.get("metadata", "labels"))
		checkKeys(w.object, podAnnotation, w.template.get("metadata", "annotations"))
		for _, c := range w.containers {
			for _, env := range c.get("env").items() {
				check(w.object, environment, env.get("name"))
			}
		}
		checkKeys(w.object, nodeLabel, w.pod.get("nodeSelector"))
		for _, term := range w.pod.get("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms").items() {
			for _, e := range term.get("matchExpressions").items() {
				if op := e.get("operator").text(); op == "In" || op == "Exists" {
					check(w.object, nodeLabel, e.get("key"))
				}
			}
		}
		tolerations := w.pod.get("tolerations").items()
		// Who tolerates both, or everything, is ready for old and new nodes.
		if !slices.ContainsFunc(tolerations, func(f field) bool {
			key := f.get("key").text()
			return key == "" || key == "node-role.kubernetes.io/control-plane"
		}) {
			for _, f := range tolerations {
				check(w.object, toleratedTaint, f.get("key"))
			}
		}
	}
}

// checkPodSecurity looks for labels of Pod Security admission that it doesn't
// have; it checks the values of its own ones itself.
func checkPodSecurity(o *object, labels field, s *sink) {
	for _, key := range labels.keys() {
		mode, ok := strings.CutPrefix(key, "pod-security.kubernetes.io/")
		if ok && !slices.Contains([]string{"enforce", "audit", "warn"}, strings.TrimSuffix(mode, "-version")) {
			s.key(o, labels.get(key), "%s has no effect: the modes are enforce, audit and warn, and -version of each", quote(key))
		}
	}
}

// wellKnown are ConfigMaps that a program of the cluster reads.
var wellKnown = []struct {
	name, program string
	keys          []string
}{
	{"kube-flannel-cfg", "flannel", []string{"cni-conf.json", "net-conf.json"}},
	{"coredns", "CoreDNS", []string{"Corefile"}},
	{"kube-proxy", "kube-proxy", []string{"config.conf"}},
}

func findConfigMapKey(p *page, s *sink) {
	for _, o := range p.of("", "ConfigMap") {
		for _, k := range wellKnown {
			if o.Name != k.name || o.Namespace != "kube-system" && o.Namespace != "kube-flannel" {
				continue
			}
			for _, key := range k.keys {
				if !o.get("data").empty() && !o.get("data").has(key) {
					s.key(o, o.get("data"), "%s reads the key %s of this ConfigMap, which isn't there", k.program, quote(key))
				}
			}
		}
	}
}

func findEnvoyRuntime(p *page, s *sink) {
	known := []string{"v8", "wamr", "wasmtime", "wavm", "null"}
	for _, o := range p.objects {
		if !o.is("networking.istio.io", "EnvoyFilter") {
			continue
		}
		o.texts(func(f field) {
			if !strings.HasSuffix(f.path, ".vm_config.runtime") && !strings.HasSuffix(f.path, ".vmConfig.runtime") {
				return
			}
			name, ok := strings.CutPrefix(f.text(), "envoy.wasm.runtime.")
			if !ok || !slices.Contains(known, name) {
				s.field(o, f, "Envoy has no WebAssembly runtime %s; Istio's proxy has envoy.wasm.runtime.v8", quote(f.text()))
			}
		})
	}
}

func findServiceProfile(p *page, s *sink) {
	for _, o := range p.objects {
		if f := o.get("metadata", "name"); o.is("linkerd.io", "ServiceProfile") && f.text() != "" && !strings.Contains(f.text(), ".") {
			s.field(o, f, "the name must be the full domain name of the Service, such as %s", f.text()+"."+orDefault(o.Namespace)+".svc.cluster.local")
		}
	}
}

func orDefault(namespace string) string {
	if namespace == "" {
		return "default"
	}
	return namespace
}
