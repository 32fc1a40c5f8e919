package nodeimage

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/pkg/progress"
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

func TestUnpack(t *testing.T) {
	tests := []struct {
		name    string
		files   map[string]string
		want    []string
		wantErr string
	}{
		{"one module of two", map[string]string{"etcd/go.mod": "1", "etcd/sub/a.go": "2", "etcd2/go.mod": "3"}, []string{"go.mod", "sub/a.go"}, ""},
		{"out of the folder", map[string]string{"etcd/../../evil": "1"}, nil, "outside"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := readSources(tarOf(t, tt.files))
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			err = s.unpack("etcd", dir)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("error %v, want one with %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			_ = filepath.Walk(dir, func(p string, i os.FileInfo, err error) error {
				if err == nil && i.Mode().IsRegular() {
					rel, _ := filepath.Rel(dir, p)
					got = append(got, rel)
				}
				return err
			})
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if _, err := readSources([]byte("no tar archive, but long enough to be taken for a broken header" + strings.Repeat("x", 600))); err == nil {
		t.Error("garbage is taken for an archive")
	}
}

func TestPrograms(t *testing.T) {
	programs, err := testSources().programs()
	if err != nil {
		t.Fatal(err)
	}
	flags := strings.Join(programs[0].ldflags, " ")
	for _, want := range []string{"version.gitVersion=v1.37.2", "version.gitMajor=1 ", "version.gitMinor=37 "} {
		if !strings.Contains(flags, want) {
			t.Errorf("flags %q have no %q", flags, want)
		}
	}
	if _, err := (sources{}).programs(); err == nil {
		t.Error("sources without go.mod give no error")
	}
	if _, err := (sources{}).pauseImage(); err == nil {
		t.Error("sources without containerd's configuration give no error")
	}
}

type recorder struct{ updates []string }

func (r *recorder) Update(done, total int, detail string) {
	r.updates = append(r.updates, strings.TrimSpace(detail))
	if done > total {
		r.updates = append(r.updates, "more than there is")
	}
}
func (*recorder) End(error) {}

var _ progress.Step = (*recorder)(nil)

func TestPackageCounter(t *testing.T) {
	r := &recorder{}
	c := &packageCounter{step: r, total: 2}
	for _, p := range []string{"+ go build -v\n", "go: downloading example.org/m v1.0.0\n", "internal/abi\nexample.org/m/a\n", "example.org/m/b\n"} {
		if n, err := c.Write([]byte(p)); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
	}
	if want := []string{"internal/abi", "example.org/m/a", "example.org/m/b"}; !slices.Equal(r.updates, want) {
		t.Errorf("got %q, want %q", r.updates, want)
	}
}

func TestLayer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "prog")
	if err := os.WriteFile(file, []byte("ELF"), 0o600); err != nil {
		t.Fatal(err)
	}
	entries := []entry{binary("/usr/bin", file), {path: "/usr/bin/other", link: "prog"}, {path: "/etc/x", mode: 0o640, content: []byte("y")}}
	l, err := layer(packed, entries)
	if err != nil {
		t.Fatal(err)
	}
	again, err := layer(packed, entries)
	if err != nil {
		t.Fatal(err)
	}
	if a, _ := l.Digest(); a.String() == "" {
		t.Error("no digest")
	} else if b, _ := again.Digest(); a != b {
		t.Errorf("the same entries give %s and %s", a, b)
	}
	r, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	var got []string
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, h.FileInfo().Mode().String()+" "+h.Name+" "+h.Linkname+string(content))
	}
	want := []string{"-rwxr-xr-x usr/bin/prog ELF", "Lrwxrwxrwx usr/bin/other prog", "-rw-r----- etc/x y"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := layer(packed, []entry{{path: "/x", from: filepath.Join(t.TempDir(), "missing")}}); err == nil {
		t.Error("a missing file gives no error")
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
	paths := map[string]entry{}
	for _, e := range entries {
		if _, twice := paths[e.path]; twice {
			t.Errorf("%s is there twice, which engines refuse", e.path)
		}
		paths[e.path] = e
	}
	if e := paths["/etc/default/kubelet"]; !strings.Contains(string(e.content), "--config-dir") {
		t.Errorf("kubelet's environment is %q", e.content)
	}
	for manifest, image := range map[string]string{
		"/kind/manifests/default-cni.yaml":     "image: localhost/labctl/podnetwork:v1.37.2\n",
		"/kind/manifests/default-storage.yaml": "image: localhost/labctl/local-path-provisioner:v0.0.30\n",
	} {
		text := string(paths[manifest].content)
		if !strings.Contains(text, image) || strings.Contains(text, "_IMAGE") {
			t.Errorf("%s doesn't name its image %s", manifest, image)
		}
	}
	if e := paths["/usr/local/bin/entrypoint"]; e.mode != 0o755 {
		t.Errorf("entrypoint has mode %o", e.mode)
	}
	if _, ok := paths["/usr/local/bin/.labctl-artifact.json"]; ok {
		t.Error("the artifact's own file is on the node")
	}
}
