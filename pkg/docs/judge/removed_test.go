package judge

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/isolation-stack/labctl/pkg/docs"
)

// served is a catalogue of a server of one version.
func served(v string) *session {
	c := &catalogue{
		kinds: map[schema.GroupVersionKind]resource{}, versions: map[string][]string{}, custom: map[string]bool{"example.com": true},
		subresources: map[schema.GroupVersionKind]string{}, failed: map[string]bool{"down.example.com": true}, server: version.MustParseGeneric(v),
	}
	for gv, list := range map[string][]metav1.APIResource{
		"v1":                     {{Name: "pods", Kind: "Pod", Namespaced: true}, {Name: "pods/eviction", Kind: "Eviction", Group: "policy", Version: "v1"}},
		"apps/v1":                {{Name: "deployments", Kind: "Deployment", Namespaced: true}},
		"batch/v1":               {{Name: "cronjobs", Kind: "CronJob", Namespaced: true}},
		"policy/v1":              {{Name: "poddisruptionbudgets", Kind: "PodDisruptionBudget", Namespaced: true}},
		"example.com/v1":         {{Name: "dbs", Kind: "Db", Namespaced: true}},
		"networking.k8s.io/v1":   {{Name: "ingresses", Kind: "Ingress", Namespaced: true}},
		"resource.k8s.io/v1":     {{Name: "resourceclaims", Kind: "ResourceClaim", Namespaced: true}},
		"autoscaling/v2":         {{Name: "horizontalpodautoscalers", Kind: "HorizontalPodAutoscaler", Namespaced: true}},
		"storage.k8s.io/v1":      {{Name: "storageclasses", Kind: "StorageClass"}},
		"down.example.com/v1":    nil,
		"coordination.k8s.io/v1": {{Name: "leases", Kind: "Lease", Namespaced: true}},
	} {
		for i := range list {
			list[i].Verbs = metav1.Verbs{"create"}
		}
		g, _ := schema.ParseGroupVersion(gv)
		c.versions[g.Group] = []string{g.Version}
		c.add(&metav1.APIResourceList{GroupVersion: gv, APIResources: list})
	}
	return &session{Judge: &Judge{Options: Options{Sources: map[string]string{"example.com": "example.com/db@v1.2.3"}}, catalogue: c}}
}

func TestResolve(t *testing.T) {
	for _, c := range []struct {
		server, apiVersion, kind string
		rule                     string
		severity                 docs.Severity
		message                  string
	}{
		{"1.37.2", "apps/v1", "Deployment", "", "", ""},
		{"1.37.2", "v1", "Status", "", "", ""},
		{"1.37.2", "extensions/v1beta1", "Ingress", removedAPI, "", "extensions/v1beta1 Ingress was removed in Kubernetes 1.22; use networking.k8s.io/v1 Ingress"},
		{"1.37.2", "extensions/v1beta1", "Deployment", removedAPI, "", "extensions/v1beta1 Deployment was removed in Kubernetes 1.16; use apps/v1 Deployment"},
		{"1.37.2", "batch/v1beta1", "CronJob", removedAPI, "", "batch/v1beta1 CronJob was removed in Kubernetes 1.25; use batch/v1 CronJob"},
		{"1.37.2", "policy/v1beta1", "PodSecurityPolicy", removedAPI, "", "policy/v1beta1 PodSecurityPolicy was removed in Kubernetes 1.25; use Pod Security Admission (the labels pod-security.kubernetes.io/* of namespaces)"},
		{"1.37.2", "policy/v1beta1", "PodDisruptionBudget", removedAPI, "", "policy/v1beta1 PodDisruptionBudget was removed in Kubernetes 1.25; use policy/v1 PodDisruptionBudget"},
		{"1.37.2", "autoscaling/v2beta2", "HorizontalPodAutoscaler", removedAPI, "", "autoscaling/v2beta2 HorizontalPodAutoscaler was removed in Kubernetes 1.26; use autoscaling/v2 HorizontalPodAutoscaler"},
		{"1.37.2", "settings.k8s.io/v1alpha1", "PodPreset", removedAPI, "", "settings.k8s.io/v1alpha1 PodPreset was removed in Kubernetes 1.20 and has no successor"},
		{"1.30.1", "resource.k8s.io/v1", "DeviceClass", unservedAPI, docs.Error, "resource.k8s.io/v1 DeviceClass came in Kubernetes 1.34; this API server is 1.30"},
		{"1.37.2", "coordination.k8s.io/v1alpha2", "LeaseCandidate", unservedAPI, "", "coordination.k8s.io/v1alpha2 LeaseCandidate is off by default in Kubernetes 1.37; it needs --runtime-config=coordination.k8s.io/v1alpha2=true"},
		{"1.37.2", "policy/v1", "Eviction", notJudged, "", "a Eviction is sent to pods/eviction of an object and can't be applied by itself; it was not judged"},
		{"1.37.2", "v1", "CronJob", unknownKind, "", "v1 has no kind CronJob; CronJob is in batch/v1"},
		{"1.37.2", "apps/v1", "Deploiment", unknownKind, "", "apps/v1 has no kind Deploiment; did you mean Deployment?"},
		{"1.37.2", "apps/v2", "Deployment", unknownKind, "", "there is no API apps/v2; Deployment is in apps/v1"},
		{"1.37.2", "app/v1", "Deployment", unknownKind, "", "there is no API app/v1; Deployment is in apps/v1"},
		{"1.37.2", "networkin.k8s.io/v1", "Ingress", unknownKind, "", "there is no API networkin.k8s.io/v1; Ingress is in networking.k8s.io/v1"},
		{"1.37.2", "networking.gke.io/v1", "Ingress", unknownAPI, "", "no CRD of group networking.gke.io is installed, so this Ingress was not judged; give its CRDs with --crds"},
		{"1.37.2", "example.com/v2", "Db", unservedAPI, docs.Warning, "Db of the CRDs of example.com/db@v1.2.3 doesn't serve version v2; it serves v1"},
		{"1.37.2", "example.com/v1", "Dbb", unknownKind, docs.Warning, "the CRDs of example.com/db@v1.2.3 have no kind Dbb in group example.com; the object was not judged; did you mean Db?"},
		{"1.37.2", "down.example.com/v1", "Db", notJudged, "", "the server of down.example.com doesn't answer; the object was not judged"},
	} {
		gv, err := schema.ParseGroupVersion(c.apiVersion)
		if err != nil {
			t.Fatal(err)
		}
		_, p, ok := served(c.server).resolve(gv.WithKind(c.kind))
		switch {
		case p == nil && c.rule != "", ok && p != nil:
			t.Errorf("%s %s: got %+v, %v", c.apiVersion, c.kind, p, ok)
		case p != nil && (p.rule != c.rule || p.severity != c.severity || p.message != c.message):
			t.Errorf("%s %s:\ngot  %+v\nwant %s", c.apiVersion, c.kind, *p, c.message)
		}
	}
}

// Each entry of the table is one that the API's own types don't have.
func TestGoneIsNeeded(t *testing.T) {
	for gvk, g := range gone {
		delete(gone, gvk)
		l, known := lifeOf(gvk)
		gone[gvk] = g
		if known && l.removed != nil {
			t.Errorf("k8s.io/api knows the end of %s itself", gvk)
		}
		if !strings.Contains(g.removed, ".") {
			t.Errorf("%s: %q", gvk, g.removed)
		}
	}
}
