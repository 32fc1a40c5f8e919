package classify

import (
	"regexp"
	"strings"
	"sync"
	"unicode"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
)

// builtInGroups are the groups of the APIs that Kubernetes itself brings.
var builtInGroups = sync.OnceValue(func() map[string]bool {
	groups := map[string]bool{
		// Not in client-go's scheme, but served by kube-apiserver.
		"apiextensions.k8s.io":   true,
		"apiregistration.k8s.io": true,
		// Removed: PodPreset in 1.20, AuditSink in 1.19.
		"settings.k8s.io":          true,
		"auditregistration.k8s.io": true,
	}
	for _, gv := range scheme.Scheme.PreferredVersionAllGroups() {
		groups[gv.Group] = true
	}
	delete(groups, "__internal")
	return groups
})

// BuiltIn says whether an object is one of Kubernetes' own APIs: of those that
// there are, of those that were removed (extensions/v1beta1 Ingress, policy/v1beta1
// PodSecurityPolicy), and of kinds and versions that never were but whose
// group is Kubernetes' own (v1 RuntimeClass): nobody else can serve them.
func BuiltIn(apiVersion, kind string) bool {
	gv, err := schema.ParseGroupVersion(apiVersion)
	return err == nil && kind != "" && version.MatchString(gv.Version) && builtInGroups()[gv.Group] && files[apiVersion+" "+kind] == ""
}

// version is that of an API (k8s.io/apimachinery/pkg/version), or a word that
// somebody wrote in its place.
var version = regexp.MustCompile(`^v[0-9]+((alpha|beta)[0-9]+)?$`)

// isAPI says whether a value of apiVersion can be meant as one of Kubernetes:
// other programs number their formats with such a key, too.
func isAPI(apiVersion string) bool {
	return strings.ContainsFunc(apiVersion, unicode.IsLetter)
}

// files are the API groups, or the kinds of a group, whose objects are files
// for a program, none for the API server; the value is the format's name.
var files = map[string]string{
	// Kubernetes' own components
	"kubelet.config.k8s.io":                     "kubelet",
	"credentialprovider.kubelet.k8s.io":         "kubelet",
	"kubeadm.k8s.io":                            "kubeadm",
	"kubeproxy.config.k8s.io":                   "kube-proxy",
	"kubescheduler.config.k8s.io":               "kube-scheduler",
	"kubecontrollermanager.config.k8s.io":       "kube-controller-manager",
	"audit.k8s.io":                              "audit-policy",
	"apiserver.config.k8s.io":                   "kube-apiserver",
	"apiserver.k8s.io":                          "kube-apiserver",
	"eventratelimit.admission.k8s.io":           "kube-apiserver",
	"podtolerationrestriction.admission.k8s.io": "kube-apiserver",
	"podsecurity.admission.config.k8s.io":       "kube-apiserver",
	"pod-security.admission.config.k8s.io":      "kube-apiserver",
	"imagepolicy.k8s.io":                        "kube-apiserver",
	"client.authentication.k8s.io":              "kubeconfig",
	"v1 Config":                                 "kubeconfig",
	"v1 EncryptionConfig":                       "kube-apiserver",
	// messages between programs
	"admission.k8s.io":                         "admission-review",
	"apiextensions.k8s.io/v1 ConversionReview": "conversion-review",
	"kubectl.config.k8s.io":                    "kubectl",
	// clusters
	"kind.x-k8s.io":        "kind",
	"kind.sigs.k8s.io":     "kind",
	"k3d.io":               "k3d",
	"eksctl.io":            "eksctl",
	"node.eks.aws":         "nodeadm",
	"k0s.k0sproject.io":    "k0s",
	"k0sctl.k0sproject.io": "k0sctl",
	"ctlptl.dev":           "ctlptl",
	"kops.k8s.io":          "kops",
	"minikube.sigs.k8s.io": "minikube",
	// tools
	"kustomize.config.k8s.io":              "kustomize",
	"config.kubernetes.io":                 "krm-function",
	"fn.kpt.dev":                           "krm-function",
	"kpt.dev":                              "kpt",
	"skaffold":                             "skaffold",
	"descheduler":                          "descheduler",
	"descheduler.k8s.io":                   "descheduler",
	"install.istio.io":                     "istio-operator",
	"kapp.k14s.io":                         "kapp",
	"kbld.k14s.io":                         "kbld",
	"vendir.k14s.io":                       "vendir",
	"imgpkg.carvel.dev":                    "imgpkg",
	"krew.googlecontainertools.github.com": "krew",
	"meta.pkg.crossplane.io":               "crossplane-package",
	"backstage.io":                         "backstage",
	"score.dev":                            "score",
	"kuttl.dev":                            "kuttl",
	"chainsaw.kyverno.io":                  "chainsaw",
	"cli.kyverno.io":                       "kyverno-test",
	"test.gatekeeper.sh":                   "gator",
	"controller-runtime.sigs.k8s.io":       "controller-manager",
	"clusterctl.cluster.x-k8s.io":          "clusterctl",
	"config.kueue.x-k8s.io":                "kueue",
	"argoproj.io/v1alpha1 ConfigManagementPlugin": "argocd-plugin",
	"gateway.envoyproxy.io/v1alpha1 EnvoyGateway": "envoy-gateway",
}

// configKind gives the format of a document that has apiVersion and kind but
// is no object of an API server; "" if it is one.
func configKind(apiVersion, kind string, root *yaml.Node) string {
	if name := files[apiVersion+" "+kind]; name != "" {
		return name
	}
	group, _, ok := strings.Cut(apiVersion, "/")
	if !ok {
		group = ""
	}
	if builtInGroups()[group] {
		return ""
	}
	switch name := files[group]; {
	case name != "":
		return name
	case strings.HasSuffix(group, ".config.k8s.io"):
		return strings.TrimSuffix(group, ".config.k8s.io")
	case field(root, "metadata") == nil && field(root, "spec") == nil && strings.Contains(kind, "Config"):
		// Each resource has a name; what has none, nor a spec, and calls itself a
		// configuration is the file of a program.
		return group
	}
	return ""
}
