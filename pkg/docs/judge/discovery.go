package judge

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
)

// catalogue is what an API server serves.
type catalogue struct {
	kinds map[schema.GroupVersionKind]resource
	// versions of a group, preferred first.
	versions map[string][]string
	// custom are the groups of CRDs.
	custom map[string]bool
	// subresources are kinds that objects of others are sent to.
	subresources map[schema.GroupVersionKind]string
	// failed are the groups whose server doesn't answer.
	failed map[string]bool
	server *version.Version
}

func discover(ctx context.Context, cfg *rest.Config, c client) (*catalogue, error) {
	d, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return nil, err
	}
	info, err := d.ServerVersion()
	if err != nil {
		return nil, fmt.Errorf("the API server doesn't say its version: %w", err)
	}
	groups, lists, err := d.ServerGroupsAndResources()
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return nil, fmt.Errorf("the API server doesn't say what it serves: %w", err)
	}
	got, versionErr := newCatalogue(Server{Version: info.GitVersion, Groups: groups, Resources: lists})
	if versionErr != nil {
		return nil, versionErr
	}
	if failures, ok := discovery.GroupDiscoveryFailedErrorGroups(err); ok {
		for gv := range failures {
			got.failed[gv.Group] = true
		}
	}
	return got, got.findCustom(ctx, c)
}

// newCatalogue takes what an API server says that it serves.
func newCatalogue(s Server) (*catalogue, error) {
	server, err := version.ParseGeneric(s.Version)
	if err != nil {
		return nil, fmt.Errorf("the API server's version: %w", err)
	}
	got := &catalogue{
		kinds: map[schema.GroupVersionKind]resource{}, versions: map[string][]string{}, custom: map[string]bool{},
		subresources: map[schema.GroupVersionKind]string{}, failed: map[string]bool{}, server: server,
	}
	for _, g := range s.Groups {
		for _, v := range g.Versions {
			got.versions[g.Name] = append(got.versions[g.Name], v.Version)
		}
	}
	for _, list := range s.Resources {
		got.add(list)
	}
	return got, nil
}

func (c *catalogue) add(list *metav1.APIResourceList) {
	gv, err := schema.ParseGroupVersion(list.GroupVersion)
	if err != nil {
		return
	}
	for _, r := range list.APIResources {
		gvk := gv.WithKind(r.Kind)
		if r.Group != "" || r.Version != "" { // of a subresource
			gvk.Group, gvk.Version = r.Group, r.Version
		}
		switch {
		case strings.Contains(r.Name, "/"):
			if _, ok := c.subresources[gvk]; !ok {
				c.subresources[gvk] = r.Name
			}
		case slices.Contains(r.Verbs, "create"):
			c.kinds[gvk] = resource{gvk: gvk, plural: r.Name, namespaced: r.Namespaced}
		}
	}
}

// findCustom asks which groups are those of CRDs.
func (c *catalogue) findCustom(ctx context.Context, cl client) error {
	data, err := cl.rest.Get().AbsPath("/apis/apiextensions.k8s.io/v1/customresourcedefinitions").
		SetHeader("Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("the CRDs of the API server: %w", err)
	}
	var list metav1.PartialObjectMetadataList
	if err := json.Unmarshal(data, &list); err != nil {
		return fmt.Errorf("the CRDs of the API server: %w", err)
	}
	for _, crd := range list.Items {
		_, group, _ := strings.Cut(crd.Name, ".")
		c.custom[group] = true
	}
	return nil
}

// elsewhere gives the apiVersions that have a kind, those of the same group
// first.
func (c *catalogue) elsewhere(kind, group string) []string {
	var found []schema.GroupVersionKind
	for gvk := range c.kinds {
		if gvk.Kind == kind {
			found = append(found, gvk)
		}
	}
	sort.Slice(found, func(i, j int) bool {
		a, b := found[i], found[j]
		if (a.Group == group) != (b.Group == group) {
			return a.Group == group
		}
		if a.Group != b.Group {
			return a.Group < b.Group
		}
		return slices.Index(c.versions[a.Group], a.Version) < slices.Index(c.versions[b.Group], b.Version)
	})
	var names []string
	for _, gvk := range found {
		names = append(names, gvk.GroupVersion().String())
	}
	return names
}

// similar gives a kind of the same group and version that differs little.
func (c *catalogue) similar(gvk schema.GroupVersionKind) string {
	best, distance := "", 3
	for candidate := range c.kinds {
		if candidate.GroupVersion() != gvk.GroupVersion() {
			continue
		}
		d := edits(strings.ToLower(candidate.Kind), strings.ToLower(gvk.Kind))
		if d < distance || d == distance && best != "" && candidate.Kind < best {
			best, distance = candidate.Kind, d
		}
	}
	return best
}
