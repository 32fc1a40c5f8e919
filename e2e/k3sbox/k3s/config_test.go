package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func TestServerFlags(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		args  []string
		check func(*settings) bool
		err   string
	}{
		{name: "defaults", check: func(s *settings) bool { return s.port == 6443 && s.dataDir == defaultDataDir }},
		{name: "a later file replaces", files: map[string]string{
			"config.yaml": "node-name: a\ndisable: [traefik]\n", "config.yaml.d/50-b.yaml": "node-name: b\ndisable: coredns\n"},
			check: func(s *settings) bool { return s.nodeName == "b" && slices.Equal(s.disable, list{"coredns"}) }},
		{name: "key+ appends", files: map[string]string{
			"config.yaml": "disable: [traefik]\n", "config.yaml.d/50-b.yaml": "disable+: [coredns]\nnode-label+: a=b\n"},
			check: func(s *settings) bool {
				return slices.Equal(s.disable, list{"traefik", "coredns"}) && slices.Equal(s.nodeLabels, list{"a=b"})
			}},
		{name: "the folder alone", files: map[string]string{"config.yaml.d/1.yml": "disable-kube-proxy: true\n", "config.yaml.d/2.txt": "]"},
			check: func(s *settings) bool { return s.disableProxy }},
		{name: "arguments go over files", files: map[string]string{"config.yaml": "node-name: a\n"}, args: []string{"--node-name", "c"},
			check: func(s *settings) bool { return s.nodeName == "c" }},
		{name: "an unknown key is skipped", files: map[string]string{"config.yaml": "nodename: a\nnode-name: b\n"},
			check: func(s *settings) bool { return s.nodeName == "b" }},
		{name: "an unknown flag is not", args: []string{"--nodename=a"}, err: "flag provided but not defined: -nodename"},
		{name: "what the stand-in can't do", args: []string{"--datastore-endpoint=mysql://x"}, err: "--datastore-endpoint"},
		{name: "what changes nothing without Flannel", args: []string{"--flannel-iface=eth0", "--disable-network-policy"},
			check: func(s *settings) bool { return true }},
		{name: "extra arguments", args: []string{"now"}, err: "extra arguments"},
		{name: "no YAML", files: map[string]string{"config.yaml.d/1.yaml": "a: [b\n"}, err: "1.yaml"},
		{name: "no map", files: map[string]string{"config.yaml": "- a\n"}, err: "no map"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, c.files)
			t.Setenv("K3S_CONFIG_FILE", filepath.Join(dir, "config.yaml"))
			s, err := serverFlags(c.args)
			switch {
			case c.err != "":
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
			case err != nil:
				t.Error(err)
			case !c.check(s):
				t.Errorf("settings %+v", s)
			}
		})
	}
}

func TestRenderContainerd(t *testing.T) {
	const handler = "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.gvisor]\n  runtime_type = \"io.containerd.runsc.v1\"\n"
	for _, c := range []struct {
		name, generation string
		templates        map[string]string
		version          int64
		imports          bool
		plugin           string
		runtimes         []string
		err              string
	}{
		{name: "base of v2", generation: genV2, version: 2, plugin: "io.containerd.grpc.v1.cri", runtimes: []string{"crun", "runc"}},
		{name: "base of v3", generation: genV3, version: 3, plugin: "io.containerd.cri.v1.runtime", runtimes: []string{"crun", "runc"}},
		{name: "base of v3-dropin", generation: genDropIn, version: 3, imports: true, plugin: "io.containerd.cri.v1.runtime", runtimes: []string{"crun", "runc"}},
		{name: "a template that extends the base", generation: genV3, version: 3, plugin: "io.containerd.cri.v1.runtime",
			templates: map[string]string{"config-v3.toml.tmpl": "{{ template \"base\" . }}\n" + handler}, runtimes: []string{"crun", "gvisor", "runc"}},
		{name: "a version 2 template on a newer K3s", generation: genDropIn, version: 2, plugin: "io.containerd.grpc.v1.cri",
			templates: map[string]string{"config.toml.tmpl": "{{ template \"base\" . }}\n"}, runtimes: []string{"crun", "runc"}},
		{name: "an old K3s doesn't read the version 3 template", generation: genV2, version: 2, plugin: "io.containerd.grpc.v1.cri",
			templates: map[string]string{"config-v3.toml.tmpl": "{{"}, runtimes: []string{"crun", "runc"}},
		{name: "a template that doesn't parse", generation: genV3, templates: map[string]string{"config-v3.toml.tmpl": "{{ if }}"}, err: "template"},
		{name: "a template that names what isn't there", generation: genV3, templates: map[string]string{"config-v3.toml.tmpl": "{{ .Nothing }}"}, err: "Nothing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, c.templates)
			data := templateData{Program: "k3s", ExtraRuntimes: map[string]extraRuntime{"crun": {"io.containerd.runc.v2", "/usr/bin/crun"}}}
			data.NodeConfig.Containerd.Template = dir
			data.NodeConfig.AgentConfig.PauseImage = "pause"
			data.NodeConfig.AgentConfig.Snapshotter = "overlayfs"
			data.NodeConfig.AgentConfig.CNIConfDir = "/cni"
			text, err := renderContainerd(dir, c.generation, data)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var config struct {
				Version int64
				Imports []string
				Plugins map[string]struct {
					Containerd struct{ Runtimes map[string]any }
				}
			}
			if _, err := toml.Decode(text, &config); err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			names := slices.Sorted(maps.Keys(config.Plugins[c.plugin].Containerd.Runtimes))
			if config.Version != c.version || (len(config.Imports) == 1) != c.imports || !slices.Equal(names, c.runtimes) {
				t.Errorf("version %d, imports %v, runtimes %v:\n%s", config.Version, config.Imports, names, text)
			}
		})
	}
}

func TestDetect(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"crun": "#!", "containerd-shim-wasmedge-v1": "#!", "containerd-shim-runsc-v1": "#!"})
	t.Setenv("PATH", dir)
	found, err := detect()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]extraRuntime{
		"crun":     {"io.containerd.runc.v2", dir + "/crun"},
		"wasmedge": {"io.containerd.wasmedge.v1", dir + "/containerd-shim-wasmedge-v1"},
	}
	if !maps.Equal(found, want) || os.Getenv("PATH") != dir {
		t.Errorf("found %v, PATH %s", found, os.Getenv("PATH"))
	}
}

func TestCertificatesStay(t *testing.T) {
	t.Setenv("K3S_CONFIG_FILE", filepath.Join(t.TempDir(), "none.yaml"))
	settings, err := serverFlags(nil)
	if err != nil {
		t.Fatal(err)
	}
	settings.dataDir, settings.nodeName, settings.nodeIP = t.TempDir(), "box", "10.0.0.2"
	settings.kubeconfig = filepath.Join(settings.dataDir, "k3s.yaml")
	s := &supervisor{settings: settings}
	read := func() string {
		if err := s.certificates(); err != nil {
			t.Fatal(err)
		}
		if err := s.kubeconfigs(); err != nil {
			t.Fatal(err)
		}
		cert, err := os.ReadFile(s.path("server/tls/serving-kube-apiserver.crt"))
		if err != nil {
			t.Fatal(err)
		}
		user, err := os.ReadFile(s.kubeconfig)
		if err != nil {
			t.Fatal(err)
		}
		return string(cert) + string(user)
	}
	first := read()
	if read() != first {
		t.Error("a restart makes other certificates")
	}
	s.nodeIP = "10.0.0.3"
	if read() == first {
		t.Error("another address keeps the certificate")
	}
	cert, err := readCertificate(s.path("server/tls/serving-kube-apiserver.crt"))
	if err != nil || cert.VerifyHostname("10.0.0.3") != nil || cert.VerifyHostname("10.43.0.1") != nil {
		t.Errorf("certificate: %v, %v", cert.IPAddresses, err)
	}
	if info, err := os.Stat(s.kubeconfig); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("kubeconfig: %v, %v", info.Mode(), err)
	}
}
