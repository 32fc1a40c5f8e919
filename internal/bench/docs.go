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

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/apiserver"
	"github.com/isolation-stack/labctl/pkg/docs/classify"
	"github.com/isolation-stack/labctl/pkg/docs/crds"
	"github.com/isolation-stack/labctl/pkg/docs/extract"
	docschema "github.com/isolation-stack/labctl/pkg/docs/schema"
	"github.com/isolation-stack/labctl/pkg/docs/tree"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

const (
	// objects is how many are generated; one in broken has a mistake.
	objects = 2000
	broken  = 100
	// rounds are the runs in the place of one: each takes a fraction of a second.
	rounds = 5
)

// benchDocs times labctl's schema phase beside kubeconform: the same objects,
// from text to verdict, by the same schemas, those of one API server, in one
// thread each, alternating. It does so with objects of its own writing, of
// which both must refuse the same ones, and with those of a folder of
// documents, if it is there.
func benchDocs(ctx context.Context, n int, folder string) (err error) {
	n *= rounds
	texts := generate(objects)
	found, err := objectsOf(ctx, folder)
	if err != nil {
		return err
	}
	s, err := apiserver.Start(ctx, apiserver.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	wanted := kindsOf(append(slices.Clone(texts), found...))
	schemas, err := serve(ctx, s, wanted, kindsOf(texts))
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "labctl-bench-schemas-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	known, err := export(schemas, wanted, dir)
	if err != nil {
		return err
	}
	found = slices.DeleteFunc(found, func(text string) bool {
		return !slices.Contains(known, kindsOf([]string{text})[0])
	})
	other, err := validator.New([]string{filepath.Join(dir, "{{.Group}}_{{.ResourceAPIVersion}}_{{.ResourceKind}}.json")}, validator.Opts{Strict: true})
	if err != nil {
		return err
	}
	fmt.Printf("schema phase, by the schemas of kube-apiserver %s, one thread, %d runs of each, alternating\n", s.Version(), n)
	differ, err := sideBySide(ctx, n, fmt.Sprintf("%d generated objects", len(texts)), schemas, other, texts)
	if err == nil && differ > 0 {
		err = fmt.Errorf("labctl and kubeconform judge %d of the generated objects differently", differ)
	}
	if err != nil || len(found) == 0 {
		return err
	}
	_, err = sideBySide(ctx, n, fmt.Sprintf("%d objects of %s", len(found), folder), schemas, other, found)
	return err
}

// sideBySide times both over some objects and says how many they judge
// differently.
func sideBySide(ctx context.Context, n int, title string, schemas *docschema.Schemas, other validator.Validator, texts []string) (differ int, err error) {
	// The first run of each compiles schemas and shows whether both agree.
	ours, places, err := checkLabctl(schemas, texts)
	if err != nil {
		return 0, err
	}
	theirs, err := checkKubeconform(other, texts)
	if err != nil {
		return 0, err
	}
	for i := range texts {
		if slices.Contains(ours, i) != slices.Contains(theirs, i) {
			differ++
		}
	}
	var labctlTimes, otherTimes []time.Duration
	for range n {
		d, err := timed(func() error { _, _, err := checkLabctl(schemas, texts); return err })
		if err := firstOf(err, ctx.Err()); err != nil {
			return 0, err
		}
		labctlTimes = append(labctlTimes, d)
		d, err = timed(func() error { _, err := checkKubeconform(other, texts); return err })
		if err := firstOf(err, ctx.Err()); err != nil {
			return 0, err
		}
		otherTimes = append(otherTimes, d)
	}
	fmt.Printf("%s: labctl refuses %d, naming %d lines; kubeconform refuses %d; %d judged differently\n", title, len(ours), places, len(theirs), differ)
	fmt.Printf("%-28s %10s %10s %10s  objects per second\n", "", "min", "median", "max")
	rate("labctl, with lines", len(texts), labctlTimes)
	rate("kubeconform, without", len(texts), otherTimes)
	fmt.Printf("ratio of the medians, labctl to kubeconform: %.2f\n", float64(median(otherTimes))/float64(median(labctlTimes)))
	return differ, nil
}

func rate(name string, n int, d []time.Duration) {
	per := func(d time.Duration) float64 { return float64(n) / d.Seconds() }
	fmt.Printf("%-28s %10.0f %10.0f %10.0f\n", name, per(slices.Max(d)), per(median(d)), per(slices.Min(d)))
}

// serve installs the definitions of kinds and gives the API server's schemas.
func serve(ctx context.Context, s *apiserver.Server, kinds, needed []schema.GroupVersionKind) (*docschema.Schemas, error) {
	var groupKinds []schema.GroupKind
	for _, k := range kinds {
		groupKinds = append(groupKinds, k.GroupKind())
	}
	definitions, err := crds.ForKinds(groupKinds)
	if err != nil {
		return nil, err
	}
	if err := crds.Install(ctx, s.Config(), definitions); err != nil {
		return nil, err
	}
	client, err := discovery.NewDiscoveryClientForConfig(s.Config())
	if err != nil {
		return nil, err
	}
	return published(ctx, client, needed)
}

// objectsOf are the objects of the documents of a folder, none if it isn't
// there: those of class kubernetes or custom that can be read.
func objectsOf(ctx context.Context, folder string) ([]string, error) {
	if _, err := os.Stat(folder); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	files, _, err := tree.Files(ctx, folder, tree.Options{})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, f := range files {
		content, err := f.Read()
		if err != nil {
			return nil, err
		}
		for _, e := range extract.Markdown(f.Path, content).Examples {
			parsed := yamldoc.Parse(e.Text)
			if classify.Classify(&e, parsed); e.Class != docs.Kubernetes && e.Class != docs.Custom {
				continue
			}
			lines := strings.SplitAfter(e.Text, "\n")
			for _, d := range parsed {
				// kubeconform refuses duplicate keys, which are no matter of a
				// schema and another rule of labctl's.
				if _, ok := d.Object(); ok && d.Err == nil && len(d.Duplicates) == 0 {
					out = append(out, strings.Join(lines[d.Line-1:min(d.EndLine, len(lines))], ""))
				}
			}
		}
	}
	return out, nil
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

// published waits until the API server has the schemas of all kinds: it
// publishes those of a definition a moment after it serves its objects.
func published(ctx context.Context, client *discovery.DiscoveryClient, kinds []schema.GroupVersionKind) (*docschema.Schemas, error) {
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

// export writes schemas as files that kubeconform reads, and returns the kinds
// that there are.
func export(schemas *docschema.Schemas, kinds []schema.GroupVersionKind, dir string) (known []schema.GroupVersionKind, err error) {
	for _, k := range kinds {
		d, err := schemas.Document(k)
		if err != nil {
			return nil, err
		}
		if d == nil {
			continue
		}
		content, err := json.Marshal(d)
		if err != nil {
			return nil, err
		}
		group := k.Group
		if group == "" {
			group = k.Version // as kubeconform names the core group
		}
		name := fmt.Sprintf("%s_%s_%s.json", group, k.Version, strings.ToLower(k.Kind))
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return nil, err
		}
		known = append(known, k)
	}
	return known, nil
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
