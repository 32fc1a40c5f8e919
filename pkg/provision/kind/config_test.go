package kind

import (
	"strings"
	"testing"

	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"

	"github.com/isolation-stack/labctl/pkg/provision"
)

func TestClusterConfig(t *testing.T) {
	for _, c := range []struct {
		name    string
		workers int
		f       facts
		patched bool
		broken  bool
	}{
		{name: "cgroup v2", f: facts{image: "i", kubernetes: "never asked"}},
		{name: "cgroup v1, a kubelet that doesn't mind", workers: 2, f: facts{image: "i", cgroupV1: true, kubernetes: "v1.34.4"}},
		{name: "cgroup v1, a kubelet that refuses it", f: facts{image: "i", cgroupV1: true, kubernetes: "v1.37.2\n"}, patched: true},
		{name: "a pre-release of the first that refuses", f: facts{image: "i", cgroupV1: true, kubernetes: "v1.35.1"}, patched: true},
		{name: "an image without a version", f: facts{image: "i", cgroupV1: true}, broken: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := clusterConfig(provision.ClusterSpec{Name: "lab", Workers: c.workers}, c.f)
			if c.broken {
				if err == nil {
					t.Fatal("no error")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Nodes) != 1+c.workers || got.Nodes[0].Role != v1alpha4.ControlPlaneRole {
				t.Errorf("%+v", got.Nodes)
			}
			for _, n := range got.Nodes {
				if n.Image != "i" {
					t.Errorf("%+v", n)
				}
			}
			if got.Networking.APIServerAddress != "127.0.0.1" {
				t.Error("the API server listens on", got.Networking.APIServerAddress)
			}
			if patched := strings.Contains(strings.Join(got.KubeadmConfigPatches, ""), "failCgroupV1: false"); patched != c.patched {
				t.Errorf("patches: %q", got.KubeadmConfigPatches)
			}
		})
	}
}

func TestAdminConfig(t *testing.T) {
	const admin = `apiVersion: v1
kind: Config
clusters: [{name: lab, cluster: {server: "https://lab-control-plane:6443", certificate-authority-data: Q0E=}}]
users: [{name: kubernetes-admin, user: {client-key-data: S0VZ}}]
contexts: [{name: kubernetes-admin@lab, context: {cluster: lab, user: kubernetes-admin}}]
current-context: kubernetes-admin@lab
`
	for published, server := range map[string]string{
		"127.0.0.1:40001\n":     "https://127.0.0.1:40001",
		"0.0.0.0:6443\n[::]:63": "https://127.0.0.1:6443",
		":6443":                 "https://127.0.0.1:6443",
	} {
		got, err := adminConfig([]byte(admin), "lab", published)
		if err != nil {
			t.Fatal(err)
		}
		c := got.Contexts[got.CurrentContext]
		if got.CurrentContext != "kind-lab" || got.Clusters[c.Cluster].Server != server || string(got.AuthInfos[c.AuthInfo].ClientKeyData) != "KEY" {
			t.Errorf("%s: %+v", published, got)
		}
	}
	for name, c := range map[string][2]string{
		"no port published": {admin, ""},
		"cut off":           {admin[:200], "127.0.0.1:1"},
		"no YAML":           {"\x00", "127.0.0.1:1"},
	} {
		if _, err := adminConfig([]byte(c[0]), "lab", c[1]); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestValidate(t *testing.T) {
	for name, ok := range map[string]bool{
		"lab": true, "l-1": true, strings.Repeat("a", nameLimit): true,
		"": false, "Lab": false, "a.b": false, "-a": false, "a_b": false, strings.Repeat("a", nameLimit+1): false,
		"lab-worker": false, "x-control-plane": false, "a; rm -rf": false,
	} {
		if err := validate(provision.ClusterSpec{Name: name}); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
	for workers, ok := range map[int]bool{-1: false, 0: true, 20: true, 21: false} {
		if err := validate(provision.ClusterSpec{Name: "lab", Workers: workers}); (err == nil) != ok {
			t.Errorf("%d workers: %v", workers, err)
		}
	}
}
