package kind

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"

	"github.com/isolation-stack/labctl/pkg/provision"
)

// facts are what the cluster's configuration depends on besides the spec.
type facts struct {
	image string
	// cgroupV1 is the engine's machine; kubernetes the image's version, which
	// matters only there.
	cgroupV1      bool
	kubernetes    string
	apiServerPort int32
}

// failCgroupV1Since is the first Kubernetes whose kubelet refuses cgroup v1
// unless it is told not to (KEP-5573).
var failCgroupV1Since = version.MustParseSemantic("v1.35.0")

// clusterConfig is kind's configuration of the cluster. What kind's own
// defaults do well stays unsaid: they switch off disk eviction and image
// garbage collection (imageGCHighThresholdPercent: 100), so that a laptop's
// full disk evicts no Pod.
func clusterConfig(spec provision.ClusterSpec, f facts) (*v1alpha4.Cluster, error) {
	c := &v1alpha4.Cluster{
		TypeMeta: v1alpha4.TypeMeta{APIVersion: "kind.x-k8s.io/v1alpha4", Kind: "Cluster"},
		Name:     spec.Name,
		Nodes:    []v1alpha4.Node{{Role: v1alpha4.ControlPlaneRole, Image: f.image}},
		Networking: v1alpha4.Networking{
			IPFamily:         v1alpha4.IPv4Family,
			APIServerAddress: "127.0.0.1",
			APIServerPort:    f.apiServerPort,
		},
	}
	for range spec.Workers {
		c.Nodes = append(c.Nodes, v1alpha4.Node{Role: v1alpha4.WorkerRole, Image: f.image})
	}
	if f.cgroupV1 {
		v, err := version.ParseGeneric(strings.TrimSpace(f.kubernetes))
		if err != nil {
			return nil, fmt.Errorf("version of Kubernetes in node image %s: %w", f.image, err)
		}
		if v.AtLeast(failCgroupV1Since) {
			c.KubeadmConfigPatches = append(c.KubeadmConfigPatches, "kind: KubeletConfiguration\nfailCgroupV1: false\n")
		}
	}
	v1alpha4.SetDefaultsCluster(c)
	return c, nil
}
