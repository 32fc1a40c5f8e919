package crds

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/isolation-stack/labctl/internal/payload"
)

// carried are kinds that documents use often, one or more of each module.
var carried = map[string]string{
	"applications.argoproj.io":                       "argo-cd",
	"applicationsets.argoproj.io":                    "argo-cd",
	"rollouts.argoproj.io":                           "argo-rollouts",
	"sealedsecrets.bitnami.com":                      "sealed-secrets",
	"clusterissuers.cert-manager.io":                 "cert-manager",
	"ciliumnetworkpolicies.cilium.io":                "cilium",
	"kustomizations.kustomize.toolkit.fluxcd.io":     "kustomize-controller",
	"gitrepositories.source.toolkit.fluxcd.io":       "source-controller",
	"helmcharts.helm.cattle.io":                      "k3s-io/helm-controller",
	"network-attachment-definitions.k8s.cni.cncf.io": "network-attachment-definition-client",
	"scaledobjects.keda.sh":                          "keda",
	"volumesnapshots.snapshot.storage.k8s.io":        "external-snapshotter",
	"clusterpolicies.kyverno.io":                     "kyverno",
	"constrainttemplates.templates.gatekeeper.sh":    "gatekeeper",
	"configs.config.gatekeeper.sh":                   "gatekeeper",
	"prometheusrules.monitoring.coreos.com":          "prometheus-operator",
	"bundles.fleet.cattle.io":                        "fleet",
	"ipaddresspools.metallb.io":                      "metallb",
	"virtualservices.networking.istio.io":            "istio.io/api",
	"peerauthentications.security.istio.io":          "istio.io/api",
	"telemetries.telemetry.istio.io":                 "istio.io/api",
	"verticalpodautoscalers.autoscaling.k8s.io":      "vertical-pod-autoscaler",
	"services.serving.knative.dev":                   "knative.dev/serving",
	"clusters.cluster.x-k8s.io":                      "cluster-api",
	"helmreleases.helm.toolkit.fluxcd.io":            "helm-controller",
	"imagepolicies.image.toolkit.fluxcd.io":          "image-reflector-controller",
	"imageupdateautomations.image.toolkit.fluxcd.io": "image-automation-controller",
	"receivers.notification.toolkit.fluxcd.io":       "notification-controller",
	"httproutes.gateway.networking.k8s.io":           "gateway-api",
}

func TestObjects(t *testing.T) {
	list, err := Objects()
	if errors.Is(err, payload.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	groups := Groups()
	missing := map[string]bool{}
	for name := range carried {
		missing[name] = true
	}
	for _, d := range list {
		delete(missing, d.GetName())
		group, _, _ := unstructured.NestedString(d.Object, "spec", "group")
		plural, _, _ := unstructured.NestedString(d.Object, "spec", "names", "plural")
		if d.GetName() != plural+"."+group {
			t.Errorf("%s is %s of %s", d.GetName(), plural, group)
		}
		if !strings.Contains(groups[group], "@v") {
			t.Errorf("group %s of %s is from %q", group, d.GetName(), groups[group])
		}
		if want, ok := carried[d.GetName()]; ok && !strings.Contains(groups[group], want) {
			t.Errorf("%s is from %s, want %s", d.GetName(), groups[group], want)
		}
		if len(serves(d)) == 0 {
			t.Errorf("%s serves no version", d.GetName())
		}
	}
	for name := range missing {
		t.Errorf("%s isn't there", name)
	}
}

func TestForGroups(t *testing.T) {
	if _, err := packed(); errors.Is(err, payload.ErrMissing) {
		t.Skip(err)
	}
	got, err := ForGroups([]string{"cert-manager.io", "no.such.group"})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) == 0 {
		t.Error("none of cert-manager.io")
	}
	for _, d := range got {
		if !strings.HasSuffix(d.GetName(), ".cert-manager.io") {
			t.Errorf("%s is of another group", d.GetName())
		}
	}
	again, err := ForGroups([]string{"cert-manager.io"})
	if err != nil {
		t.Fatal(err)
	}
	again[0].SetName("changed")
	if got[0].GetName() == "changed" {
		t.Error("two calls share an object")
	}
	if got, err := ForGroups(nil); err != nil || len(got) != 0 {
		t.Errorf("no groups give %d definitions and %v", len(got), err)
	}
}

func TestForKinds(t *testing.T) {
	if _, err := packed(); errors.Is(err, payload.ErrMissing) {
		t.Skip(err)
	}
	for _, tt := range []struct {
		name  string
		kinds []schema.GroupKind
		want  []string // at least these
		only  bool     // and no others
	}{
		{"none", nil, []string{}, true},
		{"one of a group", []schema.GroupKind{{Group: "cert-manager.io", Kind: "Issuer"}}, []string{"issuers.cert-manager.io"}, true},
		{"two groups, one unknown", []schema.GroupKind{{Group: "keda.sh", Kind: "ScaledObject"}, {Group: "example.com", Kind: "Thing"}}, []string{"scaledobjects.keda.sh"}, true},
		{"a kind that its group doesn't have", []schema.GroupKind{{Group: "cert-manager.io", Kind: "Isuer"}}, []string{"certificates.cert-manager.io", "clusterissuers.cert-manager.io", "issuers.cert-manager.io"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list, err := ForKinds(tt.kinds)
			if err != nil {
				t.Fatal(err)
			}
			got := names(list)
			for _, w := range tt.want {
				if !slices.Contains(got, w) {
					t.Errorf("%s isn't in %q", w, got)
				}
			}
			if tt.only && len(got) != len(tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestReadBroken(t *testing.T) {
	for name, archive := range map[string]string{"no frame": "hello", "half a frame": "\x28\xb5\x2f\xfd\x04\x00"} {
		if list, err := read([]byte(archive)); err == nil {
			t.Errorf("%s gives %d entries and no error", name, len(list))
		}
	}
}
