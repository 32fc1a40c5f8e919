package main

import (
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// kubeletConfig is K3s's. The kubelet inside would refuse cgroup v1 in the older
// generations too.
const kubeletConfig = `# Written by k3s at each start.
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 0.0.0.0
authentication:
  anonymous:
    enabled: false
  webhook:
    enabled: true
  x509:
    clientCAFile: AGENT/client-ca.crt
authorization:
  mode: Webhook
cgroupDriver: CGROUP_DRIVER
clusterDNS: [CLUSTER_DNS]
clusterDomain: CLUSTER_DOMAIN
containerRuntimeEndpoint: unix://` + criSocket + `
evictionHard:
  imagefs.available: 5%
  nodefs.available: 5%
evictionMinimumReclaim:
  imagefs.available: 10%
  nodefs.available: 10%
failCgroupV1: FAIL_CGROUP_V1
failSwapOn: false
healthzBindAddress: 127.0.0.1
resolvConf: RESOLV_CONF
serializeImagePulls: false
staticPodPath: AGENT/pod-manifests
tlsCertFile: AGENT/serving-kubelet.crt
tlsPrivateKeyFile: AGENT/serving-kubelet.key
`

func (s *supervisor) startKubelet() error {
	agent := s.path("agent")
	driver := "cgroupfs"
	if systemdCgroup() {
		driver = "systemd"
	}
	resolv := s.resolvConf
	if resolv == "" {
		resolv = "/etc/resolv.conf"
	}
	config := strings.NewReplacer("AGENT", agent, "CGROUP_DRIVER", driver, "CLUSTER_DNS", s.clusterDNS,
		"CLUSTER_DOMAIN", s.domain, "RESOLV_CONF", resolv,
		"FAIL_CGROUP_V1", strconv.FormatBool(s.version.FailCgroupV1)).Replace(kubeletConfig)
	configs := filepath.Join(agent, "etc/kubelet.conf.d")
	if err := replaceFile(filepath.Join(configs, "00-k3s-defaults.conf"), []byte(config), 0o600); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(agent, "pod-manifests"), 0o700); err != nil {
		return err
	}
	// The kubelet's cadvisor asks containerd at the address that is its default.
	// K3s sets another in its own process; here there is only this way.
	const cadvisor = "/run/containerd/containerd.sock"
	if err := os.MkdirAll(filepath.Dir(cadvisor), 0o711); err != nil {
		return err
	}
	if err := os.Symlink(criSocket, cadvisor); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	argv := []string{"kubelet",
		"--config-dir=" + configs,
		"--hostname-override=" + s.nodeName,
		"--kubeconfig=" + agent + "/kubelet.kubeconfig",
		"--node-ip=" + s.nodeIP,
		"--node-labels=" + strings.Join(s.nodeLabels, ","),
	}
	if len(s.nodeTaints) > 0 {
		argv = append(argv, "--register-with-taints="+strings.Join(s.nodeTaints, ","))
	}
	return s.start(nil, extend(s.kubeletArgs, argv...)...)
}

// writeCNI writes the network of the node's Pods: a veth pair each, addresses
// of the node's range. K3s has Flannel in this file.
func (s *supervisor) writeCNI(podCIDR string) error {
	if _, _, err := net.ParseCIDR(podCIDR); err != nil {
		return err
	}
	type m = map[string]any
	b, err := json.MarshalIndent(m{
		"cniVersion": "0.3.1",
		"name":       "cbr0",
		"plugins": []m{
			{
				"type": "ptp", "ipMasq": true,
				"ipam": m{"type": "host-local", "subnet": podCIDR, "routes": []m{{"dst": "0.0.0.0/0"}}},
			},
			{"type": "portmap", "capabilities": m{"portMappings": true}},
		},
	}, "", "  ")
	if err != nil {
		return err
	}
	file := s.path("agent/etc/cni/net.d/10-flannel.conflist")
	if old, err := os.ReadFile(file); err == nil && bytes.Equal(old, b) {
		return nil
	}
	return replaceFile(file, b, 0o600)
}

// importImages loads the archives in agent/images. As with K3s, one that can't
// be loaded is logged and the others are still tried.
func (s *supervisor) importImages(ctx context.Context, address string) error {
	dir := s.path("agent/images")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		file := filepath.Join(dir, e.Name())
		logf("info", "Importing images from %s", file)
		if err := s.importArchive(ctx, address, file); err != nil {
			logf("error", "Error encountered while importing %s: %v", file, err)
		}
	}
	return ctx.Err()
}

func (s *supervisor) importArchive(ctx context.Context, address, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	in, err := decompress(f, file)
	if err != nil {
		return err
	}
	out, err := s.output(ctx, in, "ctr", "-a", address, "-n", "k8s.io", "images", "import", "--all-platforms",
		"--label", "io.cri-containerd.pinned=pinned", "--label", "io.cattle.k3s.pinned=pinned", "-")
	for line := range strings.Lines(out) {
		logf("info", "Imported %s", strings.TrimSpace(line))
	}
	return err
}

func decompress(in io.Reader, name string) (io.Reader, error) {
	name = strings.ToLower(name)
	has := func(ends ...string) bool {
		for _, e := range ends {
			if strings.HasSuffix(name, e) {
				return true
			}
		}
		return false
	}
	switch {
	case has(".tar"):
		return in, nil
	case has(".tar.gz", ".tgz"):
		return gzip.NewReader(in)
	case has(".tar.bz2", ".tbz"):
		return bzip2.NewReader(in), nil
	case has(".tar.zst", ".tzst"):
		return zstd.NewReader(in)
	}
	return nil, fmt.Errorf("unhandled file type of %s", name)
}
