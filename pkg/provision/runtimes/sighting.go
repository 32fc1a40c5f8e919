package runtimes

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// sighting is what was seen of a Pod, from inside and from its node.
type sighting struct {
	// inside is labprobe's identity in the Pod.
	inside evidence.Set
	// node is the node's own kernel.
	node struct{ release, version, bootID string }
	// handlerType is the runtime that containerd has on record for the
	// container, comm and program (argv[0]) those of its process, shim the
	// program of that process's parent.
	handlerType, comm, program, shim string
	// unseen is why nothing was seen from the node; "" if something was.
	unseen string
}

//go:embed look.sh
var lookScript string

// look asks the node about the process of a container.
func look(ctx context.Context, node probe.Place, container string) (sighting, error) {
	exit, err := node.Run(ctx, nil, "sh", "-c", lookScript, "sh", container)
	if err != nil {
		return sighting{}, fmt.Errorf("look at the Pod from %s: %w", node.Name(), err)
	}
	if exit.Code != 0 {
		return sighting{}, fmt.Errorf("look at the Pod from %s: exit code %d: %s", node.Name(), exit.Code, strings.TrimSpace(string(exit.Stderr)))
	}
	return parseLook(string(exit.Stdout)), nil
}

func parseLook(out string) sighting {
	values := map[string]string{}
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[key] = value
	}
	var s sighting
	s.node.release, s.node.version, s.node.bootID = values["release"], values["version"], values["boot_id"]
	s.handlerType, s.comm, s.program = values["type"], values["comm"], values["program"]
	s.shim = path.Base(values["shim"])
	return s
}

// judge says everything in which the sighting isn't that of the runtime.
func (s sighting) judge(runtime string) error {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	handlerType, shim := runcShim, "containerd-shim-runc-v2"
	runwasi := runtime == WasmEdge && s.handlerType == wasmedgeShim
	switch {
	case runtime == GVisor:
		handlerType, shim = runscShim, shimProgram
	case runwasi:
		handlerType, shim = wasmedgeShim, "containerd-shim-wasmedge-v1"
	}
	want(s.handlerType == handlerType, "containerd ran it with %q, not %s", s.handlerType, handlerType)
	want(s.shim == shim, "its process is a child of %q, not of %s", s.shim, shim)
	switch runtime {
	case Runc:
		want(s.text("kernel.boot_id") == s.node.bootID && s.node.bootID != "", "the boot id inside is %q, and the node's is %q", s.text("kernel.boot_id"), s.node.bootID)
		want(s.text("kernel.version") == s.node.version, "the kernel inside is %q, and the node's is %q", s.text("kernel.version"), s.node.version)
		want(s.text("go.os") == "linux", "the program inside is built for %q, not linux", s.text("go.os"))
		want(s.comm == proofContainer, "its process on the node is %q, not %s itself", s.comm, proofContainer)
	case GVisor:
		want(s.text("kernel.version") != "", "no kernel version was reported from inside")
		want(s.text("kernel.version") != s.node.version, "the kernel inside is the node's: %q", s.node.version)
		want(s.text("kernel.boot_id") != s.node.bootID, "the boot id inside is the node's: %q", s.node.bootID)
		want(s.program == "runsc-sandbox", "its process on the node is %q, not runsc-sandbox", s.program)
	case WasmEdge:
		want(s.text("go.os") == "wasip1", "the program inside is built for %q, not wasip1", s.text("go.os"))
		want(s.comm == "wasmedge" || runwasi, "its process on the node is %q, not wasmedge", s.comm)
	default:
		want(false, "there is no proof for the runtime %s", runtime)
	}
	return errors.Join(errs...)
}

func (s sighting) text(name string) string {
	v, _ := s.inside.Get(name)
	text, _ := v.Value.(string)
	return text
}

// String is one line for a person.
func (s sighting) String() string {
	inside := "kernel " + s.text("kernel.release")
	if s.text("kernel.release") == "" {
		inside = s.text("go.os") + ", no kernel of its own"
	}
	if s.unseen != "" {
		return fmt.Sprintf("%s (the node's is %s); seen from inside only: %s", inside, s.node.release, s.unseen)
	}
	return fmt.Sprintf("%s (the node's is %s); on the node process %s (%s) below %s", inside, s.node.release, s.comm, s.program, s.shim)
}

// containerID is the first container's id without its scheme (containerd://).
func containerID(pod *corev1.Pod) string {
	if len(pod.Status.ContainerStatuses) == 0 {
		return ""
	}
	_, id, _ := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
	return id
}
