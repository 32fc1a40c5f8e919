// Package xtables makes a container use the same iptables backend (nf_tables
// or legacy) as the node that it shares the network namespace with: rules of
// both at once are hard to reason about. Upstream's images do the same with
// kubernetes-sigs/iptables-wrappers.
package xtables

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// dir holds the two multi-call programs of Debian's package iptables; its
// maintainer script, which would link the names, doesn't run in our images.
const dir = "/usr/sbin"

// names that kube-proxy and podnetwork call.
var names = []string{
	"iptables", "iptables-save", "iptables-restore",
	"ip6tables", "ip6tables-save", "ip6tables-restore",
}

// hint is the chain that the kubelet makes with the node's own backend for
// others to find (KEP-3178).
const hint = "KUBE-IPTABLES-HINT"

// Link links the names to the node's backend. It does nothing where iptables
// is there already.
func Link() error {
	if _, err := os.Lstat(filepath.Join(dir, names[0])); err == nil {
		return nil
	}
	program := filepath.Join(dir, "xtables-"+mode(save)+"-multi")
	for _, n := range names {
		if err := os.Symlink(program, filepath.Join(dir, n)); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("link iptables: %w", err)
		}
	}
	return nil
}

// mode is nft or legacy; save gives the mangle table of a backend.
func mode(save func(backend string) ([]byte, error)) string {
	nft, nftErr := save("nft")
	legacy, _ := save("legacy") // an error means that the kernel lacks it
	switch {
	case bytes.Contains(nft, []byte(hint)):
		return "nft"
	case bytes.Contains(legacy, []byte(hint)), nftErr != nil:
		return "legacy"
	}
	return "nft"
}

func save(backend string) ([]byte, error) {
	return exec.Command(filepath.Join(dir, "xtables-"+backend+"-multi"), "iptables-"+backend+"-save", "-t", "mangle").Output()
}
