package runtimes

import (
	"context"
	"slices"
	"strings"
	"testing"

	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/isolation-stack/labctl/pkg/provision"
)

func TestApply(t *testing.T) {
	ctx := context.Background()
	client := fake.NewClientset()
	classes := map[string]string{Runc: "runc", GVisor: "sandboxed", WasmEdge: "wasmedge"}
	for range 2 { // the second time it converges
		if err := Apply(ctx, client, classes); err != nil {
			t.Fatal(err)
		}
	}
	list, err := client.NodeV1().RuntimeClasses().List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range list.Items {
		got = append(got, c.Name+" "+c.Handler+" "+c.Labels[provision.RuntimeLabel]+" "+c.Labels[managedByLabel])
	}
	slices.Sort(got)
	want := []string{"runc runc runc labctl", "sandboxed gvisor gvisor labctl", "wasmedge wasmedge wasmedge labctl"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestApplyRefuses(t *testing.T) {
	ours := map[string]string{managedByLabel: managedBy}
	for name, c := range map[string]struct {
		labels  map[string]string
		handler string
		want    string
	}{
		"the user's own class": {nil, "gvisor", "labctl didn't make it"},
		"another tool's class": {map[string]string{managedByLabel: "Helm"}, "gvisor", "--runtime-class gvisor=NAME"},
		"another handler":      {ours, "runc", "kubectl delete runtimeclass gvisor"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			client := fake.NewClientset(&nodev1.RuntimeClass{
				ObjectMeta: metav1.ObjectMeta{Name: "gvisor", Labels: c.labels}, Handler: c.handler,
			})
			err := Apply(ctx, client, map[string]string{GVisor: "gvisor"})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to say %q", err, c.want)
			}
			after, err := client.NodeV1().RuntimeClasses().Get(ctx, "gvisor", metav1.GetOptions{})
			if err != nil || after.Handler != c.handler || after.Labels[provision.RuntimeLabel] != "" {
				t.Errorf("the class was touched: %v %v", after, err)
			}
		})
	}
}

// TestApplyUses is a class that somebody else made and that fits.
func TestApplyUses(t *testing.T) {
	k3s := map[string]string{k3sOwner: k3sAddon}
	for name, c := range map[string]struct {
		annotations map[string]string
		handler     string
		want        string // of the error; "" for none
	}{
		"K3s's own class":                  {k3s, "wasmedge", ""},
		"K3s's own class, another handler": {k3s, "crun", "--runtime-class wasmedge=NAME"},
		"the user's class":                 {nil, "wasmedge", "labctl didn't make it"},
		"another Rancher product's":        {map[string]string{k3sOwner: "helm.cattle.io/v1, Kind=HelmChart"}, "wasmedge", "labctl didn't make it"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			client := fake.NewClientset(&nodev1.RuntimeClass{
				ObjectMeta: metav1.ObjectMeta{Name: "wasmedge", Annotations: c.annotations}, Handler: c.handler,
			})
			err := Apply(ctx, client, map[string]string{WasmEdge: "wasmedge"})
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to say %q", err, c.want)
			}
			after, err := client.NodeV1().RuntimeClasses().Get(ctx, "wasmedge", metav1.GetOptions{})
			if err != nil || after.Handler != c.handler || len(after.Labels) > 0 {
				t.Errorf("the class was touched: %v %v", after, err)
			}
		})
	}
}
