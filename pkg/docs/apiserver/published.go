package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/openapi"
	"k8s.io/client-go/rest"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
)

// Published is what an API server says of itself: its version, what it serves,
// and the schemas of that. It is an openapi.Client.
type Published struct {
	Version   string                    `json:"version"` // "v1.37.2"
	Groups    []*metav1.APIGroup        `json:"groups"`
	Resources []*metav1.APIResourceList `json:"resources"`
	// Documents are the paths of its OpenAPI v3 documents: "apis/apps/v1".
	Documents []string `json:"documents"`
	dir       string
}

const publishedFile = "published.json"

// Publish gives what an API server publishes, from the cache. One is started if
// the cache doesn't have it, and stopped again.
func Publish(ctx context.Context, o Options) (*Published, error) {
	if o.Log == nil {
		o.Log = progress.Discard
	}
	if o.Cache.Dir == "" {
		var err error
		if o.Cache, err = artifact.Default(); err != nil {
			return nil, err
		}
	}
	p, err := find(ctx, o)
	if err != nil {
		return nil, err
	}
	// A program that labctl built stands in a folder that its digest names;
	// another one is known as make knows it.
	info, err := os.Stat(p.apiserver)
	if err != nil {
		return nil, err
	}
	key := artifact.Key{Name: "openapi", Inputs: []string{"1", p.apiserver, strconv.FormatInt(info.Size(), 10), info.ModTime().UTC().Format(time.RFC3339Nano)}}
	dir, err := o.Cache.Ensure(ctx, key, func(ctx context.Context, dir string) (err error) {
		s, err := Start(ctx, o)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.Stop()) }()
		return keep(ctx, s.Config(), dir)
	})
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(filepath.Join(dir, publishedFile))
	if err != nil {
		return nil, err
	}
	out := &Published{dir: dir}
	return out, json.Unmarshal(content, out)
}

// keep writes to a folder what an API server publishes.
func keep(ctx context.Context, cfg *rest.Config, dir string) error {
	client, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return err
	}
	version, err := client.ServerVersion()
	if err != nil {
		return err
	}
	out := Published{Version: version.GitVersion}
	if out.Groups, out.Resources, err = client.ServerGroupsAndResources(); err != nil {
		return err
	}
	documents, err := documentsOf(ctx, client.OpenAPIV3(), out.Resources)
	if err != nil {
		return err
	}
	for path, d := range documents {
		content, err := d.Schema("application/json")
		if err != nil {
			return fmt.Errorf("the OpenAPI document %s: %w", path, err)
		}
		var parts struct { // the rest describes requests
			Components json.RawMessage `json:"components"`
		}
		if err := json.Unmarshal(content, &parts); err != nil {
			return fmt.Errorf("the OpenAPI document %s: %w", path, err)
		}
		if err := write(filepath.Join(dir, url.PathEscape(path)), parts); err != nil {
			return err
		}
		out.Documents = append(out.Documents, path)
	}
	slices.Sort(out.Documents)
	return write(filepath.Join(dir, publishedFile), out)
}

// documentsOf waits until an API server has the documents of all that it
// serves: it publishes them a moment after it is ready.
func documentsOf(ctx context.Context, client openapi.Client, resources []*metav1.APIResourceList) (map[string]openapi.GroupVersion, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		documents, err := client.Paths()
		missing := ""
		for _, r := range resources {
			path := "apis/" + r.GroupVersion
			if r.GroupVersion == "v1" {
				path = "api/v1"
			}
			if documents[path] == nil {
				missing = path
			}
		}
		if err == nil && missing == "" {
			return documents, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("the API server doesn't publish the OpenAPI document %s: %w", missing, context.Cause(ctx)), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func write(path string, v any) error {
	content, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o644)
}

// Paths are the OpenAPI documents.
func (p *Published) Paths() (map[string]openapi.GroupVersion, error) {
	out := map[string]openapi.GroupVersion{}
	for _, path := range p.Documents {
		out[path] = document(filepath.Join(p.dir, url.PathEscape(path)))
	}
	return out, nil
}

// document is the path of the file of one.
type document string

func (d document) Schema(string) ([]byte, error) { return os.ReadFile(string(d)) }

func (d document) ServerRelativeURL() string { return "" }
