// Package images holds what images are made of, that of the nodes and those of
// add-ons: a Go module in each folder, and the pins that no go.mod holds.
package images

import (
	_ "embed"

	"sigs.k8s.io/yaml"
)

// Node are the folders that the node image is made of, and Build those that
// only labctl's own build needs; the others are of add-ons.
var (
	Node  = []string{"containerd", "coredns", "etcd", "kubernetes", "local-path", "pause"}
	Build = []string{"crds"}
)

//go:embed pins.yaml
var pins []byte

//go:embed digests.yaml
var digests []byte

// Digests are those of the artifacts that are made of the modules here, as OCI
// images (pkg/provision/prebuilt).
type Digests struct {
	// Go is the release of Go that they were made with, "go1.26.8".
	Go string `json:"go"`
	// Artifacts are the digests, "sha256:…", by the artifacts' IDs.
	Artifacts map[string]string `json:"artifacts"`
}

// ReadDigests reads digests.yaml, unknown fields being errors.
func ReadDigests() (Digests, error) {
	var d Digests
	err := yaml.UnmarshalStrict(digests, &d)
	return d, err
}

// Pins are versions and package lists.
type Pins struct {
	Debian struct {
		// Suite is the code name of the release.
		Suite string `json:"suite"`
		// Node are the packages of the node image that is built here.
		Node []string `json:"node"`
		// Docker are the packages of the container that has labctl's Docker.
		Docker []string `json:"docker"`
	} `json:"debian"`
}

// ReadPins reads pins.yaml, unknown fields being errors.
func ReadPins() (Pins, error) {
	var p Pins
	err := yaml.UnmarshalStrict(pins, &p)
	return p, err
}
