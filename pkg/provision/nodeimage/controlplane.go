package nodeimage

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/isolation-stack/labctl/pkg/process"
)

// k8sPrograms are the names that the binary of images/kubernetes goes by.
var k8sPrograms = []string{
	"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy",
	"kubeadm", "kubectl", "kubelet", "podnetwork",
}

// podnetworkImage is its name in the node's containerd and in the manifest.
func podnetworkImage(version string) string { return "localhost/labctl/podnetwork:" + version }

// controlPlane makes the images that kubeadm wants, pause, and podnetwork.
// Their names are kubeadm's own; iptables is a root with Debian's iptables.
func (b *builder) controlPlane(ctx context.Context, bins map[string]string, version, iptables string) (map[name.Tag]v1.Image, error) {
	list, err := process.Run(ctx, process.Command{
		Argv: []string{filepath.Join(bins["kubernetes"], "kubeadm"), "config", "images", "list", "--kubernetes-version", version},
		Log:  b.log.Output(),
	})
	if err != nil {
		return nil, err
	}
	pause, err := b.src.pauseImage()
	if err != nil {
		return nil, err
	}
	refs := append(strings.Fields(string(list.Stdout)), pause, podnetworkImage(version))

	k8s, err := layer(packed, k8sEntries("/usr/local/bin", bins["kubernetes"], k8sPrograms))
	if err != nil {
		return nil, err
	}
	xtables, err := tarball.LayerFromFile(iptables, tarball.WithCompressionLevel(packed))
	if err != nil {
		return nil, err
	}
	out := map[name.Tag]v1.Image{}
	for _, ref := range refs {
		tag, err := name.NewTag(ref)
		if err != nil {
			return nil, fmt.Errorf("kubeadm config images list: %w", err)
		}
		base := tag.RepositoryStr()[strings.LastIndex(tag.RepositoryStr(), "/")+1:]
		var layers []v1.Layer
		config := v1.Config{Env: []string{"PATH=" + containerPath}, Entrypoint: []string{"/usr/local/bin/" + base}}
		switch base {
		case "kube-proxy", "podnetwork":
			layers = []v1.Layer{xtables, k8s}
		case "kube-apiserver", "kube-controller-manager", "kube-scheduler":
			layers = []v1.Layer{k8s}
		case "etcd", "coredns", "pause":
			// Upstream's entrypoint of CoreDNS and pause is in /; the
			// manifests of kubeadm give arguments only, or a bare name.
			config.Entrypoint = []string{"/" + base}
			l, err := layer(packed, []entry{binary("/", filepath.Join(bins[base], base))})
			if err != nil {
				return nil, err
			}
			layers = []v1.Layer{l}
		default:
			return nil, fmt.Errorf("kubeadm %s wants the image %s, which labctl can't build", version, ref)
		}
		if out[tag], err = assemble(runtime.GOARCH, config, layers...); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// containerPath finds the programs of all images by their bare names, as the
// static Pods of kubeadm call them.
const containerPath = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/"

// k8sEntries are the binary and links to it.
func k8sEntries(dir, bin string, programs []string) []entry {
	out := []entry{binary(dir, filepath.Join(bin, "kubernetes"))}
	for _, p := range programs {
		out = append(out, entry{path: dir + "/" + p, link: "kubernetes"})
	}
	return out
}

// archive streams the images as docker-archive.
func archive(imgs map[name.Tag]v1.Image) io.ReadCloser {
	refs := map[name.Reference]v1.Image{}
	for tag, img := range imgs {
		refs[tag] = img
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(tarball.MultiRefWrite(refs, w)) }()
	return r
}
