package cli

import (
	"github.com/isolation-stack/labctl/pkg/verify/cluster"
	"github.com/isolation-stack/labctl/pkg/verify/docker"
	"github.com/isolation-stack/labctl/pkg/verify/host"
	"github.com/isolation-stack/labctl/pkg/verify/kubelet"
	"github.com/isolation-stack/labctl/pkg/verify/microvm"
	"github.com/isolation-stack/labctl/pkg/verify/node"
	"github.com/isolation-stack/labctl/pkg/verify/pod"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
	"github.com/isolation-stack/labctl/pkg/verify/telemetry"
)

// kinds are the probe families that labs can use.
func kinds() []probe.Kind {
	return []probe.Kind{cluster.Kind, docker.Kind, host.Kind(), kubelet.Kind, microvm.Kind(), node.Kind, pod.Kind, pod.PairKind, telemetry.Kind}
}
