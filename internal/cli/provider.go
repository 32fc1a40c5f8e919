package cli

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/isolation-stack/labctl/pkg/lifecycle"
)

// providerVariable is the environment variable with the default of --provider.
const providerVariable = "LABCTL_PROVIDER"

// belongsTo says which providers a flag is for. A flag that isn't here is for
// all of them.
var belongsTo = map[string][]string{
	"engine":            {lifecycle.Kind},
	"workers":           {lifecycle.Kind},
	"node-image-source": {lifecycle.Kind},
	"base-image":        {lifecycle.Kind},
	"api-server-port":   {lifecycle.Kind},

	"debian-mirror": {lifecycle.Kind, lifecycle.K3s},
	"gvisor":        {lifecycle.Kind, lifecycle.K3s},

	"installer":         {lifecycle.K3s},
	"installer-sha256":  {lifecycle.K3s},
	"k3s-binary":        {lifecycle.K3s},
	"k3s-binary-sha256": {lifecycle.K3s},
	"k3s-version":       {lifecycle.K3s},
	"k3s-channel":       {lifecycle.K3s},
	"k3s-service":       {lifecycle.K3s},
	"airgap":            {lifecycle.K3s},
	"runtime-files":     {lifecycle.K3s},

	"dry-run": {lifecycle.K3s, lifecycle.Kubeconfig},

	"context":  {lifecycle.Kubeconfig},
	"registry": {lifecycle.Kubeconfig},
}

// registerProvider adds --provider, and the check that every flag that is
// given belongs to it.
func registerProvider(cmd *cobra.Command, provider *string) {
	standard := os.Getenv(providerVariable)
	if standard == "" {
		standard = lifecycle.Kind
	}
	cmd.Flags().StringVar(provider, "provider", standard, "what the cluster is made with: "+joinOr(lifecycle.Providers())+"; the variable "+providerVariable+" sets the default")
	must(cmd.RegisterFlagCompletionFunc("provider", cobra.FixedCompletions(lifecycle.Providers(), cobra.ShellCompDirectiveNoFileComp)))
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error { return checkProvider(cmd.Flags(), *provider) }
	cmd.SetUsageFunc(usageByProvider)
}

// checkProvider refuses flags of another provider, all of them at once: they
// would be ignored, and a person who gave them wants something else.
func checkProvider(flags *pflag.FlagSet, provider string) error {
	if err := oneOf(map[string]allowed{"provider": {provider, lifecycle.Providers()}}); err != nil {
		if !flags.Changed("provider") {
			return fmt.Errorf("%w; the variable %s says so", err, providerVariable)
		}
		return err
	}
	var foreign []string
	flags.Visit(func(f *pflag.Flag) {
		owners := belongsTo[f.Name]
		if len(owners) > 0 && !slices.Contains(owners, provider) {
			foreign = append(foreign, fmt.Sprintf("--%s is a flag of --provider %s", f.Name, strings.Join(owners, " and ")))
		}
	})
	if len(foreign) == 0 {
		return nil
	}
	return fmt.Errorf("%s; this is --provider %s", strings.Join(foreign, ", "), provider)
}

// usageByProvider is cobra's usage with the flags in groups: those of every
// provider first, then those of some.
func usageByProvider(cmd *cobra.Command) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage:\n  %s\n", cmd.UseLine())
	if cmd.HasExample() {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
	}
	groups := map[string]*pflag.FlagSet{}
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		key := strings.Join(belongsTo[f.Name], " and ")
		if groups[key] == nil {
			groups[key] = pflag.NewFlagSet(key, pflag.ContinueOnError)
		}
		groups[key].AddFlag(f)
	})
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		title := "Flags"
		if key != "" {
			title = "Flags of --provider " + key
		}
		fmt.Fprintf(&b, "\n%s:\n%s", title, groups[key].FlagUsages())
	}
	if cmd.HasAvailableInheritedFlags() {
		fmt.Fprintf(&b, "\nGlobal Flags:\n%s", cmd.InheritedFlags().FlagUsages())
	}
	_, err := fmt.Fprint(cmd.OutOrStdout(), b.String())
	return err
}
