package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	mnl "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tryFeatures tries what the kernel can, in namespaces of their own that end
// with the trial. dir is a folder on the file system that K3s will use.
func tryFeatures(ctx context.Context, dir string) map[feature]string {
	trials := map[feature]string{}
	for f, try := range map[feature]func() error{
		namespaces: func() error {
			return apart(unix.CLONE_NEWNS|unix.CLONE_NEWNET|unix.CLONE_NEWIPC|unix.CLONE_NEWUTS|unix.CLONE_NEWPID, func() error { return nil })
		},
		overlay:   func() error { return apart(unix.CLONE_NEWNS, func() error { return tryOverlay(dir) }) },
		bridge:    func() error { return apart(unix.CLONE_NEWNET, tryBridge) },
		vxlan:     func() error { return apart(unix.CLONE_NEWNET, tryVXLAN) },
		netfilter: func() error { return apart(unix.CLONE_NEWNET, tryNetfilter) },
	} {
		if ctx.Err() != nil {
			return trials
		}
		trials[f] = ""
		if err := try(); err != nil {
			trials[f] = err.Error()
		}
	}
	return trials
}

// apart runs try on a thread of its own in new namespaces. The thread ends
// with it, and so do they (runtime.LockOSThread).
func apart(flags int, try func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Unshare(flags); err != nil {
			result <- fmt.Errorf("unshare: %w", err)
			return
		}
		result <- try()
	}()
	return <-result
}

// tryOverlay mounts an overlay where containerd's snapshots will be: not every
// file system can be below one (overlayfs in the kernel's documentation).
func tryOverlay(dir string) (err error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	base, err := os.MkdirTemp(dir, ".labctl-doctor-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(base)) }()
	at := map[string]string{}
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		at[name] = filepath.Join(base, name)
		if err := os.Mkdir(at[name], 0o700); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", at["lower"], at["upper"], at["work"])
	if err := unix.Mount("overlay", at["merged"], "overlay", 0, options); err != nil {
		return fmt.Errorf("mount an overlay below %s: %w", dir, err)
	}
	return unix.Unmount(at["merged"], 0)
}

func tryBridge() error {
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "labctl0"}}
	if err := netlink.LinkAdd(br); err != nil {
		return fmt.Errorf("make a bridge: %w", err)
	}
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "labctl1", MasterIndex: br.Index}, PeerName: "labctl2"}
	if err := netlink.LinkAdd(pair); err != nil {
		return fmt.Errorf("make a pair of veth on it: %w", err)
	}
	return nil
}

func tryVXLAN() error {
	if err := netlink.LinkAdd(&netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "labctl0"}, VxlanId: 1, Port: flannelPort}); err != nil {
		return fmt.Errorf("make a vxlan: %w", err)
	}
	return nil
}

// nftGetGeneration asks nf_tables for the generation of its rules
// (NFNL_SUBSYS_NFTABLES and NFT_MSG_GETGEN of the kernel's linux/netfilter).
const nftGetGeneration = 10<<8 | 16

// tryNetfilter: K3s's iptables works with either of nf_tables and ip_tables.
func tryNetfilter() error {
	nft := tryNFTables()
	if nft == nil {
		return nil
	}
	// ip_tables shows itself where it is loaded; to load it would change the machine.
	if _, err := os.Stat("/proc/thread-self/net/ip_tables_names"); err == nil {
		return nil
	}
	return fmt.Errorf("neither nf_tables (%w) nor ip_tables answers", nft)
}

func tryNFTables() error {
	c, err := mnl.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // nothing was changed
	_, err = c.Execute(mnl.Message{
		Header: mnl.Header{Type: nftGetGeneration, Flags: mnl.Request},
		Data:   []byte{unix.AF_UNSPEC, 0, 0, 0}, // struct nfgenmsg
	})
	return err
}
