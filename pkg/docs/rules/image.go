package rules

import (
	_ "embed"
	"regexp"
	"strings"

	"github.com/distribution/reference"

	"github.com/isolation-stack/labctl/pkg/docs"
)

var imageRules = []rule{
	{docs.Rule{
		ID: "image-invalid", Severity: docs.Error,
		Title: "no image can have this name",
		Help:  "The kubelet refuses the reference (InvalidImageName) before it asks a registry: repositories are in lower case, tags have letters, digits, dots, - and _, a digest is sha256: and 64 hexadecimal digits. Correct the reference.",
	}, findImageInvalid},
	{docs.Rule{
		ID: "image-placeholder", Severity: docs.Note,
		Title: "the image is a stand-in that no registry has",
		Help:  "The name can't be pulled: its registry is reserved for examples or says that it is to be replaced, or it has neither registry nor owner, which means Docker's official images, and there is none of that name. A Pod waits with ErrImagePull. Use an image that exists, or show how the image is built and loaded.",
	}, findImagePlaceholder},
}

// images calls do for every image of the document's Pods that is written out.
func (p *page) images(do func(*workload, field)) {
	for _, w := range p.workloads {
		for _, c := range w.containers {
			do(w, c.get("image"))
		}
		for _, v := range w.pod.get("volumes").items() {
			do(w, v.get("image", "reference"))
		}
	}
}

// open is what something else must fill in first, which other rules name.
var open = regexp.MustCompile(`\{\{|\$[({A-Za-z_]|[<>]`)

func findImageInvalid(p *page, s *sink) {
	p.images(func(w *workload, f field) {
		image := f.text()
		// ko builds the image and writes its name.
		if image == "" || open.MatchString(image) || placeholder(image) != "" || strings.HasPrefix(image, "ko://") {
			return
		}
		if _, err := reference.ParseNormalizedNamed(image); err != nil {
			s.field(w.object, f, "%s is no image reference: %s", quote(image), strings.TrimPrefix(err.Error(), "invalid reference format: "))
		}
	})
}

//go:embed officialimages.txt
var officialImagesText string

// officialImages are the repositories of Docker's official images, current and
// deprecated ones: the names in https://github.com/docker-library/official-images/tree/master/library.
var officialImages = func() map[string]bool {
	names := map[string]bool{}
	for _, n := range strings.Fields(officialImagesText) {
		names[n] = true
	}
	return names
}()

var (
	// Domains that can't be registered (RFC 2606, RFC 6761).
	reserved = regexp.MustCompile(`(^|\.)example(\.(com|net|org))?(:[0-9]+)?$|\.(invalid|test)(:[0-9]+)?$`)
	// Names that say that they are to be replaced.
	stand = regexp.MustCompile(`^(your|my)[-_.]?(own|private|local|docker|container|image|images|hub|dockerhub|registry|registries|repo|repository|org|organization|company|corp|project|account|user|username|name|namespace|id|team|acr|ecr|gcr|harbor)?([-_.](io|com|net|org|local|registry|repo|name|id))*(:[0-9]+)?$|^(registry|repo)[-_](url|host|name)$`)
)

func findImagePlaceholder(p *page, s *sink) {
	p.images(func(w *workload, f field) {
		image := f.text()
		if image == "" || open.MatchString(image) || p.built[image] {
			return
		}
		named, err := reference.ParseNormalizedNamed(image)
		if err != nil {
			return
		}
		if p.built[named.Name()] || p.built[reference.FamiliarName(named)] {
			return
		}
		domain, path := reference.Domain(named), reference.Path(named)
		library, isLibrary := strings.CutPrefix(path, "library/")
		switch isLibrary = isLibrary && domain == "docker.io"; {
		case isLibrary && !officialImages[library]:
			s.field(w.object, f, "%s means docker.io/library/%s, and Docker has no official image of that name", quote(image), library)
		case reserved.MatchString(domain):
			s.field(w.object, f, "%s is in a registry of a domain that is reserved for examples", quote(image))
		default:
			for _, part := range append([]string{domain}, strings.Split(path, "/")...) {
				if stand.MatchString(part) && !isLibrary {
					s.field(w.object, f, "%s in %s is a stand-in for a registry or a repository of the reader's own", quote(part), quote(image))
					return
				}
			}
		}
	})
}
