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
	"github.com/isolation-stack/labctl/pkg/provision/ociimage"
)

// k8sPrograms are the names that the binary of images/kubernetes goes by.
var k8sPrograms = []string{
	"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy",
	"kubeadm", "kubectl", "kubelet", "podnetwork",
}

// versions are those that images of ours are tagged with.
type versions struct{ kubernetes, localPath, debian string }

func (b *builder) versions() (v versions, err error) {
	if v.kubernetes, err = b.src.Version("kubernetes", "k8s.io/kubernetes"); err != nil {
		return v, err
	}
	v.localPath, err = b.src.Version("local-path", "github.com/rancher/local-path-provisioner")
	v.debian = b.pins.Debian.Suite
	return v, err
}

// The images that kind has of its own, by their names in the node's
// containerd and, in capitals, in the manifests.
func (v versions) podnetwork() string { return "localhost/labctl/podnetwork:" + v.kubernetes }
func (v versions) localPathImage() string {
	return "localhost/labctl/local-path-provisioner:" + v.localPath
}
func (v versions) helper() string { return "localhost/labctl/local-path-helper:" + v.debian }

func (v versions) fill(manifest []byte) []byte {
	return []byte(strings.NewReplacer(
		"PODNETWORK_IMAGE", v.podnetwork(),
		"LOCAL_PATH_IMAGE", v.localPathImage(),
		"LOCAL_PATH_HELPER_IMAGE", v.helper(),
	).Replace(string(manifest)))
}

// roots are tar files of packages that images need beside our programs.
type roots struct{ iptables, busybox string }

// controlPlane makes the images that kubeadm wants, pause, and those of the
// default manifests. kubeadm itself says how its images are called.
func (b *builder) controlPlane(ctx context.Context, bins map[string]string, v versions, r roots) (map[name.Tag]v1.Image, error) {
	list, err := process.Run(ctx, process.Command{
		Argv: []string{filepath.Join(bins["kubernetes"], "kubeadm"), "config", "images", "list", "--kubernetes-version", v.kubernetes},
		Log:  b.log.Output(),
	})
	if err != nil {
		return nil, err
	}
	pause, err := pauseImage(b.src)
	if err != nil {
		return nil, err
	}
	refs := append(strings.Fields(string(list.Stdout)), pause, v.podnetwork(), v.localPathImage(), v.helper())

	k8s, err := ociimage.Layer(ociimage.Packed, k8sEntries("/usr/local/bin", bins["kubernetes"], k8sPrograms))
	if err != nil {
		return nil, err
	}
	xtables, err := tarball.LayerFromFile(r.iptables, tarball.WithCompressionLevel(ociimage.Packed))
	if err != nil {
		return nil, err
	}
	busybox, err := tarball.LayerFromFile(r.busybox, tarball.WithCompressionLevel(ociimage.Packed))
	if err != nil {
		return nil, err
	}
	shell, err := ociimage.Layer(ociimage.Packed, links("busybox", "/usr/bin/sh", "/usr/bin/mkdir", "/usr/bin/rm"))
	if err != nil {
		return nil, err
	}
	single := func(file string) ([]v1.Layer, error) {
		l, err := ociimage.Layer(ociimage.Packed, []ociimage.Entry{ociimage.Binary("/", file)})
		return []v1.Layer{l}, err
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
			// kubeadm's manifests call etcd by its bare name and give the
			// other two arguments only.
			config.Entrypoint = []string{"/" + base}
			layers, err = single(filepath.Join(bins[base], base))
		case "local-path-provisioner":
			config.Entrypoint = []string{"/" + base}
			layers, err = single(filepath.Join(bins["local-path"], base))
		case "local-path-helper":
			config.Entrypoint = []string{"/bin/sh"}
			layers = []v1.Layer{busybox, shell}
		default:
			return nil, fmt.Errorf("kubeadm %s wants the image %s, which labctl can't build", v.kubernetes, ref)
		}
		if err != nil {
			return nil, err
		}
		if out[tag], err = ociimage.Assemble(runtime.GOARCH, "labctl", config, layers...); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// containerPath finds the programs of all images by their bare names, as the
// static Pods of kubeadm call them.
const containerPath = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/"

// k8sEntries are the binary and links to it.
func k8sEntries(dir, bin string, programs []string) []ociimage.Entry {
	out := []ociimage.Entry{ociimage.Binary(dir, filepath.Join(bin, "kubernetes"))}
	for _, p := range programs {
		out = append(out, links("kubernetes", dir+"/"+p)...)
	}
	return out
}

// links are symbolic links to one target.
func links(target string, paths ...string) []ociimage.Entry {
	var out []ociimage.Entry
	for _, p := range paths {
		out = append(out, ociimage.Entry{Path: p, Link: target})
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
