package lifecycle

import (
	"context"
	"errors"
	"io/fs"

	"github.com/isolation-stack/labctl/internal/payload"
	"github.com/isolation-stack/labctl/manifests"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/provision/addon"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
	"github.com/isolation-stack/labctl/pkg/provision/gomodule"
)

// Addons are the add-ons of a cluster.
func Addons(cluster provision.Cluster, log progress.Log) (*addon.Set, error) {
	src, err := addonSources()
	if err != nil {
		return nil, err
	}
	cache, err := artifact.Default()
	if err != nil {
		return nil, err
	}
	dir, err := fs.Sub(manifests.FS, "addons")
	if err != nil {
		return nil, err
	}
	return addon.New(cluster, addon.Table(), gomodule.Builder{Cache: cache, Sources: src, Log: log}, dir)
}

// DescribeAddons are the add-ons that there are, without a cluster.
func DescribeAddons() ([]addon.Status, error) {
	src, err := addonSources()
	if err != nil {
		return nil, err
	}
	return addon.Describe(addon.Table(), src), nil
}

func addonSources() (gomodule.Sources, error) {
	archive, err := payload.Addons()
	if err != nil {
		return gomodule.Sources{}, err
	}
	return gomodule.ReadSources(archive)
}

// Down takes the lab down. A cluster that stays is rid of the add-ons first.
func (l *Labs) Down(ctx context.Context, name string, log progress.Log) error {
	if !l.MakesNodes {
		if err := l.removeAddons(ctx, name, log); err != nil {
			return err
		}
	}
	return l.Provider.Down(ctx, name, log)
}

func (l *Labs) removeAddons(ctx context.Context, name string, log progress.Log) error {
	cluster, err := l.Get(ctx, name)
	if err != nil {
		if errors.Is(err, provision.ErrNotFound) {
			return nil
		}
		// Down also cleans up after clusters that don't answer.
		log.Info("Add-ons can't be looked for: %v", err)
		return nil
	}
	set, err := Addons(cluster, log)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range addon.Names(addon.Table()) {
		errs = append(errs, set.RemoveIfOurs(ctx, name))
	}
	return errors.Join(errs...)
}
