package probe

import (
	"io/fs"
	"time"
)

// Limited is implemented by probes that know how long they may take at most;
// where that is more than the run gives a probe, they get it.
type Limited interface{ Limit() time.Duration }

// Applying is implemented by probes that apply manifests.
type Applying interface {
	// Manifests are the files, by their paths below the manifests folder.
	Manifests() []string
	// Check finds what is wrong with them, without a cluster.
	Check(manifests fs.FS) error
}
