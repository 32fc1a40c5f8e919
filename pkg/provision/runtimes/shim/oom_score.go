//go:build ignore

package shim

import (
	"errors"
	"os"

	"github.com/containerd/containerd/runtime/v2/shim"
)

// setScore protects the shim from the OOM killer as far as the host lets it:
// a low fixed score where that is permitted (CAP_SYS_RESOURCE), else the
// score of containerd plus one, as containerd's own shims have it.
func setScore(pid int) error {
	err := shim.SetScore(pid)
	if errors.Is(err, os.ErrPermission) {
		return shim.AdjustOOMScore(pid)
	}
	return err
}
