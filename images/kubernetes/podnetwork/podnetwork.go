// Package podnetwork connects the Pods of a lab cluster whose nodes share one
// layer 2 network, as kind's do: on each node it writes the CNI configuration
// for the node's Pod range, routes the other nodes' ranges to their addresses,
// and masquerades what leaves the cluster. It stands in for kindnet, which is
// not to be had as a Go module; it has no NetworkPolicy.
package podnetwork

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

const (
	conflistPath = "/etc/cni/net.d/10-podnetwork.conflist"
	// protocol marks our routes, so that stale ones are known; any number
	// that /etc/iproute2/rt_protos doesn't name will do.
	protocol = 114
	// resync repairs what others changed on the node.
	resync = time.Minute
)

// Main runs until SIGTERM and returns the exit code. It is configured by the
// environment: NODE_NAME, POD_SUBNET (the cluster's Pod ranges, separated by
// commas) and, optionally, CONTROL_PLANE_ENDPOINT (host:port of the API
// server, for use before kube-proxy serves the kubernetes Service).
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx); err != nil {
		slog.Error("podnetwork ends", "error", err)
		return 1
	}
	return 0
}

func run(ctx context.Context) error {
	self := os.Getenv("NODE_NAME")
	if self == "" {
		return errors.New("NODE_NAME is not set; the DaemonSet takes it from spec.nodeName")
	}
	var pods []netip.Prefix
	for _, s := range strings.Split(os.Getenv("POD_SUBNET"), ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(s))
		if err != nil {
			return fmt.Errorf("POD_SUBNET: %w", err)
		}
		pods = append(pods, p)
	}
	config, err := rest.InClusterConfig()
	if err != nil {
		return err
	}
	if endpoint := os.Getenv("CONTROL_PLANE_ENDPOINT"); endpoint != "" {
		config.Host = "https://" + endpoint
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}

	factory := informers.NewSharedInformerFactory(client, 0)
	nodes := factory.Core().V1().Nodes()
	changed := make(chan struct{}, 1)
	notify := func(any) {
		select {
		case changed <- struct{}{}:
		default: // one is pending already
		}
	}
	_, err = nodes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: notify, UpdateFunc: func(_, o any) { notify(o) }, DeleteFunc: notify,
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), nodes.Informer().HasSynced) {
		return nil // told to end
	}
	slog.Info("watching nodes", "self", self, "pods", pods, "api", config.Host)
	tick := time.NewTicker(resync)
	defer tick.Stop()
	for {
		all, err := nodes.Lister().List(labels.Everything())
		if err == nil {
			err = apply(ctx, makePlan(self, all), pods)
		}
		if err != nil {
			slog.Warn("will try again", "error", err)
			time.AfterFunc(time.Second, func() { notify(nil) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-tick.C:
		}
	}
}

// apply makes the node look like the plan; what is right already stays. The
// CNI configuration comes last, since it makes the node Ready.
func apply(ctx context.Context, p plan, pods []netip.Prefix) error {
	if len(p.own) == 0 {
		return errors.New("this node has no Pod range yet")
	}
	if err := applyRoutes(p.routes); err != nil {
		return err
	}
	for _, program := range []string{"iptables", "ip6tables"} {
		six := program == "ip6tables"
		if six != p.own[0].Addr().Is6() && (len(p.own) < 2) {
			continue // the cluster doesn't use this family
		}
		if err := applyMasquerade(ctx, program, masquerade(pods, p.nodes, six)); err != nil {
			return err
		}
	}
	mtu, err := defaultMTU()
	if err != nil {
		return err
	}
	b, err := conflist(p.own, mtu)
	if err != nil {
		return err
	}
	return writeIfChanged(conflistPath, b)
}

func applyRoutes(want map[netip.Prefix]netip.Addr) error {
	for dst, via := range want {
		r := &netlink.Route{
			Dst:      &net.IPNet{IP: dst.Addr().AsSlice(), Mask: net.CIDRMask(dst.Bits(), dst.Addr().BitLen())},
			Gw:       via.AsSlice(),
			Protocol: protocol,
		}
		if err := netlink.RouteReplace(r); err != nil {
			return fmt.Errorf("route %s via %s: %w", dst, via, err)
		}
	}
	ours, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: protocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	for _, r := range ours {
		dst, err := netip.ParsePrefix(r.Dst.String())
		if err != nil {
			continue // a default route; not ours in spite of the mark
		}
		if _, ok := want[dst]; !ok {
			if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("remove route %s: %w", dst, err)
			}
		}
	}
	return nil
}

func applyMasquerade(ctx context.Context, program, rules string) error {
	restore := exec.CommandContext(ctx, program+"-restore", "--noflush", "--wait")
	restore.Stdin = strings.NewReader(rules)
	if out, err := restore.CombinedOutput(); err != nil {
		return fmt.Errorf("%s-restore: %w: %s", program, err, out)
	}
	jump := []string{"POSTROUTING", "-m", "addrtype", "!", "--dst-type", "LOCAL", "-j", chain}
	if exec.CommandContext(ctx, program, append([]string{"-w", "-t", "nat", "-C"}, jump...)...).Run() == nil {
		return nil
	}
	if out, err := exec.CommandContext(ctx, program, append([]string{"-w", "-t", "nat", "-A"}, jump...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s -A %s: %w: %s", program, strings.Join(jump, " "), err, out)
	}
	return nil
}

// defaultMTU is the MTU of the interface with the default route; 0 (the
// plug-in's own default) where there is none.
func defaultMTU() (int, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return 0, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		if r.Dst != nil && !r.Dst.IP.IsUnspecified() {
			continue
		}
		link, err := netlink.LinkByIndex(r.LinkIndex)
		if err != nil {
			return 0, fmt.Errorf("interface of the default route: %w", err)
		}
		return link.Attrs().MTU, nil
	}
	return 0, nil
}

// writeIfChanged replaces the file as one: the container runtime watches the
// folder and must not read half a configuration.
func writeIfChanged(path string, content []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, content) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, content, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
