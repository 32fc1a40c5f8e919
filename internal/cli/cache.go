package cli

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/isolation-stack/labctl/images"
	"github.com/isolation-stack/labctl/pkg/lifecycle"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
	"github.com/isolation-stack/labctl/pkg/provision/gomodule"
	"github.com/isolation-stack/labctl/pkg/provision/prebuilt"
)

func newCacheCommand(g *global) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Move compiled parts of nodes and add-ons between machines",
		Long: `Most of the time of a first run goes into programs of nodes and add-ons that are
compiled from pinned Go modules. The builds are reproducible and labctl knows
their digests, so one machine can build for others: through a registry, or a
folder for places without a network.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCacheListCommand(g), newCachePushCommand(g), newCachePullCommand(g))
	return cmd
}

// cached are the artifacts that this labctl makes, and the cache that they are in.
func cached(log progress.Log) (artifact.Cache, []gomodule.Part, error) {
	cache, err := artifact.Default()
	if err != nil {
		return cache, nil, withCode(exitProvision, err)
	}
	parts, err := lifecycle.Parts(cache, log)
	return cache, parts, err
}

// cachedPart is one artifact as cache list tells of it.
type cachedPart struct {
	Artifact string `json:"artifact"`
	Title    string `json:"title"`
	// Bytes is the size of its files; nil where the cache doesn't have it.
	Bytes *int64 `json:"bytes"`
	// Digest is that of its image; "" where this labctl knows none.
	Digest string `json:"digest"`
}

func newCacheListCommand(g *global) *cobra.Command {
	var (
		o       string
		formats = []string{"table", "json", "yaml"}
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List what this labctl makes of Go modules, and what of it is here",
		Example: `  labctl cache list
  labctl cache list -o json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := oneOf(map[string]allowed{"output": {o, formats}}); err != nil {
				return err
			}
			cache, parts, err := cached(progress.Discard)
			if err != nil {
				return err
			}
			known, err := images.ReadDigests()
			if err != nil {
				return err
			}
			var list []cachedPart
			for _, p := range parts {
				c := cachedPart{Artifact: p.Key.ID(), Title: p.Title, Digest: known.Artifacts[p.Key.ID()]}
				if n, ok := cache.Size(p.Key); ok {
					c.Bytes = &n
				}
				list = append(list, c)
			}
			if o != "table" {
				return print(g, o, list)
			}
			return writeCached(g, list)
		},
	}
	cmd.Flags().StringVarP(&o, "output", "o", formats[0], "format: "+joinOr(formats))
	must(cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

func writeCached(g *global, list []cachedPart) error {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ARTIFACT\tHERE\tDIGEST\tWHAT")
	for _, c := range list {
		here, digest := "-", "none: built where it is needed"
		if c.Bytes != nil {
			here = size(*c.Bytes)
		}
		if _, hex, ok := strings.Cut(c.Digest, ":"); ok {
			digest = hex[:min(12, len(hex))]
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", c.Artifact, here, digest, c.Title)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := g.out.Write(b.Bytes())
	return err
}

// size is a number of bytes for people.
func size(n int64) string {
	if n < 1e6 {
		return fmt.Sprintf("%d kB", (n+999)/1e3)
	}
	return fmt.Sprintf("%d MB", n/1e6)
}

func newCachePushCommand(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "push HOST/PATH|oci:FOLDER [ARTIFACT…]",
		Short: "Build what is missing and push it into a registry or a folder",
		Long: `Push artifacts as OCI images of one layer, tagged with their names, into a
repository of a registry, or into a folder with the OCI image layout. Without
names, all of them; a name without the hash at its end is enough. What the cache
doesn't have is built first. Their digests go to stdout, in the form of
images/digests.yaml.`,
		Example: `  labctl cache push registry.example/labctl
  labctl cache push oci:/media/stick/labctl
  labctl cache push 127.0.0.1:5000/labs go-kubernetes go-opa`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeArtifacts,
		RunE: func(cmd *cobra.Command, args []string) error {
			return moveCached(g, args, func(c *console, to prebuilt.Store, _ artifact.Cache, parts []gomodule.Part) error {
				pushed, err := prebuilt.Push(cmd.Context(), to, parts, c)
				if err != nil {
					return err
				}
				if err := sayUnknown(c, pushed); err != nil {
					return err
				}
				b, err := yaml.Marshal(images.Digests{Go: runtime.Version(), Artifacts: pushed})
				if err != nil {
					return err
				}
				_, err = g.out.Write(b)
				return err
			})
		},
	}
}

// sayUnknown tells of what was pushed in vain: another Go gives other bytes.
func sayUnknown(c *console, pushed prebuilt.Digests) error {
	known, err := images.ReadDigests()
	if err != nil {
		return err
	}
	var other []string
	for _, id := range slices.Sorted(maps.Keys(pushed)) {
		if known.Artifacts[id] != pushed[id] {
			other = append(other, id)
		}
	}
	if len(other) > 0 {
		c.Info("No labctl like this one pulls %s: it has other digests, of builds by %s, or none; push from a machine with that Go and an empty cache", strings.Join(other, ", "), known.Go)
	}
	return nil
}

func newCachePullCommand(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "pull HOST/PATH|oci:FOLDER [ARTIFACT…]",
		Short: "Fill the cache from a registry or a folder, by digests that labctl knows",
		Long: `Pull artifacts that cache push has stored, so that they need not be built here:
no Go, no module proxy. labctl asks for the digests that it was built with and
checks what comes, so the registry or the folder need not be trusted. What is
not there is built when it is needed, as ever.`,
		Example: `  labctl cache pull registry.example/labctl
  labctl cache pull oci:/media/stick/labctl
  labctl cache pull 127.0.0.1:5000/labs go-kubernetes`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeArtifacts,
		RunE: func(cmd *cobra.Command, args []string) error {
			return moveCached(g, args, func(c *console, from prebuilt.Store, cache artifact.Cache, parts []gomodule.Part) error {
				return pullCached(cmd.Context(), c, from, cache, parts)
			})
		},
	}
}

// moveCached opens what the arguments name and moves artifacts.
func moveCached(g *global, args []string, move func(*console, prebuilt.Store, artifact.Cache, []gomodule.Part) error) error {
	store, err := prebuilt.Open(args[0])
	if err != nil {
		return err
	}
	c, err := newConsole(g, "cache")
	if err != nil {
		return err
	}
	defer c.Close()
	cache, parts, err := cached(c)
	if err != nil {
		return err
	}
	if parts, err = chosen(parts, args[1:]); err != nil {
		return err
	}
	return provisionError(move(c, store, cache, parts), c)
}

func pullCached(ctx context.Context, c *console, from prebuilt.Store, cache artifact.Cache, parts []gomodule.Part) error {
	known, err := images.ReadDigests()
	if err != nil {
		return err
	}
	got, err := prebuilt.Pull(ctx, from, cache, parts, known.Artifacts, c)
	for _, l := range []struct {
		ids []string
		why string
	}{
		{got.Unknown, "this labctl has no digest of"},
		{got.Missing, from.String() + " doesn't have"},
	} {
		if len(l.ids) > 0 {
			c.Info("%s %s; built when needed", l.why, strings.Join(l.ids, ", "))
		}
	}
	if err != nil {
		err = fmt.Errorf("%w\nWhat did not come is built when it is needed; or run labctl cache push %s where it was built, and pull again", err, from)
	} else if len(got.Here)+len(got.Taken) == 0 {
		err = fmt.Errorf("%s has nothing that this labctl takes; fill it by: labctl cache push %s", from, from)
	}
	c.Info("%d of %d artifacts are here, %d of them were pulled", len(got.Here)+len(got.Taken), len(parts), len(got.Taken))
	return err
}

// chosen are the parts of these names; all, if there are none.
func chosen(parts []gomodule.Part, names []string) ([]gomodule.Part, error) {
	if len(names) == 0 {
		return parts, nil
	}
	var out []gomodule.Part
	for _, n := range names {
		before := len(out)
		for _, p := range parts {
			if n == p.Key.ID() || n == p.Key.Name {
				out = append(out, p)
			}
		}
		if len(out) == before {
			return nil, fmt.Errorf("unknown artifact %q; labctl cache list names them", n)
		}
	}
	return out, nil
}

func completeArtifacts(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveDefault // a folder, or a registry
	}
	_, parts, err := cached(progress.Discard)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, p := range parts {
		out = append(out, p.Key.Name+"\t"+p.Title)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
