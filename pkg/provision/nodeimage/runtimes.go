package nodeimage

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/isolation-stack/labctl/pkg/provision/debian"
	"github.com/isolation-stack/labctl/pkg/provision/ociimage"
	"github.com/isolation-stack/labctl/pkg/provision/runtimes"
)

// runtimeInputs is everything that decides what is added to a base.
func (b *builder) runtimeInputs() ([]string, error) {
	common, err := embedded(commonFiles, "common")
	if err != nil {
		return nil, err
	}
	more, err := runtimes.Inputs(b.shim())
	return append(append([]string{recipe, aptScript}, inputs(common)...), more...), err
}

func (b *builder) shim() runtimes.ShimOptions {
	return runtimes.ShimOptions{GVisorDir: b.opts.GVisorDir}
}

// lazyApt opens apt when a source package is really wanted.
type lazyApt struct {
	open func(context.Context) (*debian.Apt, error)
}

func (l lazyApt) Source(ctx context.Context, dir, name string) ([]string, error) {
	apt, err := l.open(ctx)
	if err != nil {
		return nil, err
	}
	return apt.Source(ctx, dir, name)
}

// aptFolder is on a tmpfs of the build container.
const aptFolder = "/run/labctl-apt"

// aptScript installs packages. With the folder, its sources and options are
// used in place of the image's own.
const aptScript = `set -eu
export DEBIAN_FRONTEND=noninteractive
if [ -d ` + aptFolder + ` ]; then
	export APT_CONFIG=` + aptFolder + `/apt.conf
fi
apt-get -q update -o APT::Update::Error-Mode=any
apt-get -q install --yes --no-install-recommends -o APT::Sandbox::User=root "$@"
rm -rf /var/log/apt /var/log/dpkg.log /var/log/alternatives.log`

// addRuntimes makes the node image from a base. The tag comes last, so there
// is no half image of this name.
func (b *builder) addRuntimes(ctx context.Context, base, ref, id string) (err error) {
	shim, err := runtimes.Shim(ctx, b.cache, lazyApt{b.apt}, b.shim(), b.log)
	if err != nil {
		return err
	}
	files, err := runtimes.Files(shim)
	if err != nil {
		return err
	}
	step := b.log.Start("Runtimes in the node image")
	defer func() { step.End(err) }()
	const steps = 3
	step.Update(0, steps, "packages")
	c, err := reserve(b.engine, b.cache.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.remove()) }()
	if err := c.start(ctx, base); err != nil {
		return err
	}
	if err := b.aptSources(ctx, c); err != nil {
		return err
	}
	if _, err := c.run(ctx, aptScript, nil, runtimes.Packages()...); err != nil {
		return err
	}
	step.Update(1, steps, "configuration")
	old, err := c.run(ctx, "cat "+runtimes.ContainerdConfig, nil)
	if err != nil {
		return err
	}
	config, err := runtimes.Configure(old.Stdout)
	if err != nil {
		return err
	}
	entries := []ociimage.Entry{{Path: runtimes.ContainerdConfig, Mode: 0o644, Content: config}}
	common, err := embedded(commonFiles, "common")
	if err != nil {
		return err
	}
	for _, f := range common {
		entries = append(entries, ociimage.Entry{Path: "/" + f.Name, Mode: f.Mode, Content: f.Content})
	}
	for _, f := range files {
		entries = append(entries, ociimage.Entry{Path: f.Path, Mode: int64(f.Mode.Perm()), Content: f.Content})
	}
	if err := c.put(ctx, entries); err != nil {
		return err
	}
	step.Update(2, steps, "commit")
	return c.commit(ctx, ref, "LABEL "+Label+"="+id)
}

// aptSources gives the container the machine's archive, proxies and keys. An
// image that has sources of its own keeps to those where the machine names no
// Debian archive.
func (b *builder) aptSources(ctx context.Context, c *container) error {
	apt, err := b.apt(ctx)
	if err != nil {
		_, none := c.run(ctx, "ls /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list /etc/apt/sources.list 2>/dev/null | grep -q .", nil)
		if b.opts.DebianMirror != "" || none != nil || ctx.Err() != nil {
			return err
		}
		b.log.Info("The machine's apt gives no Debian archive; the base image's own is used")
		return nil
	}
	const keyring = aptFolder + "/keyring.gpg"
	conf := append(apt.Acquire(),
		fmt.Sprintf("Dir::Etc::SourceList %q;", aptFolder+"/sources.list"),
		`Dir::Etc::SourceParts "/dev/null";`)
	return c.put(ctx, []ociimage.Entry{
		{Path: keyring, Mode: 0o644, From: apt.Keyring()},
		{Path: aptFolder + "/sources.list", Mode: 0o644, Content: []byte(strings.Join(apt.Sources(keyring), "\n") + "\n")},
		{Path: aptFolder + "/apt.conf", Mode: 0o644, Content: []byte(strings.Join(conf, "\n") + "\n")},
	})
}
