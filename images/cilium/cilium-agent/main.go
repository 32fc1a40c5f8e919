// Command cilium-agent is Cilium's agent for nodes of labctl: it copes with
// kernels without modules, uses the node's own iptables, and takes care of
// Pods that are older than itself.
//
//	cilium-agent FLAGS               # Cilium's own
//	cilium-agent install FILE DIR    # copies a program, for an init container
//	iptables, ip6tables, ipset …     # the node's own, by this program's name
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/cilium/cilium/daemon/cmd"
	"github.com/cilium/cilium/pkg/datapath/linux/modules"
	"github.com/cilium/cilium/pkg/hive"
	"github.com/cilium/cilium/pkg/hive/cell"

	"github.com/isolation-stack/labctl/images/cilium/adopt"
	"github.com/isolation-stack/labctl/images/cilium/gateway"
)

func main() {
	name := filepath.Base(os.Args[0])
	switch {
	case name != "cilium-agent":
		exit(onNode(name, os.Args[1:]))
	case len(os.Args) == 4 && os.Args[1] == "install":
		exit(install(os.Args[2], os.Args[3]))
	}
	router := gateway.Find(networks)
	if !router.IsValid() {
		router = linkLocal
	}
	exitOn(os.Setenv("CILIUM_LOCAL_ROUTER_IPV4", router.String()))
	go adopt.Pods()
	cmd.Execute(cmd.NewAgentCmd(hive.New(agent())))
}

func exit(err error) {
	exitOn(err)
	os.Exit(0)
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
		os.Exit(1)
	}
}

// networks is where the node's CNI configuration is mounted. The gateway that
// it gives Pods is the address by which the kubelet's probes reach them: as
// Cilium's own router address it counts as the node's, not as the world's,
// which policies shut out.
const networks = "/host/etc/cni/net.d"

// linkLocal is the router's address on a node whose gateway isn't known.
var linkLocal = netip.MustParseAddr("169.254.23.0")

// loaded lists the kernel's modules; a kernel that can't load any has no such
// file (proc_modules(5)), and Cilium's manager of modules gives up on that.
const loaded = "/proc/modules"

func agent() cell.Cell {
	if _, err := os.Stat(loaded); !errors.Is(err, fs.ErrNotExist) {
		return cmd.Agent
	}
	// A manager that knows of no module, and whose start isn't hooked: the
	// agent then asks modprobe, and takes its failure as a warning.
	return cell.Decorate(func() *modules.Manager { return &modules.Manager{} }, cmd.Agent)
}
