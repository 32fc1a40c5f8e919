package runtimes

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// askAbout is look where the node is out of reach: what its kubelet told the
// API about its kernel is all that there is.
func askAbout(ctx context.Context, client kubernetes.Interface, node string, why *evidence.Untestable) (sighting, error) {
	n, err := client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		return sighting{}, fmt.Errorf("node %s: %w", node, err)
	}
	var s sighting
	s.node.release, s.node.bootID = n.Status.NodeInfo.KernelVersion, n.Status.NodeInfo.BootID
	s.unseen = why.Reason
	return s, nil
}

// judgeInside says everything in which a Pod's own report, beside what the
// kubelet says of its node, isn't that of the runtime. Which WebAssembly
// engine ran a module, and by which shim, can't be told from inside.
func (s sighting) judgeInside(runtime string) error {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	release, bootID := s.text("kernel.release"), s.text("kernel.boot_id")
	switch runtime {
	case Runc:
		want(bootID == s.node.bootID && bootID != "", "the boot id inside is %q, and the node's is %q", bootID, s.node.bootID)
		want(release == s.node.release, "the kernel inside is %q, and the node's is %q", release, s.node.release)
		want(s.text("go.os") == "linux", "the program inside is built for %q, not linux", s.text("go.os"))
	case GVisor:
		want(release != "", "no kernel was reported from inside")
		want(release != s.node.release, "the kernel inside is the node's: %q", s.node.release)
		want(bootID != s.node.bootID, "the boot id inside is the node's: %q", s.node.bootID)
		want(s.text("go.os") == "linux", "the program inside is built for %q, not linux", s.text("go.os"))
	case WasmEdge:
		want(s.text("go.os") == "wasip1", "the program inside is built for %q, not wasip1", s.text("go.os"))
	default:
		want(false, "there is no proof for the runtime %s", runtime)
	}
	return errors.Join(errs...)
}
