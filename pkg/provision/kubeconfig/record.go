package kubeconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"
)

// record is what is remembered of a cluster: how to reach it again, what it
// is used with, and what labctl made in it.
type record struct {
	// Path and Context are the kubeconfig and the context of the cluster.
	Path    string `json:"kubeconfig"`
	Context string `json:"context"`
	// Cluster is the UID of the namespace kube-system, by which a cluster is
	// known (KEP-2149 names it as the common way): a context's name may point
	// to another one tomorrow.
	Cluster  string            `json:"cluster"`
	Registry string            `json:"registry,omitempty"`
	Classes  map[string]string `json:"runtimeClasses"`
	// Made are the RuntimeClasses that labctl made here.
	Made []string `json:"made,omitempty"`
}

func (r *record) made(class string) {
	if !slices.Contains(r.Made, class) {
		r.Made = append(r.Made, class)
	}
}

func (p *Provider) recordPath(cluster string) string {
	return filepath.Join(p.o.StateDir, "clusters", cluster+".kubeconfig.json")
}

// recall reads the record; one that isn't there is empty. One that can't be
// read is an error: it says what labctl made.
func (p *Provider) recall(cluster string) (record, error) {
	var r record
	b, err := os.ReadFile(p.recordPath(cluster))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return r, nil
	case err != nil:
		return r, fmt.Errorf("labctl's state: %w", err)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return record{}, fmt.Errorf("labctl's state %s: %w; remove the file to forget the cluster", p.recordPath(cluster), err)
	}
	return r, nil
}

func (p *Provider) remember(cluster string, r record) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(p.recordPath(cluster), append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("labctl's state: %w", err)
	}
	return nil
}

func (p *Provider) forget(cluster string) error {
	if err := os.Remove(p.recordPath(cluster)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("labctl's state: %w", err)
	}
	return nil
}

// registry is the one that is given, else the one that Up was given before.
func (p *Provider) registry(old record) string {
	if p.o.Registry != "" {
		return p.o.Registry
	}
	return old.Registry
}
