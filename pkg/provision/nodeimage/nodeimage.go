// Package nodeimage makes the node image of the lab clusters: a kind node
// with runc, gVisor and WasmEdge. Its base is kindest/node where a registry
// answers, or the same thing built from Debian packages and Go modules; the
// runtimes are added to either in a build container. Slow parts are artifacts
// in labctl's cache; the image's tag is the hash of its inputs, and is set
// when everything else is done.
package nodeimage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/isolation-stack/labctl/images"
	"github.com/isolation-stack/labctl/internal/payload"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
	"github.com/isolation-stack/labctl/pkg/provision/debian"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
	"github.com/isolation-stack/labctl/pkg/provision/gomodule"
	"sigs.k8s.io/kind/pkg/apis/config/defaults"
)

// Source is where the base of the node image comes from.
type Source string

const (
	// Auto is Registry where one answers or a base image is named, else Debian.
	Auto Source = "auto"
	// Registry pulls kindest/node.
	Registry Source = "registry"
	// Debian builds the base from Debian packages and Go modules.
	Debian Source = "debian"
)

// Label is on every node image, and so on every container made from one; its
// value is the image's hash.
const Label = "dev.labctl.node"

// Options say how to make the image. The zero value is the default of each.
type Options struct {
	Source Source
	// BaseImage is the reference to pull; "" is kind's own default, by digest.
	// It is an input by its name: give a digest, or a tag that doesn't move.
	BaseImage string
	// CacheDir is labctl's cache; "" means artifact.Default.
	CacheDir string
	// DebianMirror is an archive's URI; "" takes the machine's.
	DebianMirror string
	// GVisorDir is a folder with a gVisor release; "" builds gVisor's shim.
	GVisorDir string
}

// Image is a node image in the engine's storage.
type Image struct {
	// Reference is localhost/labctl/node:HASH.
	Reference string
	// Source is Registry or Debian.
	Source Source
}

// builder holds what the steps of one build share.
type builder struct {
	engine *engine.Engine
	opts   Options
	cache  artifact.Cache
	pins   images.Pins
	src    gomodule.Sources
	log    progress.Log
	// patience is how long a registry may take to answer with the manifest
	// when there is another way to the base.
	patience time.Duration
	// apt fetches indexes, so it is opened when something is really missing.
	apt func(context.Context) (*debian.Apt, error)
}

// Ensure returns the node image for the options and makes it first if the
// engine doesn't have it. An interrupted build goes on where it was.
func Ensure(ctx context.Context, e *engine.Engine, o Options, log progress.Log) (Image, error) {
	b, err := newBuilder(e, o, log)
	if err != nil {
		return Image{}, err
	}
	return b.ensure(ctx)
}

func (b *builder) ensure(ctx context.Context) (Image, error) {
	var candidates []Source
	switch b.opts.Source {
	case Auto, "":
		candidates = []Source{Registry, Debian}
		if b.opts.BaseImage != "" {
			candidates = []Source{Registry} // named, so nothing else will do
		}
	case Registry, Debian:
		candidates = []Source{b.opts.Source}
	default:
		return Image{}, fmt.Errorf("unknown source of the node image %q; known: %s, %s, %s", b.opts.Source, Auto, Registry, Debian)
	}
	if img, err := b.find(ctx, candidates); err != nil || img.Reference != "" {
		return img, err
	}
	// One build at a time: a second one waits, and finds the image.
	unlock, err := lockBuilds(ctx, b.cache.Dir)
	if err != nil {
		return Image{}, err
	}
	defer unlock()
	if img, err := b.find(ctx, candidates); err != nil || img.Reference != "" {
		return img, err
	}
	var failed []error
	for _, s := range candidates {
		img, err := b.build(ctx, s, len(candidates) > 1)
		if err == nil {
			return img, nil
		}
		if ctx.Err() != nil {
			return Image{}, fmt.Errorf("node image: %w; the next run goes on where this one was", ctx.Err())
		}
		failed = append(failed, fmt.Errorf("node image, source %s: %w", s, err))
		if s == Registry && len(candidates) > 1 {
			if !errors.Is(err, errPull) {
				break // the base was there; another one would not help
			}
			b.log.Info("No registry gives %s: the node image is built from Debian packages and Go modules", b.baseReference())
		}
	}
	return Image{}, errors.Join(failed...)
}

// find looks for an image that is there already: it needs neither network nor
// a choice. What a killed build left is removed on the way.
func (b *builder) find(ctx context.Context, candidates []Source) (Image, error) {
	if err := removeStale(b.engine, b.cache.Dir); err != nil {
		return Image{}, err
	}
	for _, s := range candidates {
		ref, _, err := b.node(s)
		if err != nil {
			return Image{}, err
		}
		if ok, err := b.has(ctx, ref); err != nil {
			return Image{}, err
		} else if ok {
			return Image{Reference: ref, Source: s}, nil
		}
	}
	return Image{}, nil
}

func newBuilder(e *engine.Engine, o Options, log progress.Log) (*builder, error) {
	cache := artifact.Cache{Dir: o.CacheDir}
	if o.CacheDir == "" {
		var err error
		if cache, err = artifact.Default(); err != nil {
			return nil, err
		}
	}
	pins, err := images.ReadPins()
	if err != nil {
		return nil, fmt.Errorf("images/pins.yaml: %w", err)
	}
	tar, err := payload.Images()
	if err != nil {
		return nil, err
	}
	src, err := gomodule.ReadSources(tar)
	if err != nil {
		return nil, err
	}
	b := &builder{engine: e, opts: o, cache: cache, pins: pins, src: src, log: log, patience: 20 * time.Second}
	var mu sync.Mutex
	var apt *debian.Apt
	b.apt = func(ctx context.Context) (*debian.Apt, error) {
		mu.Lock()
		defer mu.Unlock()
		if apt != nil {
			return apt, nil
		}
		var err error
		apt, err = debian.Open(ctx, debian.Options{
			Dir: cache.Dir + "/apt", Suite: pins.Debian.Suite, Mirror: o.DebianMirror, Log: log.Output(),
		})
		return apt, err
	}
	return b, nil
}

func (b *builder) baseReference() string {
	if b.opts.BaseImage != "" {
		return b.opts.BaseImage
	}
	return defaults.Image
}

// baseInputs is everything that decides the base.
func (b *builder) baseInputs(s Source) ([]string, error) {
	if s == Registry {
		ref, err := qualified(b.baseReference())
		return []string{"registry", ref}, err
	}
	files, err := embedded(baseFiles, "files")
	if err != nil {
		return nil, err
	}
	common, err := embedded(commonFiles, "common")
	if err != nil {
		return nil, err
	}
	in := []string{"debian", recipe, runtime.GOARCH, b.src.Hash, b.pins.Debian.Suite, setupScript, importScript}
	in = append(in, b.pins.Debian.Node...)
	return append(in, inputs(append(files, common...))...), nil
}

// base names the base image that is built from Debian packages.
func (b *builder) base() (string, error) {
	in, err := b.baseInputs(Debian)
	return "localhost/labctl/node-base:" + hash(in), err
}

// node names the finished image and gives its hash.
func (b *builder) node(s Source) (ref, id string, err error) {
	more, err := b.runtimeInputs()
	if err != nil {
		return "", "", err
	}
	in, err := b.baseInputs(s)
	if err != nil {
		return "", "", err
	}
	id = hash(append(in, more...))
	return "localhost/labctl/node:" + id, id, nil
}

// recipe changes when this package makes another image from the same inputs.
const recipe = "1"

func hash(inputs []string) string {
	h := sha256.New()
	for _, in := range inputs {
		_, _ = fmt.Fprintf(h, "%d:%s\n", len(in), in) // a hash never fails (hash.Hash)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// build makes the image; quick gives up early on a registry that doesn't answer.
func (b *builder) build(ctx context.Context, s Source, quick bool) (Image, error) {
	ref, id, err := b.node(s)
	if err != nil {
		return Image{}, err
	}
	base := ""
	if s == Registry {
		base, err = b.pull(ctx, quick)
	} else {
		base, err = b.ensureDebianBase(ctx)
	}
	if err != nil {
		return Image{}, err
	}
	if err := b.addRuntimes(ctx, base, ref, id); err != nil {
		return Image{}, err
	}
	return Image{Reference: ref, Source: s}, nil
}

// has says whether the engine has the image.
func (b *builder) has(ctx context.Context, ref string) (bool, error) {
	r, err := b.engine.Run(ctx, "images", "--quiet", "--no-trunc", "--filter", "reference="+ref)
	if err != nil {
		return false, err
	}
	return strings.TrimSpace(string(r.Stdout)) != "", nil
}
