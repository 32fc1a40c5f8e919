package nodeimage

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/pkg/provision/gomodule"
	"github.com/isolation-stack/labctl/pkg/provision/ociimage"
)

func tarOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestPrograms(t *testing.T) {
	list, err := programs(testSources())
	if err != nil {
		t.Fatal(err)
	}
	flags := strings.Join(list[0].Ldflags, " ")
	for _, want := range []string{"version.gitVersion=v1.37.2", "version.gitMajor=1 ", "version.gitMinor=37 "} {
		if !strings.Contains(flags, want) {
			t.Errorf("flags %q have no %q", flags, want)
		}
	}
	if _, err := programs(gomodule.Sources{}); err == nil {
		t.Error("sources without go.mod give no error")
	}
	if _, err := pauseImage(gomodule.Sources{}); err == nil {
		t.Error("sources without containerd's configuration give no error")
	}
}

// TestControlPlane: the names of the images are kubeadm's, whatever registry
// it names, and an image that it newly wants is an error, not left out.
func TestControlPlane(t *testing.T) {
	const usual = "r.example.org/kube-apiserver:v1.37.2 r.example.org/kube-proxy:v1.37.2 r.example.org/coredns/coredns:v1.14.6 r.example.org/pause:3.10.2 r.example.org/etcd:3.7.0-0"
	tests := []struct{ name, list, wantErr string }{
		{"usual", usual, ""},
		{"unknown", usual + " r.example.org/konnectivity:v1", "can't build"},
		{"no names", "UPPER:x", "kubeadm config images list"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := testBuilder(t, newFake(t, nil), Options{})
			bins := map[string]string{}
			for _, p := range []string{"kubernetes", "etcd", "coredns", "pause", "local-path"} {
				bins[p] = t.TempDir()
				file := strings.ReplaceAll(p, "local-path", "local-path-provisioner")
				if err := os.WriteFile(filepath.Join(bins[p], file), []byte(p), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			kubeadm := "#!/bin/sh\nprintf '%s\\n' " + tt.list + "\n"
			if err := os.WriteFile(filepath.Join(bins["kubernetes"], "kubeadm"), []byte(kubeadm), 0o755); err != nil {
				t.Fatal(err)
			}
			iptables := filepath.Join(t.TempDir(), "root.tar")
			if err := os.WriteFile(iptables, tarOf(t, map[string]string{"usr/sbin/xtables-nft-multi": "x"}), 0o644); err != nil {
				t.Fatal(err)
			}
			imgs, err := b.controlPlane(context.Background(), bins, versions{"v1.37.2", "v0.0.30", "trixie"}, roots{iptables, iptables})
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("error %v, want one with %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for tag, img := range imgs {
				config, err := img.ConfigFile()
				if err != nil {
					t.Fatal(err)
				}
				got[tag.String()] = config.Config.Entrypoint[0]
			}
			want := map[string]string{
				"r.example.org/kube-apiserver:v1.37.2":            "/usr/local/bin/kube-apiserver",
				"r.example.org/kube-proxy:v1.37.2":                "/usr/local/bin/kube-proxy",
				"r.example.org/coredns/coredns:v1.14.6":           "/coredns",
				"r.example.org/pause:3.10.2":                      "/pause",
				"r.example.org/pause:3.10":                        "/pause", // of containerd's configuration
				"r.example.org/etcd:3.7.0-0":                      "/etcd",
				"localhost/labctl/local-path-provisioner:v0.0.30": "/local-path-provisioner",
				"localhost/labctl/local-path-helper:trixie":       "/bin/sh",
				"localhost/labctl/podnetwork:v1.37.2":             "/usr/local/bin/podnetwork",
			}
			for ref, entrypoint := range want {
				if got[ref] != entrypoint {
					t.Errorf("%s starts %q, want %q", ref, got[ref], entrypoint)
				}
			}
			if len(got) != len(want) {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestNodeFiles(t *testing.T) {
	b := testBuilder(t, newFake(t, nil), Options{})
	bins := map[string]string{"containerd": t.TempDir(), "kubernetes": "/nowhere"}
	for _, name := range []string{"containerd", "ctr", ".labctl-artifact.json"} {
		if err := os.WriteFile(filepath.Join(bins["containerd"], name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := b.nodeFiles(bins, versions{kubernetes: "v1.37.2", localPath: "v0.0.30", debian: "trixie"})
	if err != nil {
		t.Fatal(err)
	}
	paths := map[string]ociimage.Entry{}
	for _, e := range entries {
		if _, twice := paths[e.Path]; twice {
			t.Errorf("%s is there twice, which engines refuse", e.Path)
		}
		paths[e.Path] = e
	}
	if e := paths["/etc/default/kubelet"]; !strings.Contains(string(e.Content), "--config-dir") {
		t.Errorf("kubelet's environment is %q", e.Content)
	}
	for manifest, image := range map[string]string{
		"/kind/manifests/default-cni.yaml":     "image: localhost/labctl/podnetwork:v1.37.2\n",
		"/kind/manifests/default-storage.yaml": "image: localhost/labctl/local-path-provisioner:v0.0.30\n",
	} {
		text := string(paths[manifest].Content)
		if !strings.Contains(text, image) || strings.Contains(text, "_IMAGE") {
			t.Errorf("%s doesn't name its image %s", manifest, image)
		}
	}
	if e := paths["/usr/local/bin/entrypoint"]; e.Mode != 0o755 {
		t.Errorf("entrypoint has mode %o", e.Mode)
	}
	if _, ok := paths["/usr/local/bin/.labctl-artifact.json"]; ok {
		t.Error("the artifact's own file is on the node")
	}
}
