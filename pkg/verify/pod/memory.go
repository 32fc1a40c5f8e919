package pod

import (
	"context"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// Memory is the proportional memory in bytes (Pss, proc(5)) of the Pod's shim
// and all processes below it, now. An *evidence.Untestable where the node's
// kernel doesn't show it.
func (s Standing) Memory(ctx context.Context) (int64, error) {
	seen := life{pod: s.Pod}
	side, err := look(ctx, s.Node, seen.containerID(), true)
	if err != nil {
		return 0, err
	}
	servants, err := findServants(side)
	if err != nil {
		return 0, err
	}
	var pss int64
	for _, p := range servants.all {
		pss += p.pss
	}
	if pss == 0 {
		return 0, evidence.Untestablef("the kernel of %s has no /proc/PID/smaps_rollup", s.Node.Name())
	}
	return pss, nil
}
