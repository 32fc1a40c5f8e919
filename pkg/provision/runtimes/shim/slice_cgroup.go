//go:build ignore

package runsc

import (
	"path"
	"strings"

	"github.com/containerd/cgroups"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"gvisor.dev/gvisor/pkg/shim/utils"
)

// setSliceCgroup turns a cgroup in systemd's notation into its path where
// runsc would take the notation for a relative path, which is on cgroup v1. As
// with setPodCgroup the sandbox joins the Pod's cgroup: the slice. It returns
// true if the spec was modified.
func setSliceCgroup(spec *specs.Spec) bool {
	if spec.Linux == nil || cgroups.Mode() == cgroups.Unified {
		return false
	}
	slice, scope, ok := expandSlice(spec.Linux.CgroupsPath)
	if !ok {
		return false
	}
	spec.Linux.CgroupsPath = path.Join(slice, scope)
	if utils.IsSandbox(spec) {
		if spec.Annotations == nil {
			spec.Annotations = make(map[string]string)
		}
		spec.Annotations[cgroupParentAnnotation] = slice
	}
	return true
}

// expandSlice gives the path of the slice in SLICE:PREFIX:NAME, and the name
// of the scope in it. A dash in a slice's name is a step down in the hierarchy
// (systemd.slice(5)): a-b.slice is /a.slice/a-b.slice.
func expandSlice(notation string) (slice, scope string, ok bool) {
	parts := strings.Split(notation, ":")
	if len(parts) != 3 || !strings.HasSuffix(parts[0], ".slice") {
		return "", "", false
	}
	slice = "/"
	name := strings.TrimSuffix(parts[0], ".slice")
	for i, r := range name + "-" {
		if r == '-' {
			slice = path.Join(slice, name[:i]+".slice")
		}
	}
	return slice, parts[1] + "-" + parts[2] + ".scope", true
}
