package kind

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/isolation-stack/labctl/pkg/provision/kubecontext"
)

// record is what is remembered of a cluster outside of it: the kubeconfigs
// that got its entries, which Down isn't told. It may be lost; then Down
// looks where kubectl looks.
type record struct {
	Kubeconfigs []string `json:"kubeconfigs"`
}

// recall reads the record; a lost or damaged one is empty.
func (p *Provider) recall(cluster string) record {
	var r record
	b, err := os.ReadFile(p.recordPath(cluster))
	if err != nil || json.Unmarshal(b, &r) != nil {
		return record{}
	}
	return r
}

func (p *Provider) recordPath(cluster string) string {
	return filepath.Join(p.o.StateDir, "clusters", cluster+".json")
}

// scratch is a folder for kind's run. Its name is fixed, so that what a killed
// run left is found; the cluster's lock guards it.
func (p *Provider) scratch(cluster string) string {
	return filepath.Join(p.o.StateDir, "clusters", cluster+".scratch")
}

func (p *Provider) remember(cluster, kubeconfig string) error {
	path, err := filepath.Abs(kubeconfig)
	if err != nil {
		return err
	}
	r := p.recall(cluster)
	if slices.Contains(r.Kubeconfigs, path) {
		return nil
	}
	r.Kubeconfigs = append(r.Kubeconfigs, path)
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(p.recordPath(cluster), b, 0o600); err != nil {
		return fmt.Errorf("labctl's state: %w", err)
	}
	return nil
}

func (p *Provider) forget(cluster string) error {
	if err := os.RemoveAll(p.scratch(cluster)); err != nil {
		return fmt.Errorf("labctl's state: %w", err)
	}
	if err := os.Remove(p.recordPath(cluster)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("labctl's state: %w", err)
	}
	return nil
}

// kubeconfigsOf are the files that may hold entries of the cluster.
func (p *Provider) kubeconfigsOf(cluster string) []kubecontext.File {
	var files []kubecontext.File
	for _, path := range append(p.recall(cluster).Kubeconfigs, clientcmd.NewDefaultPathOptions().GetLoadingPrecedence()...) {
		files = append(files, kubecontext.File{Path: path})
	}
	return files
}
