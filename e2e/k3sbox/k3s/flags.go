package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// settings are what the flags of `k3s server` say that the stand-in acts on.
type settings struct {
	dataDir                                          string
	bindAddress, advertise, nodeIP, nodeName         string
	port                                             int
	clusterCIDR, serviceCIDR, clusterDNS, domain     string
	nodePorts, resolvConf                            string
	kubeconfig, kubeconfigMode                       string
	pauseImage, snapshotter, defaultRuntime          string
	flannel, localStorage, token                     string
	nonrootDevices, disableProxy                     bool
	tlsSAN, disable, nodeLabels, nodeTaints          list
	apiArgs, cmArgs, schedulerArgs, kubeletArgs, prx list
}

// list is a flag that may be given several times, or with commas.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }
func (l *list) Set(s string) error {
	*l = append(*l, s)
	return nil
}

// Flags of K3s that are about parts which the stand-in doesn't have and that
// change nothing without them, and flags which ask for something that it can't
// do (docs.k3s.io, "k3s server").
var (
	withoutEffect = []string{
		"config", "c", "alsologtostderr", "debug", "v", "vmodule", "log", "l",
		"disable-network-policy", "disable-helm-controller", "disable-cloud-controller",
		"egress-selector-mode", "servicelb-namespace", "embedded-registry", "supervisor-metrics",
		"disable-default-registry-endpoint", "private-registry", "prefer-bundled-bin",
		"protect-kernel-defaults", "tls-san-security", "flannel-iface", "flannel-conf",
		"flannel-cni-conf", "flannel-ipv6-masq", "flannel-external-ip", "write-kubeconfig-group",
		"enable-pprof", "lb-server-port", "disable-apiserver-lb", "helm-job-image",
		"image-credential-provider-bin-dir", "image-credential-provider-config",
		"kube-cloud-controller-manager-arg", "etcd-arg", "etcd-disable-snapshots",
		"etcd-snapshot-schedule-cron", "etcd-snapshot-retention", "etcd-snapshot-dir",
		"agent-token", "agent-token-file", "cluster-init", "advertise-port", "node-external-ip",
	}
	refused = []string{
		"server", "s", "cluster-reset", "cluster-reset-restore-path", "datastore-endpoint",
		"datastore-cafile", "datastore-certfile", "datastore-keyfile", "kine-tls", "rootless",
		"docker", "container-runtime-endpoint", "image-service-endpoint", "selinux",
		"secrets-encryption", "secrets-encryption-provider", "vpn-auth", "vpn-auth-file",
		"with-node-id", "system-default-registry", "token-file", "disable-scheduler",
		"disable-kube-apiserver", "disable-controller-manager", "disable-etcd", "disable-agent",
	}
	// boolean ones of both need no value.
	boolean = []string{
		"alsologtostderr", "debug", "disable-network-policy", "disable-helm-controller",
		"disable-cloud-controller", "embedded-registry", "supervisor-metrics",
		"disable-default-registry-endpoint", "prefer-bundled-bin", "protect-kernel-defaults",
		"tls-san-security", "flannel-ipv6-masq", "flannel-external-ip", "enable-pprof",
		"disable-apiserver-lb", "etcd-disable-snapshots", "cluster-init", "cluster-reset",
		"kine-tls", "rootless", "docker", "selinux", "secrets-encryption", "with-node-id",
		"disable-scheduler", "disable-kube-apiserver", "disable-controller-manager",
		"disable-etcd", "disable-agent",
	}
)

// accepted is a flag without effect, or one that is refused when it is set.
type accepted struct {
	name         string
	bool, refuse bool
}

func (a accepted) String() string   { return "" }
func (a accepted) IsBoolFlag() bool { return a.bool }
func (a accepted) Set(value string) error {
	on := true
	if a.bool {
		var err error
		if on, err = strconv.ParseBool(value); err != nil {
			return err
		}
	}
	if a.refuse && on {
		return fmt.Errorf("the stand-in for K3s doesn't have --%s (e2e/k3sbox/README.md)", a.name)
	}
	return nil
}

// flagSet declares the flags of `k3s server`, with K3s's defaults.
func flagSet() (*flag.FlagSet, *settings) {
	s := &settings{}
	f := flag.NewFlagSet("k3s server", flag.ContinueOnError)
	f.SetOutput(io.Discard) // the error says it
	text := func(p *string, value string, names ...string) {
		for _, n := range names {
			f.StringVar(p, n, value, "")
		}
	}
	many := func(p *list, names ...string) {
		for _, n := range names {
			f.Var(p, n, "")
		}
	}
	text(&s.dataDir, defaultDataDir, "data-dir", "d")
	text(&s.bindAddress, "0.0.0.0", "bind-address")
	text(&s.advertise, "", "advertise-address")
	text(&s.nodeIP, "", "node-ip", "i")
	text(&s.nodeName, env("K3S_NODE_NAME", ""), "node-name")
	f.IntVar(&s.port, "https-listen-port", 6443, "")
	text(&s.clusterCIDR, "10.42.0.0/16", "cluster-cidr")
	text(&s.serviceCIDR, "10.43.0.0/16", "service-cidr")
	text(&s.clusterDNS, "10.43.0.10", "cluster-dns")
	text(&s.domain, "cluster.local", "cluster-domain")
	text(&s.nodePorts, "30000-32767", "service-node-port-range")
	text(&s.resolvConf, env("K3S_RESOLV_CONF", ""), "resolv-conf")
	text(&s.kubeconfig, env("K3S_KUBECONFIG_OUTPUT", kubeconfigPath), "write-kubeconfig", "o")
	text(&s.kubeconfigMode, env("K3S_KUBECONFIG_MODE", "600"), "write-kubeconfig-mode")
	text(&s.pauseImage, "rancher/mirrored-pause:3.6", "pause-image")
	text(&s.snapshotter, "overlayfs", "snapshotter")
	text(&s.defaultRuntime, "", "default-runtime")
	text(&s.flannel, "vxlan", "flannel-backend")
	text(&s.localStorage, "", "default-local-storage-path")
	text(&s.token, env("K3S_TOKEN", ""), "token", "t")
	f.BoolVar(&s.nonrootDevices, "nonroot-devices", false, "")
	f.BoolVar(&s.disableProxy, "disable-kube-proxy", false, "")
	many(&s.tlsSAN, "tls-san")
	many(&s.disable, "disable")
	many(&s.nodeLabels, "node-label")
	many(&s.nodeTaints, "node-taint")
	many(&s.apiArgs, "kube-apiserver-arg")
	many(&s.cmArgs, "kube-controller-manager-arg")
	many(&s.schedulerArgs, "kube-scheduler-arg")
	many(&s.kubeletArgs, "kubelet-arg")
	many(&s.prx, "kube-proxy-arg")
	for _, names := range [][]string{withoutEffect, refused} {
		for _, n := range names {
			f.Var(accepted{name: n, bool: slices.Contains(boolean, n), refuse: slices.Contains(refused, n)}, n, "")
		}
	}
	return f, s
}

// serverFlags reads the configuration files and the arguments that go over
// them. A key of the files that is no flag is named and skipped, as K3s does;
// on the command line it is an error.
func serverFlags(args []string) (*settings, error) {
	f, s := flagSet()
	fromFiles, err := configured(configFile(args))
	if err != nil {
		return nil, err
	}
	var all []string
	for _, c := range fromFiles {
		if f.Lookup(c.key) == nil {
			logf("warning", "Unknown flag --%s found in config.yaml, skipping", c.key)
			continue
		}
		for _, v := range c.values {
			all = append(all, "--"+c.key+"="+v)
		}
	}
	if err := f.Parse(append(all, args...)); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("extra arguments: %v", f.Args())
	}
	for _, l := range []*list{&s.tlsSAN, &s.disable, &s.nodeLabels, &s.nodeTaints} {
		*l = strings.FieldsFunc(l.String(), func(r rune) bool { return r == ',' })
	}
	return s, nil
}

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// dataDirOf is --data-dir, which the launcher needs before anything else.
func dataDirOf(args []string) (string, error) {
	dir := defaultDataDir
	fromFiles, err := configured(configFile(args))
	if err != nil {
		return "", err
	}
	for _, c := range fromFiles {
		if c.key == "data-dir" && len(c.values) == 1 {
			dir = c.values[0]
		}
	}
	for i, a := range args {
		if (a == "--data-dir" || a == "-d") && i+1 < len(args) {
			dir = args[i+1]
		} else if v, ok := strings.CutPrefix(a, "--data-dir="); ok {
			dir = v
		}
	}
	return dir, nil
}
