package cli

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/isolation-stack/labctl/pkg/lifecycle"
)

// execute runs a command line in this process, in a home of its own.
func execute(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	var out, status bytes.Buffer
	g := &global{streams: streams{strings.NewReader(""), &out, &status}, cleanup: func() {}}
	root := newRootCommand(g)
	root.SetArgs(args)
	err = root.ExecuteContext(context.Background())
	return out.String(), status.String(), err
}

func TestFlagsOfAProviderAreRefusedWithAnother(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		env  string
		say  []string // in the error; none means that the flags are accepted
	}{
		{name: "kind's with kind", args: []string{"--workers", "1", "--engine", "podman", "--gvisor", "/x"}},
		{name: "K3s's with K3s", args: []string{"--provider", "k3s", "--k3s-version", "v1.34.4+k3s1", "--gvisor", "/x", "--dry-run"}},
		{name: "kubeconfig's with kubeconfig", args: []string{"--provider", "kubeconfig", "--context", "edge", "--registry", "r.example/x", "--dry-run"}},
		{name: "everybody's", args: []string{"--provider", "kubeconfig", "--name", "x", "--kubeconfig", "f", "--runtime-class", "gvisor=g"}},
		{name: "K3s's with kind", args: []string{"--airgap", "/usb"}, say: []string{"--airgap", "--provider k3s", "--provider kind"}},
		{name: "kind's with K3s", args: []string{"--provider", "k3s", "--engine", "podman"}, say: []string{"--engine", "--provider kind", "--provider k3s"}},
		{name: "kubeconfig's with K3s", args: []string{"--provider", "k3s", "--context", "x"}, say: []string{"--context", "--provider kubeconfig"}},
		{name: "a flag of two with the third", args: []string{"--provider", "kubeconfig", "--gvisor", "/x"}, say: []string{"--provider kind and k3s"}},
		{name: "dry run with kind", args: []string{"--dry-run"}, say: []string{"--dry-run", "k3s and kubeconfig", "--provider kind"}},
		{name: "all at once", args: []string{"--airgap", "/usb", "--context", "x"}, say: []string{"--airgap", "--context"}},
		{name: "no such provider", args: []string{"--provider", "k0s"}, say: []string{`--provider is "k0s"`, "kind, k3s or kubeconfig"}},
		{name: "the variable", env: "k3s", args: []string{"--engine", "podman"}, say: []string{"--provider k3s"}},
		{name: "the variable is overruled", env: "k3s", args: []string{"--provider", "kind", "--engine", "podman"}},
		{name: "the variable is wrong", env: "k0s", say: []string{"k0s", "LABCTL_PROVIDER"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv(providerVariable, c.env)
			cmd := newUpCommand(&global{})
			cmd.SetOut(io.Discard)
			if err := cmd.ParseFlags(c.args); err != nil {
				t.Fatal(err)
			}
			err := cmd.PreRunE(cmd, nil)
			if (err == nil) != (len(c.say) == 0) {
				t.Fatalf("%v", err)
			}
			for _, s := range c.say {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q says nothing of %q", err, s)
				}
			}
		})
	}
}

// clusterCommands are those that take --provider.
func clusterCommands(t *testing.T) []*cobra.Command {
	t.Helper()
	var all []*cobra.Command
	for _, cmd := range newRootCommand(&global{}).Commands() {
		if cmd.Flags().Lookup("provider") != nil {
			all = append(all, cmd)
		}
	}
	if len(all) < 5 {
		t.Fatalf("%d commands have --provider", len(all))
	}
	return all
}

func TestEveryFlagOfTheTableIsThere(t *testing.T) {
	known := map[string]bool{}
	for _, cmd := range clusterCommands(t) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known[f.Name] = true })
		if cmd.PreRunE == nil {
			t.Errorf("%s doesn't check the flags of providers", cmd.Name())
		}
	}
	for name := range belongsTo {
		if !known[name] {
			t.Errorf("no command has --%s", name)
		}
	}
}

func TestHelpGroupsFlagsByProvider(t *testing.T) {
	for _, cmd := range clusterCommands(t) {
		out, _, err := execute(t, cmd.Name(), "--help")
		if err != nil {
			t.Fatal(err)
		}
		before := -1
		for _, part := range []string{"Examples:", "\nFlags:\n", "      --provider string", "Flags of --provider kind:", "      --engine", "Flags of --provider kubeconfig:", "      --context", "Global Flags:"} {
			at := strings.Index(out, part)
			if at < before {
				t.Errorf("help of %s: %q is at %d, after %d", cmd.Name(), part, at, before)
			}
			before = max(at, before)
		}
		// Every flag is in exactly one group.
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if n := strings.Count(out, " --"+f.Name+" "); n < 1 {
				t.Errorf("help of %s lacks --%s", cmd.Name(), f.Name)
			}
		})
	}
}

// Every provider has its flags' checks of the machine.
func TestEveryProviderHasADoctor(t *testing.T) {
	for _, p := range lifecycle.Providers() {
		if checks[p] == nil {
			t.Errorf("no doctor for %s", p)
		}
	}
}

func TestCommandTellsTheProvider(t *testing.T) {
	for want, f := range map[string]clusterFlags{
		"labctl down":                           {provider: lifecycle.Kind, name: defaultName},
		"labctl down --name a":                  {provider: lifecycle.Kind, name: "a"},
		"labctl down --provider k3s":            {provider: lifecycle.K3s, name: defaultName},
		"labctl down --provider k3s --name box": {provider: lifecycle.K3s, name: "box"},
	} {
		if got := f.command("down"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestOutputIsForDryRun(t *testing.T) {
	for _, c := range []struct {
		args []string
		say  string
	}{
		{[]string{"up", "-o", "json"}, "--dry-run"},
		{[]string{"up", "--provider", "kubeconfig", "--dry-run", "-o", "table"}, "text, json or yaml"},
		{[]string{"up", "--provider", "k3s", "--k3s-version", "v1", "--k3s-channel", "stable"}, "k3s-channel"},
	} {
		if _, _, err := execute(t, c.args...); err == nil || exitCode(err) != exitUsage || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%q: %v", c.args, err)
		}
	}
}
