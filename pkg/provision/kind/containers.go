package kind

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/kind/pkg/cluster/constants"

	"github.com/isolation-stack/labctl/pkg/process"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
)

// Labels of containers: kind's own, and the one that node images of labctl
// carry and their containers inherit.
const (
	clusterLabel = "io.x-k8s.kind.cluster"
	roleLabel    = "io.x-k8s.kind.role"
	imageLabel   = "dev.labctl.node"
	// networkLabel marks a network that labctl made, by the cluster's name.
	networkLabel = "dev.labctl.cluster"
)

// networkOf is the cluster's own network. It isolates clusters from each
// other, goes away with its cluster, and tells labctl's clusters from those
// that somebody made with plain kind and the same image.
func networkOf(cluster string) string { return "labctl-" + cluster }

// ownNetwork says whether kind can be given a network under this engine; with
// nerdctl all kind clusters share the network kind.
func ownNetwork(e *engine.Engine) bool { return e.Name != engine.Nerdctl }

// node is one container of a cluster.
type node struct {
	name    string
	role    string // control-plane or worker
	running bool
	image   string // ID without sha256:, or a reference under nerdctl
	labels  map[string]string
	nets    []string
}

// inspected is what Docker, Podman and nerdctl have in common in the JSON of
// inspect.
type inspected struct {
	Name   string
	Image  string
	State  struct{ Running bool }
	Config struct{ Labels map[string]string }
	// The addresses differ between engines; only the names count here.
	NetworkSettings struct {
		Networks map[string]json.RawMessage
	}
}

// findNodes lists the containers of a kind cluster, whoever made it, sorted
// by name: the control plane comes first.
func findNodes(ctx context.Context, e *engine.Engine, cluster string) ([]node, error) {
	r, err := e.Run(ctx, "ps", "-a", "-q", "--filter", "label="+clusterLabel+"="+cluster)
	if err != nil {
		return nil, explain(err)
	}
	ids := strings.Fields(string(r.Stdout))
	if len(ids) == 0 {
		return nil, nil
	}
	r, err = e.Run(ctx, append([]string{"inspect", "--type", "container"}, ids...)...)
	if err != nil {
		return nil, explain(err)
	}
	return parseNodes(r.Stdout)
}

func parseNodes(inspect []byte) ([]node, error) {
	var all []inspected
	if err := json.Unmarshal(inspect, &all); err != nil {
		return nil, fmt.Errorf("the engine's inspect: %w", err)
	}
	nodes := make([]node, 0, len(all))
	for _, c := range all {
		n := node{
			name:    strings.TrimPrefix(c.Name, "/"),
			role:    c.Config.Labels[roleLabel],
			running: c.State.Running,
			image:   strings.TrimPrefix(c.Image, "sha256:"),
			labels:  c.Config.Labels,
		}
		for net := range c.NetworkSettings.Networks {
			n.nets = append(n.nets, net)
		}
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b node) int { return cmp.Compare(a.name, b.name) })
	return nodes, nil
}

// ours is an error if one of the containers wasn't made by labctl.
func ours(e *engine.Engine, cluster string, nodes []node) error {
	for _, n := range nodes {
		mine := slices.Contains(n.nets, networkOf(cluster))
		if !ownNetwork(e) {
			_, mine = n.labels[imageLabel]
		}
		if !mine {
			return fmt.Errorf("there is a kind cluster %s that labctl didn't make (container %s), and labctl leaves it alone; use another --name, or remove it with `kind delete cluster --name %s`", cluster, n.name, cluster)
		}
	}
	return nil
}

// misfit says why these nodes can't become the cluster that is wanted, "" if
// they can.
func misfit(nodes []node, workers int, imageID, image string) string {
	have := 0
	planes := 0
	for _, n := range nodes {
		switch n.role {
		case constants.ControlPlaneNodeRoleValue:
			planes++
		case constants.WorkerNodeRoleValue:
			have++
		}
		if n.image != imageID && n.image != image {
			return "its nodes run another node image"
		}
	}
	switch {
	case planes != 1:
		return "it has no control plane"
	case have < workers:
		return fmt.Sprintf("it has %d workers of %d", have, workers)
	}
	return ""
}

// imageID is the image's ID without sha256:. An image that the engine doesn't
// have is an error.
func imageID(ctx context.Context, e *engine.Engine, ref string) (string, error) {
	r, err := e.Run(ctx, "image", "inspect", ref)
	if err != nil {
		return "", fmt.Errorf("node image %s: %w", ref, explain(err))
	}
	var images []struct{ ID string } // Id in JSON; templates differ between engines
	if err := json.Unmarshal(r.Stdout, &images); err != nil || len(images) != 1 {
		return "", fmt.Errorf("node image %s: the engine's inspect tells of %d images (%w)", ref, len(images), err)
	}
	return strings.TrimPrefix(images[0].ID, "sha256:"), nil
}

// ensureNetwork makes the cluster's network, or refuses one of that name that
// isn't labctl's.
func ensureNetwork(ctx context.Context, e *engine.Engine, cluster string) error {
	if !ownNetwork(e) {
		return nil
	}
	name := networkOf(cluster)
	switch mine, err := isOurNetwork(ctx, e, cluster); {
	case err != nil:
		return err
	case mine:
		return nil
	}
	args := []string{"network", "create", "--driver", "bridge", "--label", networkLabel + "=" + cluster}
	if e.Name == engine.Docker {
		// Docker gives networks 1500 whatever the host's own link has; its
		// default bridge is where people configure it.
		r, err := e.Run(ctx, "network", "inspect", "bridge", "--format", `{{index .Options "com.docker.network.driver.mtu"}}`)
		if mtu := strings.TrimSpace(string(r.Stdout)); err == nil && mtu != "" && mtu != "<no value>" {
			args = append(args, "--opt", "com.docker.network.driver.mtu="+mtu)
		}
	}
	if _, err := e.Run(ctx, append(args, name)...); err != nil {
		return fmt.Errorf("network of cluster %s: %w", cluster, explain(err))
	}
	return nil
}

// isOurNetwork says whether the cluster's network is there; one of that name
// without labctl's label is an error.
func isOurNetwork(ctx context.Context, e *engine.Engine, cluster string) (bool, error) {
	name := networkOf(cluster)
	r, err := e.Run(ctx, "network", "ls", "--format", "{{.Name}}")
	if err != nil {
		return false, explain(err)
	}
	if !slices.Contains(strings.Fields(string(r.Stdout)), name) {
		return false, nil
	}
	r, err = e.Run(ctx, "network", "inspect", name)
	if err != nil {
		return false, explain(err)
	}
	var nets []struct{ Labels map[string]string } // podman writes labels in lower case; JSON keys match either way
	if err := json.Unmarshal(r.Stdout, &nets); err != nil {
		return false, fmt.Errorf("the engine's network inspect: %w", err)
	}
	for _, n := range nets {
		if n.Labels[networkLabel] != cluster {
			return false, fmt.Errorf("there is a network %s that labctl didn't make; use another --name, or remove it with `%s network rm %s`", name, e.Name, name)
		}
	}
	return true, nil
}

// remove takes away the cluster's containers with their volumes, and its
// network. The caller has seen that they are labctl's.
func remove(ctx context.Context, e *engine.Engine, cluster string, log progress.Log) (err error) {
	nodes, err := findNodes(ctx, e, cluster)
	if err != nil {
		return err
	}
	mine := false
	if ownNetwork(e) {
		if mine, err = isOurNetwork(ctx, e, cluster); err != nil {
			return err
		}
	}
	volumes, err := nodeVolumes(ctx, e, cluster)
	if err != nil {
		return err
	}
	if len(nodes) == 0 && len(volumes) == 0 && !mine {
		return nil
	}
	step := log.Start("Removing cluster " + cluster)
	defer func() { step.End(err) }()
	// A run that was killed may have left a `run` of the engine behind, whose
	// container appears only now: look again until there is none.
	for range 3 {
		if err := removeNodes(ctx, e, cluster); err != nil {
			return err
		}
		if nodes, err = findNodes(ctx, e, cluster); err != nil || len(nodes) == 0 {
			break
		}
	}
	if err != nil {
		return err
	}
	if len(volumes) > 0 {
		if volumes, err = nodeVolumes(ctx, e, cluster); err != nil {
			return err
		}
	}
	if len(volumes) > 0 {
		if _, err := e.Run(ctx, append([]string{"volume", "rm"}, volumes...)...); err != nil {
			return explain(err)
		}
	}
	if mine {
		if _, err := e.Run(ctx, "network", "rm", networkOf(cluster)); err != nil {
			return explain(err)
		}
	}
	return nil
}

func removeNodes(ctx context.Context, e *engine.Engine, cluster string) error {
	nodes, err := findNodes(ctx, e, cluster)
	if err != nil || len(nodes) == 0 {
		return err
	}
	args := []string{"kill"}
	for _, n := range nodes {
		if n.running {
			args = append(args, n.name)
		}
	}
	if len(args) > 1 {
		// Without it rm -f asks systemd in the node to shut down and waits. A
		// node that ended meanwhile is an error of kill that doesn't matter.
		_, _ = e.Run(ctx, args...)
	}
	args = []string{"rm", "-f", "-v"}
	for _, n := range nodes {
		args = append(args, n.name)
	}
	if _, err := e.Run(ctx, args...); err != nil {
		return explain(err)
	}
	return nil
}

// nodeVolumes are the volumes that kind makes under Podman before it runs a
// node, labelled by the node's name as key; `rm -v` doesn't take named ones.
func nodeVolumes(ctx context.Context, e *engine.Engine, cluster string) ([]string, error) {
	if e.Name != engine.Podman {
		return nil, nil
	}
	r, err := e.Run(ctx, "volume", "ls", "--format", "json")
	if err != nil {
		return nil, explain(err)
	}
	return parseVolumes(r.Stdout, cluster)
}

func parseVolumes(list []byte, cluster string) ([]string, error) {
	if len(strings.TrimSpace(string(list))) == 0 {
		return nil, nil
	}
	var volumes []struct {
		Name   string
		Labels map[string]string
	}
	if err := json.Unmarshal(list, &volumes); err != nil {
		return nil, fmt.Errorf("the engine's list of volumes: %w", err)
	}
	key := regexp.MustCompile("^" + regexp.QuoteMeta(cluster) + nodeSuffix.String())
	var names []string
	for _, v := range volumes {
		for label := range v.Labels {
			if key.MatchString(label) {
				names = append(names, v.Name)
			}
		}
	}
	return names, nil
}

// explain adds what to do to an engine's error.
func explain(err error) error {
	var failed *process.Error
	if !errors.As(err, &failed) {
		return err
	}
	if what := engine.Advice(err); what != "" {
		return fmt.Errorf("the container engine failed: %w\n  %s", err, what)
	}
	return fmt.Errorf("the container engine failed: %w", err)
}
