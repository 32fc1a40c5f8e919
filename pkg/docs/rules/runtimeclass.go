package rules

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/isolation-stack/labctl/pkg/docs"
)

var runtimeRules = []rule{
	{docs.Rule{
		ID: "runtime-class-unknown", Severity: docs.Warning,
		Title: "a RuntimeClass that neither the document nor a common runtime brings",
		Help:  "Pods that name a RuntimeClass which doesn't exist are refused at admission, so the workload is accepted and makes no Pods. This rule is about the Pod templates of custom resources; for those of Kubernetes the API server itself says it (missing-dependency). No cluster has a class for runc: leave runtimeClassName out for the default runtime. For any other, show the RuntimeClass in the document.",
	}, findRuntimeClassUnknown},
	{docs.Rule{
		ID: "runtime-handler-unknown", Severity: docs.Note,
		Title: "a handler that no runtime sets up by itself",
		Help:  "The handler of a RuntimeClass is the name of a runtime in the configuration of containerd or CRI-O. No runtime is set up under this name by itself, and the document shows no such configuration: Pods of the class stay in ContainerCreating. Show the configuration, or use the handler that the runtime's installer makes.",
	}, findHandlerUnknown},
	{docs.Rule{
		ID: "wasm-annotation-not-passed", Severity: docs.Warning,
		Title: "an annotation for the runtime that containerd doesn't pass on",
		Help:  "crun learns from the annotations module.wasm.image/variant or run.oci.handler that a container is WebAssembly. containerd passes only those annotations of a Pod on that pod_annotations of the runtime's table names (CRI-O: allowed_annotations), by default none. Show pod_annotations = [\"module.wasm.image/*\", \"run.oci.handler\"] in containerd's configuration, or use a shim for WebAssembly, which needs no annotation.",
	}, findWasmAnnotation},
}

// handlers are the names under which runtimes are set up by their own
// installers, by K3s or by distributions: runc and crun by containerd and
// CRI-O, runsc and gvisor by gVisor and GKE, kata* by kata-deploy, the shims of
// WebAssembly and nvidia by K3s (manifests/runtimes.yaml) and their operators,
// runhcs* by containerd on Windows.
var handlers = regexp.MustCompile(`^(runc|crun|youki|runsc|gvisor|nvidia(-\w+)*|kata([-_]\S+)*|(peerpod|remote)\S*|spin(-v\d+)?|(wasmtime|wasmer|wasmedge)(-spin(-v\d+)?|-slight\S*|-v\d+)?|slight(-v\d+)?|lunatic(-v\d+)?|wws(-v\d+)?|sysbox-runc|urunc|runhcs-\S+|quark|cri-?resmgr\S*)$`)

// classes are the RuntimeClasses that come with these runtimes.
var classes = regexp.MustCompile(`^(crun|gvisor|nvidia(-\w+)*|kata-\S+|(peerpod|remote)\S*|spin(-v\d+)?|(wasmtime|wasmer|wasmedge)(-spin(-v\d+)?|-slight\S*|-v\d+)?|slight(-v\d+)?|lunatic(-v\d+)?|wws(-v\d+)?|sysbox-runc)$`)

const nodeGroup = "node.k8s.io"

// findRuntimeClassUnknown looks at the templates of which an API server knows
// nothing.
func findRuntimeClassUnknown(p *page, s *sink) {
	defined := map[string]bool{}
	for _, o := range p.objects {
		if o.is(nodeGroup, "RuntimeClass") {
			defined[o.Name] = true
		}
	}
	for _, w := range p.workloads {
		f := w.pod.get("runtimeClassName")
		name := f.text()
		if !w.custom || name == "" || defined[name] || classes.MatchString(name) || open.MatchString(name) {
			continue
		}
		s.field(w.object, f, "RuntimeClass %s is defined nowhere in the document, and no common runtime brings it: Pods of it are refused", quote(name))
	}
}

// runtimeTable is that of a runtime in containerd's configuration, of all its
// versions, and in CRI-O's.
var runtimeTable = regexp.MustCompile(`\[[^\]\n]*\bruntimes\.["']?([A-Za-z0-9_-]+)`)

func findHandlerUnknown(p *page, s *sink) {
	configured := map[string]bool{}
	for _, e := range p.Examples {
		for _, m := range runtimeTable.FindAllStringSubmatch(e.Text, -1) {
			configured[m[1]] = true
		}
	}
	for _, o := range p.objects {
		f := o.get("handler")
		handler := f.text()
		if o.is(nodeGroup, "RuntimeClass") && handler != "" && !configured[handler] && !handlers.MatchString(handler) && !open.MatchString(handler) {
			s.field(o, f, "handler %s is the name of no runtime that sets itself up, and the document shows no configuration of it", quote(handler))
		}
	}
}

// annotationList are the settings of containerd and CRI-O that pass annotations
// on.
var annotationList = regexp.MustCompile(`(?s)\b(?:pod_annotations|container_annotations|allowed_annotations)["']?\s*[=:]\s*\[(.*?)\]`)

var quotedWord = regexp.MustCompile(`["']([^"'\n]+)["']`)

func findWasmAnnotation(p *page, s *sink) {
	var passed []string
	for _, e := range p.Examples {
		for _, m := range annotationList.FindAllStringSubmatch(e.Text, -1) {
			for _, w := range quotedWord.FindAllStringSubmatch(m[1], -1) {
				passed = append(passed, w[1])
			}
		}
	}
	for _, w := range p.workloads {
		annotations := w.template.get("metadata", "annotations")
		for _, key := range annotations.keys() {
			name, _, _ := strings.Cut(key, "/")
			if name != "module.wasm.image" && name != "run.oci.handler" {
				continue
			}
			if !slices.ContainsFunc(passed, func(pattern string) bool { return passes(pattern, key) }) {
				s.key(w.object, annotations.get(key), "annotation %s reaches no runtime: containerd passes on only what pod_annotations names, and the document sets none that does", quote(key))
			}
		}
	}
}

// passes is how containerd compares a pattern with an annotation
// (passThroughAnnotations in its CRI plugin), and CRI-O, which compares
// prefixes.
func passes(pattern, key string) bool {
	ok, err := path.Match(pattern, key)
	return err == nil && ok || strings.HasPrefix(key, pattern)
}
