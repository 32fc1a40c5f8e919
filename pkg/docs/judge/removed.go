package judge

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/kubernetes/scheme"
)

// life of a built-in API.
type life struct {
	introduced, removed *version.Version // nil if unknown or never
	successor           string           // apiVersion and kind, or what to use; "" if there is none
}

// The types of k8s.io/api know when they came, when they are removed and what
// replaces them (prerelease-lifecycle-gen).
type (
	introducedIn interface{ APILifecycleIntroduced() (int, int) }
	removedIn    interface{ APILifecycleRemoved() (int, int) }
	replacedBy   interface {
		APILifecycleReplacement() schema.GroupVersionKind
	}
)

// gone are APIs that k8s.io/api doesn't have any more, or has without their
// end. Source: "Deprecated API Migration Guide" of the Kubernetes
// documentation (kubernetes.io/docs/reference/using-api/deprecation-guide) and
// the changelogs.
var gone = map[schema.GroupVersionKind]struct{ removed, successor string }{
	{Group: "policy", Version: "v1beta1", Kind: "PodSecurityPolicy"}:     {"1.25", podSecurity},
	{Group: "extensions", Version: "v1beta1", Kind: "PodSecurityPolicy"}: {"1.16", podSecurity},

	{Group: "autoscaling", Version: "v2beta1", Kind: "HorizontalPodAutoscaler"}: {"1.25", "autoscaling/v2 HorizontalPodAutoscaler"},
	{Group: "autoscaling", Version: "v2beta2", Kind: "HorizontalPodAutoscaler"}: {"1.26", "autoscaling/v2 HorizontalPodAutoscaler"},
	{Group: "batch", Version: "v2alpha1", Kind: "CronJob"}:                      {"1.21", "batch/v1 CronJob"},

	{Group: "extensions", Version: "v1beta1", Kind: "ThirdPartyResource"}:                 {"1.8", "apiextensions.k8s.io/v1 CustomResourceDefinition"},
	{Group: "apiextensions.k8s.io", Version: "v1beta1", Kind: "CustomResourceDefinition"}: {"1.22", "apiextensions.k8s.io/v1 CustomResourceDefinition"},
	{Group: "apiregistration.k8s.io", Version: "v1beta1", Kind: "APIService"}:             {"1.22", "apiregistration.k8s.io/v1 APIService"},

	{Group: "rbac.authorization.k8s.io", Version: "v1alpha1", Kind: "Role"}:               {"1.23", "rbac.authorization.k8s.io/v1 Role"},
	{Group: "rbac.authorization.k8s.io", Version: "v1alpha1", Kind: "RoleBinding"}:        {"1.23", "rbac.authorization.k8s.io/v1 RoleBinding"},
	{Group: "rbac.authorization.k8s.io", Version: "v1alpha1", Kind: "ClusterRole"}:        {"1.23", "rbac.authorization.k8s.io/v1 ClusterRole"},
	{Group: "rbac.authorization.k8s.io", Version: "v1alpha1", Kind: "ClusterRoleBinding"}: {"1.23", "rbac.authorization.k8s.io/v1 ClusterRoleBinding"},

	{Group: "scheduling.k8s.io", Version: "v1alpha1", Kind: "PriorityClass"}:    {"1.23", "scheduling.k8s.io/v1 PriorityClass"},
	{Group: "node.k8s.io", Version: "v1alpha1", Kind: "RuntimeClass"}:           {"1.24", "node.k8s.io/v1 RuntimeClass"},
	{Group: "settings.k8s.io", Version: "v1alpha1", Kind: "PodPreset"}:          {"1.20", ""},
	{Group: "auditregistration.k8s.io", Version: "v1alpha1", Kind: "AuditSink"}: {"1.19", "the files of --audit-policy-file and --audit-webhook-config-file"},
}

const podSecurity = "Pod Security Admission (the labels pod-security.kubernetes.io/* of namespaces)"

// lifeOf gives what is known about a built-in API; ok is false for others.
func lifeOf(gvk schema.GroupVersionKind) (l life, ok bool) {
	if g, found := gone[gvk]; found {
		return life{removed: version.MustParseGeneric(g.removed + ".0"), successor: g.successor}, true
	}
	if !scheme.Scheme.Recognizes(gvk) {
		return life{}, false
	}
	object, err := scheme.Scheme.New(gvk)
	if err != nil {
		return life{}, false
	}
	if o, ok := object.(introducedIn); ok {
		l.introduced = minor(o.APILifecycleIntroduced())
	}
	if o, ok := object.(removedIn); ok {
		l.removed = minor(o.APILifecycleRemoved())
	}
	if o, ok := object.(replacedBy); ok {
		if r := o.APILifecycleReplacement(); !r.Empty() {
			l.successor = r.GroupVersion().String() + " " + r.Kind
		}
	}
	return l, true
}

func minor(major, n int) *version.Version {
	if major == 0 {
		return nil
	}
	return version.MustParseGeneric(fmt.Sprintf("%d.%d.0", major, n))
}

// removedFrom says in one sentence that a server doesn't serve an API any more.
func (l life) removedFrom(gvk schema.GroupVersionKind) string {
	message := fmt.Sprintf("%s %s was removed in Kubernetes %d.%d", gvk.GroupVersion(), gvk.Kind, l.removed.Major(), l.removed.Minor())
	if l.successor != "" {
		return message + "; use " + l.successor
	}
	return message + " and has no successor"
}
