package lifecycle

import (
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/provision/k3s"
	"github.com/isolation-stack/labctl/pkg/provision/kubeconfig"
)

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		name    string
		options Options
		is      string
		nodes   bool // it makes nodes
		plans   bool // it has a plan to show
		error   string
	}{
		{name: "the default", is: Kind, nodes: true},
		{name: "kind", options: Options{Provider: Kind}, is: Kind, nodes: true},
		{name: "K3s", options: Options{Provider: K3s}, is: K3s, plans: true},
		{name: "kubeconfig", options: Options{Provider: Kubeconfig}, is: Kubeconfig, plans: true},
		{name: "another's options don't matter", options: Options{Provider: Kubeconfig, K3s: k3s.Options{Airgap: "/gone"}}, is: Kubeconfig, plans: true},
		{name: "options that are refused", options: Options{Provider: Kubeconfig, Kubeconfig: kubeconfig.Options{Registry: "x"}}, error: "HOST/PATH"},
		{name: "unknown", options: Options{Provider: "k0s"}, error: `unknown provider "k0s"; known: kind, k3s, kubeconfig`},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.options.StateDir = t.TempDir()
			labs, err := choose(c.options, probes{})
			if c.error != "" {
				if err == nil || !strings.Contains(err.Error(), c.error) {
					t.Errorf("%v, want %q", err, c.error)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if labs.Name() != c.is || labs.MakesNodes != c.nodes || (labs.plan != nil) != c.plans {
				t.Errorf("%s, makes nodes %v, has a plan %v", labs.Name(), labs.MakesNodes, labs.plan != nil)
			}
			if _, err := labs.Plan(t.Context(), provision.ClusterSpec{}); !c.plans && (err == nil || !strings.Contains(err.Error(), "has no plan")) {
				t.Errorf("plan: %v", err)
			}
		})
	}
}
