package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/isolation-stack/labctl/internal/payload"
	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/apiserver"
	"github.com/isolation-stack/labctl/pkg/docs/report"
	"github.com/isolation-stack/labctl/pkg/docs/validate"
)

// never is the value of --fail-on that lets every finding pass.
const never = "never"

// servers are what can judge objects.
var servers = []string{"local", "schema", "cluster", "none"}

// docsValidateFlags are the flags of labctl docs validate.
type docsValidateFlags struct {
	reportFlags
	validate.Options
	server    string
	cluster   clusterFlags
	context   string
	version   string
	crds      string
	baseline  string
	rebase    bool
	severity  string
	failOn    string
	documents []report.Document
}

func (f *docsValidateFlags) register(cmd *cobra.Command) {
	f.reportFlags.register(cmd, report.Formats...)
	severities := texts(docs.Severities)
	flags := cmd.Flags()
	flags.StringVar(&f.server, "server", "local", "what judges objects: local (an API server that labctl starts and removes), schema (its schemas alone, kept from one start), cluster (the lab cluster) or none (rules alone)")
	flags.StringVar(&f.version, "kubernetes-version", "", "version of the local API server or of its schemas, as 1.30 (default: the newest that labctl pins)")
	flags.StringVar(&f.crds, "crds", "", "folder with CustomResourceDefinitions of your own")
	flags.StringVar(&f.cluster.kubeconfig, "kubeconfig", "", "judge by the cluster of this kubeconfig file; nothing is created there")
	flags.StringVar(&f.context, "context", "", "context of --kubeconfig (default: its current one)")
	flags.StringVar(&f.cluster.name, "name", fromEnvironment("name", defaultName), "name of the cluster of --server cluster")
	registerProvider(cmd, &f.cluster.provider)
	flags.StringVar(&f.baseline, "baseline", "", "file with findings that are known and don't count")
	flags.BoolVar(&f.rebase, "write-baseline", false, "write today's findings to the file of --baseline")
	flags.StringVar(&f.Tree.ChangedSince, "changed-since", "", "only documents that differ from this revision of git")
	flags.StringSliceVar(&f.Rules, "rule", nil, "only this rule; repeatable")
	flags.StringSliceVar(&f.Without, "skip-rule", nil, "not this rule; repeatable")
	flags.StringVar(&f.severity, "severity", string(docs.Note), "least severity to report: "+joinOr(severities))
	flags.StringVar(&f.failOn, "fail-on", string(docs.Error), "least severity that ends labctl with exit code 1: "+joinOr(append(severities, never)))
	cmd.MarkFlagsMutuallyExclusive("kubeconfig", "server")
	cmd.MarkFlagsMutuallyExclusive("kubeconfig", "kubernetes-version")
	must(cmd.MarkFlagDirname("crds"))
	for name, values := range map[string][]string{"server": servers, "severity": severities, "fail-on": append(severities, never), "rule": ruleIDs(), "skip-rule": ruleIDs()} {
		must(cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)))
	}
}

func (f *docsValidateFlags) check() error {
	severities := texts(docs.Severities)
	if err := f.reportFlags.check(report.Formats...); err != nil {
		return err
	}
	err := oneOf(map[string]allowed{
		"server": {f.server, servers}, "severity": {f.severity, severities}, "fail-on": {f.failOn, append(severities, never)},
	})
	f.Severity, f.Rebase = docs.Severity(f.severity), f.rebase
	own := f.server == "local" || f.server == "schema"
	switch {
	case err != nil:
		return err
	case f.failOn != never && !docs.Severity(f.failOn).AtLeast(f.Severity):
		return fmt.Errorf("--fail-on %s fails on findings that --severity %s hides; lower --severity", f.failOn, f.severity)
	case f.rebase && f.baseline == "":
		return errors.New("--write-baseline needs --baseline FILE")
	case f.context != "" && f.cluster.kubeconfig == "":
		return errors.New("--context is one of --kubeconfig FILE")
	case f.crds != "" && (!own || f.cluster.kubeconfig != ""):
		return errors.New("--crds is of --server local and schema; a cluster has its own")
	case f.version != "" && !own:
		return fmt.Errorf("--kubernetes-version is of --server local and schema; this is --server %s", f.server)
	}
	if _, err := chooseRules(slices.Concat(f.Rules, f.Without)); err != nil {
		return err
	}
	return f.readBaseline()
}

// readBaseline reads the baseline; one that is to be written needn't be there.
func (f *docsValidateFlags) readBaseline() error {
	if f.baseline == "" {
		return nil
	}
	data, err := os.ReadFile(f.baseline)
	if f.rebase && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("--baseline: %w; write it with --write-baseline", err)
	}
	b, err := validate.ReadBaseline(data)
	if err != nil {
		return fmt.Errorf("--baseline: %s %w", f.baseline, err)
	}
	f.Baseline = &b
	return nil
}

// where sets what to validate: a folder, or files below the current folder.
func (f *docsValidateFlags) where(args []string) error {
	f.Root = "."
	for _, arg := range args {
		info, err := os.Stat(arg)
		switch {
		case err != nil:
			return err
		case info.IsDir() && len(args) == 1:
			f.Root = arg
			return nil
		case info.IsDir():
			return fmt.Errorf("%s is a folder; name one folder, or files", arg)
		}
		path := fromHere(arg)
		if !filepath.IsLocal(filepath.FromSlash(path)) {
			return fmt.Errorf("%s isn't below the current folder; name its folder", arg)
		}
		f.Paths = append(f.Paths, path)
	}
	return nil
}

// judge is what judges objects, by the flags.
func (f *docsValidateFlags) judge(c *console) (func(context.Context) (validate.Judge, error), error) {
	switch {
	case f.cluster.kubeconfig != "":
		config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(&clientcmd.ClientConfigLoadingRules{ExplicitPath: f.cluster.kubeconfig},
			&clientcmd.ConfigOverrides{CurrentContext: f.context}).ClientConfig()
		if err != nil {
			return nil, fmt.Errorf("--kubeconfig: %w", err)
		}
		return validate.Cluster(func(context.Context) (*rest.Config, error) { return config, nil }), nil
	case f.server == "none":
		return nil, nil
	case f.server == "schema":
		return validate.Schema(apiserver.Options{Version: f.version, Log: c}, f.crds), nil
	case f.server == "cluster":
		return validate.Cluster(func(ctx context.Context) (*rest.Config, error) {
			cluster, err := findCluster(ctx, f.cluster)
			if err != nil {
				return nil, err
			}
			return cluster.RESTConfig(), nil
		}), nil
	}
	return validate.Local(apiserver.Options{Version: f.version, Log: c}, f.crds), nil
}

func newDocsValidate(g *global) *cobra.Command {
	var f docsValidateFlags
	cmd := &cobra.Command{
		Use:   "validate [DIR | FILE…]",
		Short: "Judge every example of Markdown documents by rules and by a real API server",
		Long: `Find every example in Markdown documents and judge it: Kubernetes objects by
a real API server, which labctl starts on loopback and removes afterwards, other
formats by their own libraries, and both by rules. --server schema takes that
API server's schemas alone: it sees fewer mistakes, and starts nothing once
labctl's cache has them. Each finding has the file,
the line and the column of the very field. Without an argument it is the current
folder.

Comments in a document that don't render tell labctl about the next example:
  <!-- labctl: skip reason="…" -->              leave it out
  <!-- labctl: expect: rejected reason="…" -->  it shows a mistake
  <!-- labctl: namespace: NAME -->              its objects belong there
  <!-- labctl: after: LINE -->                  the example at LINE comes before it

Exit codes: 0 if there is no finding of --fail-on or worse, 1 if there is one,
2 for wrong usage, 3 if the API server didn't start or broke, 4 if it is missing
on this machine, 130 if interrupted.`,
		Example: `  labctl docs validate docs/
  labctl docs validate docs/ --server schema
  labctl docs validate docs/ --server none --severity warning
  labctl docs validate docs/ --kubernetes-version 1.30
  labctl docs validate docs/ --baseline docs/.labctl.json --write-baseline
  labctl docs validate docs/ --changed-since origin/main -o github --output-file labctl.sarif`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if err := f.where(args); err != nil {
				return err
			}
			c, err := newConsole(g, "docs-validate")
			if err != nil {
				return err
			}
			defer c.Close()
			return f.run(cmd.Context(), g, c)
		},
	}
	f.register(cmd)
	return cmd
}

func (f *docsValidateFlags) run(ctx context.Context, g *global, c *console) (err error) {
	f.Log, f.Version = c, version()
	if f.Judge, err = f.judge(c); err != nil {
		return err
	}
	f.Document = f.keep
	out, err := validate.Run(ctx, f.Options)
	switch {
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, apiserver.ErrUnknownVersion):
		return err
	case errors.Is(err, apiserver.ErrNoPrograms), errors.Is(err, payload.ErrMissing):
		return withCode(exitPrerequisites, fmt.Errorf("%w\nWithout an API server: labctl docs validate --server none", err))
	case errors.Is(err, validate.ErrJudge):
		return provisionError(err, c)
	case err != nil:
		return err
	}
	if f.rebase {
		if err := f.writeBaseline(out.Baseline); err != nil {
			return err
		}
	}
	o := fromRoot(f.Root)
	o.FailOn, o.Documents = docs.Severity(f.failOn), f.documents
	if err := f.write(g, out.Report, o); err != nil {
		return err
	}
	if f.failOn != never && slices.ContainsFunc(out.Findings, func(x docs.Finding) bool { return x.Severity.AtLeast(docs.Severity(f.failOn)) }) {
		return exitWith(exitDiffers)
	}
	return nil
}

// keep remembers a document for JUnit, which names what is right too.
func (f *docsValidateFlags) keep(d docs.Document) {
	kept := report.Document{Path: d.Path}
	for _, e := range d.Examples {
		kept.Examples = append(kept.Examples, e.Line)
	}
	f.documents = append(f.documents, kept)
}

func (f *docsValidateFlags) writeBaseline(b validate.Baseline) error {
	data, err := b.Bytes()
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(f.baseline, data, 0o644); err != nil {
		return fmt.Errorf("--write-baseline: %w", err)
	}
	return nil
}

// texts are the values of a list as flags take them.
func texts[T ~string](values []T) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = string(v)
	}
	return out
}
