package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/yannh/kubeconform/pkg/resource"
	"github.com/yannh/kubeconform/pkg/validator"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"github.com/isolation-stack/labctl/pkg/docs/apiserver"
	"github.com/isolation-stack/labctl/pkg/docs/crds"
	docschema "github.com/isolation-stack/labctl/pkg/docs/schema"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

// objects is how many are checked in each run, one in broken of them with a
// mistake.
const (
	objects = 2000
	broken  = 100
)

// benchDocs times labctl's schema phase beside kubeconform: the same objects,
// from text to verdict, by the same schemas, those of one API server, in one
// thread each, alternating. Both must come to the same verdicts.
func benchDocs(ctx context.Context, n int) (err error) {
	texts := generate(objects)
	kinds := kindsOf(texts)
	s, err := apiserver.Start(ctx, apiserver.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	var groupKinds []schema.GroupKind
	for _, k := range kinds {
		groupKinds = append(groupKinds, k.GroupKind())
	}
	definitions, err := crds.ForKinds(groupKinds)
	if err != nil {
		return err
	}
	if err := crds.Install(ctx, s.Config(), definitions); err != nil {
		return err
	}
	client, err := discovery.NewDiscoveryClientForConfig(s.Config())
	if err != nil {
		return err
	}
	schemas, err := served(ctx, client, kinds)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "labctl-bench-schemas-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := export(schemas, kinds, dir); err != nil {
		return err
	}
	other, err := validator.New([]string{filepath.Join(dir, "{{.Group}}_{{.ResourceAPIVersion}}_{{.ResourceKind}}.json")}, validator.Opts{Strict: true})
	if err != nil {
		return err
	}

	// The first run of each compiles schemas and shows that both agree.
	ours, places, err := checkLabctl(schemas, texts)
	if err != nil {
		return err
	}
	theirs, err := checkKubeconform(other, texts)
	if err != nil {
		return err
	}
	if !slices.Equal(ours, theirs) || len(ours) != objects/broken {
		return fmt.Errorf("labctl refuses %d objects and kubeconform %d, of %d with a mistake: %v, %v", len(ours), len(theirs), objects/broken, ours, theirs)
	}
	var labctlTimes, otherTimes []time.Duration
	for range n {
		d, err := timed(func() error { _, _, err := checkLabctl(schemas, texts); return err })
		if err := firstOf(err, ctx.Err()); err != nil {
			return err
		}
		labctlTimes = append(labctlTimes, d)
		d, err = timed(func() error { _, err := checkKubeconform(other, texts); return err })
		if err := firstOf(err, ctx.Err()); err != nil {
			return err
		}
		otherTimes = append(otherTimes, d)
	}
	fmt.Printf("schema phase: %d objects of %d kinds, %d with a mistake, schemas of kube-apiserver %s, one thread, %d runs of each, alternating\n",
		objects, len(kinds), len(ours), s.Version(), n)
	fmt.Printf("%-28s %10s %10s %10s  objects per second\n", "", "min", "median", "max")
	rate("labctl, with lines", labctlTimes)
	rate("kubeconform, without", otherTimes)
	fmt.Printf("both refuse the same objects; labctl named %d places\n", places)
	fmt.Printf("ratio of the medians, labctl to kubeconform: %.2f\n", float64(median(otherTimes))/float64(median(labctlTimes)))
	return nil
}

func rate(name string, d []time.Duration) {
	per := func(d time.Duration) float64 { return objects / d.Seconds() }
	fmt.Printf("%-28s %10.0f %10.0f %10.0f\n", name, per(slices.Max(d)), per(median(d)), per(slices.Min(d)))
}

// checkLabctl gives the indices of the objects that labctl refuses, and counts
// the places that it names; each must have a line.
func checkLabctl(schemas *docschema.Schemas, texts []string) (refused []int, places int, err error) {
	for i, text := range texts {
		for _, d := range yamldoc.Parse(text) {
			found, known, err := schemas.Check(d)
			if err != nil || !known {
				return nil, 0, fmt.Errorf("labctl, object %d: known %t, %w", i, known, err)
			}
			for _, v := range found {
				if v.Line == 0 {
					return nil, 0, fmt.Errorf("labctl, object %d: no line for %s", i, v.Message)
				}
				places++
			}
			if len(found) > 0 {
				refused = append(refused, i)
			}
		}
	}
	return refused, places, nil
}

// checkKubeconform gives the indices of the objects that kubeconform refuses.
// They go in one by one: its reader of streams takes 4 MiB of memory for each
// stream, which would count against it.
func checkKubeconform(v validator.Validator, texts []string) (refused []int, err error) {
	for i, text := range texts {
		switch r := v.ValidateResource(resource.Resource{Bytes: []byte(text)}); r.Status {
		case validator.Valid:
		case validator.Invalid:
			refused = append(refused, i)
		default:
			return nil, fmt.Errorf("kubeconform, object %d: %w", i, r.Err)
		}
	}
	return refused, nil
}

// served waits until the API server has the schemas of all kinds: it publishes
// those of a definition a moment after it serves its objects.
func served(ctx context.Context, client *discovery.DiscoveryClient, kinds []schema.GroupVersionKind) (*docschema.Schemas, error) {
	for {
		schemas, err := docschema.New(client.OpenAPIV3())
		if err != nil {
			return nil, err
		}
		missing := slices.ContainsFunc(kinds, func(k schema.GroupVersionKind) bool {
			d, documentErr := schemas.Document(k)
			err = errors.Join(err, documentErr)
			return d == nil
		})
		if !missing {
			return schemas, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-time.After(time.Second):
		}
	}
}

// export writes schemas as files that kubeconform reads.
func export(schemas *docschema.Schemas, kinds []schema.GroupVersionKind, dir string) error {
	for _, k := range kinds {
		d, err := schemas.Document(k)
		if err != nil {
			return err
		}
		content, err := json.Marshal(d)
		if err != nil {
			return err
		}
		group := k.Group
		if group == "" {
			group = k.Version // as kubeconform names the core group
		}
		name := fmt.Sprintf("%s_%s_%s.json", group, k.Version, strings.ToLower(k.Kind))
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func kindsOf(texts []string) []schema.GroupVersionKind {
	var out []schema.GroupVersionKind
	for _, text := range texts {
		for _, d := range yamldoc.Parse(text) {
			if o, ok := d.Object(); ok {
				if k := schema.FromAPIVersionAndKind(o.APIVersion, o.Kind); !slices.Contains(out, k) {
					out = append(out, k)
				}
			}
		}
	}
	return out
}
