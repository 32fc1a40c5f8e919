package lifecycle

import (
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/addon"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
	"github.com/isolation-stack/labctl/pkg/provision/gomodule"
	"github.com/isolation-stack/labctl/pkg/provision/nodeimage"
)

// Parts are the artifacts that this labctl makes of Go modules: those of nodes
// and API servers, then those of add-ons.
func Parts(cache artifact.Cache, log progress.Log) ([]gomodule.Part, error) {
	parts, err := nodeimage.Parts(nodeimage.Options{CacheDir: cache.Dir}, log)
	if err != nil {
		return nil, err
	}
	src, err := addonSources()
	if err != nil {
		return nil, err
	}
	more, err := addon.Parts(addon.Table(), gomodule.Builder{Cache: cache, Sources: src, Log: log})
	return append(parts, more...), err
}
