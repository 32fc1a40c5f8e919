package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/provision"
)

// kubectlScript runs the node's kubectl with a copy of the admin's kubeconfig
// whose namespace is $1.
const kubectlScript = `set -eu
for f in /etc/kubernetes/admin.conf /etc/rancher/k3s/k3s.yaml; do
  [ ! -r "$f" ] || break
done
kubectl=kubectl
command -v kubectl >/dev/null || kubectl="k3s kubectl"
KUBECONFIG=$(mktemp)
export KUBECONFIG
trap 'rm -f "$KUBECONFIG"' EXIT
trap 'exit 130' INT TERM HUP
cat "$f" >"$KUBECONFIG"
$kubectl config set-context --current --namespace="$1" >/dev/null
shift
$kubectl "$@"`

func newKubectlCommand(g *global) *cobra.Command {
	var f clusterFlags
	cmd := &cobra.Command{
		Use:   "kubectl [flags of labctl] [--] ARGUMENTS…",
		Short: "The kubectl of the lab's node, for machines that have none",
		Long: `Run kubectl on the first node of the cluster, with its output and its exit code.
The namespace is ` + lab.PeopleNamespace + ` unless -n or -A says otherwise. labctl's own flags stand
before kubectl's words.

Files are those of this machine with -f FILE or -f - (stdin), for every command
of kubectl that takes manifests; they are sent to the node. Other local files
(-k, cp, --from-file), edit and port-forward need a kubectl of your own. Where
the provider isn't kind, so do a terminal (exec -it) and what doesn't end by
itself (get -w, logs -f): output comes when the command has ended.`,
		Example: `  labctl kubectl get pods
  labctl kubectl --name class-a -- -n kube-system get pods
  labctl kubectl apply -f pod.yaml
  labctl manifest kubernetes/quota.yaml | labctl kubectl apply -f -`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			args, stdin, err := sendFiles(args, os.ReadFile)
			if err != nil {
				return err
			}
			cluster, err := findCluster(cmd.Context(), f)
			if err != nil {
				return err
			}
			return runKubectl(cmd.Context(), g, cluster, args, stdin)
		},
	}
	f.register(cmd)
	// What follows kubectl's first word is kubectl's.
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// runKubectl runs kubectl on the first node; files, if there are some, are its
// stdin.
func runKubectl(ctx context.Context, g *global, cluster provision.Cluster, args []string, files []byte) error {
	terminal := files == nil && isTerminal(g.in) && isTerminal(g.out)
	with := *g
	with.in = nil
	switch {
	case files != nil:
		with.in = bytes.NewReader(files)
	case terminal || readsStdin(args):
		with.in = g.in
	}
	node := cluster.Nodes()[0]
	argv := append([]string{"sh", "-c", kubectlScript, "sh", lab.PeopleNamespace}, args...)
	if a, ok := cluster.(provision.Attacher); ok {
		line, env := a.Attach(node, with.in != nil, terminal, argv...)
		return attach(ctx, &with, line, env)
	}
	if terminal {
		with.in = nil
	}
	exit, err := cluster.Node(node).Run(ctx, with.in, argv...)
	if err != nil {
		return withCode(exitProvision, fmt.Errorf("kubectl on the lab's node: %w", err))
	}
	_, outErr := g.out.Write(exit.Stdout)
	_, errErr := g.err.Write(exit.Stderr)
	if err := errors.Join(outErr, errErr); err != nil {
		return fmt.Errorf("write kubectl's output: %w", err)
	}
	return exitWith(exit.Code)
}

// own are the arguments that kubectl reads itself: those after -- are for the
// program that it starts.
func own(args []string) []string {
	if i := slices.Index(args, "--"); i >= 0 {
		return args[:i]
	}
	return args
}

// readsStdin says whether kubectl is told to read stdin. Otherwise it isn't
// given any, so that a loop around it keeps its own.
func readsStdin(args []string) bool {
	return slices.ContainsFunc(own(args), func(a string) bool {
		return a == "-" || strings.HasSuffix(a, "=-") || a == "-f-" || a == "-i" || a == "--stdin" || a == "-it" || a == "-ti"
	})
}

// sendFiles takes local files (-f FILE) out of kubectl's arguments and returns
// what to give as stdin in their place; nil if there are none. Addresses and
// stdin itself (-f -) stay as they are.
func sendFiles(args []string, read func(string) ([]byte, error)) ([]string, []byte, error) {
	mine := own(args)
	if slices.Contains(mine, "logs") {
		return args, nil, nil // its -f follows the log
	}
	var rest []string
	var files [][]byte
	for i := 0; i < len(mine); i++ {
		names, used, ok := filenames(mine[i:])
		if !ok {
			rest = append(rest, mine[i])
			continue
		}
		for _, name := range names {
			if name == "-" || strings.HasPrefix(name, "https://") || strings.HasPrefix(name, "http://") {
				rest = append(rest, "-f", name)
				continue
			}
			b, err := read(name)
			if err != nil {
				return nil, nil, fmt.Errorf("-f: %w; labctl kubectl takes single files", err)
			}
			files = append(files, b)
		}
		i += used - 1
	}
	if len(files) == 0 {
		return args, nil, nil
	}
	if slices.Contains(rest, "-") {
		return nil, nil, errors.New("-f - and -f FILE at once: stdin carries the files; give one or the other")
	}
	all, err := join(files)
	if err != nil {
		return nil, nil, err
	}
	return slices.Concat(rest, []string{"-f", "-"}, args[len(mine):]), all, nil
}

// filenames are the files that the first of the arguments names with kubectl's
// flag -f, --filename, and how many arguments that takes.
func filenames(args []string) (names []string, used int, ok bool) {
	first := args[0]
	for _, prefix := range []string{"--filename=", "-f="} {
		if value, ok := strings.CutPrefix(first, prefix); ok {
			return strings.Split(value, ","), 1, true
		}
	}
	switch {
	case (first == "-f" || first == "--filename") && len(args) > 1:
		return strings.Split(args[1], ","), 2, true
	case strings.HasPrefix(first, "-f") && len(first) > 2:
		return strings.Split(first[2:], ","), 1, true
	}
	return nil, 0, false
}

// join makes one stream of documents of several files.
func join(files [][]byte) ([]byte, error) {
	if len(files) == 1 {
		return files[0], nil
	}
	for i, b := range files {
		if bytes.HasPrefix(bytes.TrimSpace(b), []byte("{")) {
			var err error
			if files[i], err = yaml.JSONToYAML(b); err != nil {
				return nil, fmt.Errorf("-f: %w", err)
			}
		}
	}
	return bytes.Join(files, []byte("\n---\n")), nil
}
