package labprobe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// Addresses of a network; they exist in its namespaces only.
var (
	clientIP       = net.IPv4(10, 77, 1, 2).To4()
	routerClientIP = net.IPv4(10, 77, 1, 1).To4()
	routerServerIP = net.IPv4(10, 77, 2, 1).To4()
	serverIP       = net.IPv4(10, 77, 2, 2).To4()
	// serviceIP belongs to nobody: the router translates it, as kube-proxy
	// does with a ClusterIP.
	serviceIP = net.IPv4(10, 96, 0, 10).To4()
)

// network is three network namespaces in a row, client - router - server,
// the shape of Pod, node and Pod. They have no names and no mounts: the
// kernel removes them with their devices, rules and connections as soon as
// nobody uses them, also after SIGKILL.
type network struct{ client, router, server netns.NsHandle }

// newNetwork makes a network whose client reaches the server.
func newNetwork() (_ *network, err error) {
	n := &network{netns.None(), netns.None(), netns.None()}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	for _, h := range []*netns.NsHandle{&n.client, &n.router, &n.server} {
		if *h, err = onThread(netns.New); err != nil {
			if errors.Is(err, os.ErrPermission) {
				return nil, evidence.Untestablef("a network namespace of its own needs root with CAP_SYS_ADMIN: %v", err)
			}
			return nil, fmt.Errorf("new network namespace: %w", err)
		}
	}
	if err := n.join("client", n.client, clientIP, routerClientIP); err != nil {
		return nil, err
	}
	if err := n.join("server", n.server, serverIP, routerServerIP); err != nil {
		return nil, err
	}
	if err := sysctl(n.router, "ipv4/ip_forward", "1"); err != nil {
		return nil, err
	}
	// No tail loss probes: on a busy machine they send again what isn't lost.
	if err := sysctl(n.client, "ipv4/tcp_early_retrans", "0"); err != nil {
		return nil, err
	}
	return n, nil
}

// join lays a veth from the router to the namespace end and routes through it.
func (n *network) join(name string, end netns.NsHandle, ip, gateway net.IP) error {
	router, err := netlink.NewHandleAt(n.router, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink in the router's namespace: %w", err)
	}
	defer router.Close()
	far, err := netlink.NewHandleAt(end, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink in the %s's namespace: %w", name, err)
	}
	defer far.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(end))}
	if err := router.LinkAdd(veth); err != nil {
		return fmt.Errorf("veth to the %s's namespace: %w", name, err)
	}
	if err := address(router, name, gateway); err != nil {
		return err
	}
	if err := address(far, "eth0", ip); err != nil {
		return err
	}
	if err := far.RouteAdd(&netlink.Route{Gw: gateway}); err != nil {
		return fmt.Errorf("default route of the %s: %w", name, err)
	}
	return nil
}

// address gives a device its address in a /24 and sets it up. Segmentation
// is left to TCP (one segment a packet), so that packets, segments and
// kernel events are the same count.
func address(h *netlink.Handle, device string, ip net.IP) error {
	link, err := h.LinkByName(device)
	if err != nil {
		return fmt.Errorf("device %s: %w", device, err)
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: net.CIDRMask(24, 32)}}
	for _, step := range []func() error{
		func() error { return h.AddrAdd(link, addr) },
		func() error { return h.LinkSetGSOMaxSegs(link, 1) },
		func() error { return h.LinkSetUp(link) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("device %s: %w", device, err)
		}
	}
	return nil
}

// sysctl sets one of net.* in a namespace: /proc/sys/net is that of the
// thread which opens it.
func sysctl(ns netns.NsHandle, name, value string) error {
	_, err := in(ns, func() (struct{}, error) {
		return struct{}{}, os.WriteFile("/proc/sys/net/"+name, []byte(value), 0)
	})
	if err != nil {
		return fmt.Errorf("sysctl in a network namespace of our own: %w", err)
	}
	return nil
}

// listen is a TCP listener in the server's namespace; port 0 takes a free one.
func (n *network) listen(ctx context.Context, port string) (net.Listener, error) {
	l, err := in(n.server, func() (net.Listener, error) {
		var lc net.ListenConfig
		return lc.Listen(ctx, "tcp4", net.JoinHostPort(serverIP.String(), port))
	})
	if err != nil {
		return nil, fmt.Errorf("listen in the server's namespace: %w", err)
	}
	return l, nil
}

func (n *network) close() {
	for _, h := range []netns.NsHandle{n.client, n.router, n.server} {
		if h.IsOpen() {
			_ = h.Close() // the kernel removes the namespace; there is nothing to retry
		}
	}
}

// in runs f on a thread inside a network namespace. Sockets that f makes stay there.
func in[T any](ns netns.NsHandle, f func() (T, error)) (T, error) {
	return onThread(func() (T, error) {
		if err := netns.Set(ns); err != nil {
			var zero T
			return zero, fmt.Errorf("enter network namespace: %w", err)
		}
		return f()
	})
}

// onThread runs f on a thread of its own that ends with it: whatever f does
// to the thread (namespaces, user ids, capabilities) is seen nowhere else.
func onThread[T any](f func() (T, error)) (T, error) {
	var result T
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread can't end, and it is what /proc/self shows.
			// It is held here, so that f gets another one.
			defer runtime.UnlockOSThread()
			result, err = onThread(f)
			return
		}
		result, err = f() // never unlocked: the runtime then ends the thread
	}()
	<-done
	return result, err
}
