package kind

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
)

// What inspect prints, cut down to what is read: by Podman 4.3, Docker 28 and
// nerdctl 2.
const (
	podmanInspect = `[
 {"Name":"lab-worker","Image":"aa11","ImageName":"localhost/labctl/node:x","State":{"Running":false,"Status":"exited"},
  "Config":{"Labels":{"io.x-k8s.kind.cluster":"lab","io.x-k8s.kind.role":"worker","dev.labctl.node":"x"}},
  "NetworkSettings":{"Networks":{"labctl-lab":{"NetworkID":"labctl-lab"}}}},
 {"Name":"lab-control-plane","Image":"aa11","State":{"Running":true},
  "Config":{"Labels":{"io.x-k8s.kind.cluster":"lab","io.x-k8s.kind.role":"control-plane","dev.labctl.node":"x"}},
  "NetworkSettings":{"Networks":{"labctl-lab":{"NetworkID":"labctl-lab"}}}}]`
	dockerInspect = `[{"Name":"/lab-control-plane","Image":"sha256:aa11","State":{"Running":true},
  "Config":{"Labels":{"io.x-k8s.kind.role":"control-plane","dev.labctl.node":"x"}},
  "NetworkSettings":{"Networks":{"kind":{"IPAMConfig":null}}}}]`
	nerdctlInspect = `[{"Name":"lab-control-plane","Image":"docker.io/library/node:x","State":{"Running":true},
  "Config":{"Labels":{"io.x-k8s.kind.role":"control-plane"}},"NetworkSettings":{"Networks":{"unknown-eth0":{}}}}]`
)

func TestParseNodes(t *testing.T) {
	nodes, err := parseNodes([]byte(podmanInspect))
	if err != nil {
		t.Fatal(err)
	}
	if len(nodes) != 2 || nodes[0].name != "lab-control-plane" || !nodes[0].running || nodes[1].running || nodes[1].role != "worker" || nodes[0].image != "aa11" {
		t.Errorf("%+v", nodes)
	}
	nodes, err = parseNodes([]byte(dockerInspect))
	if err != nil || nodes[0].name != "lab-control-plane" || nodes[0].image != "aa11" || nodes[0].nets[0] != "kind" {
		t.Errorf("%+v, %v", nodes, err)
	}
	if _, err := parseNodes([]byte("Error: broken pipe")); err == nil {
		t.Error("no error for what is no JSON")
	}
}

func TestOurs(t *testing.T) {
	for _, c := range []struct {
		name, engine, inspect, cluster string
		refused                        bool
	}{
		{"on the cluster's own network", engine.Podman, podmanInspect, "lab", false},
		{"plain kind with the same image", engine.Docker, dockerInspect, "lab", true},
		{"on another cluster's network", engine.Podman, podmanInspect, "other", true},
		{"nerdctl: by the image's label", engine.Nerdctl, dockerInspect, "lab", false},
		{"nerdctl: another image", engine.Nerdctl, nerdctlInspect, "lab", true},
		{"no containers", engine.Podman, `[]`, "lab", false},
	} {
		nodes, err := parseNodes([]byte(c.inspect))
		if err != nil {
			t.Fatal(err)
		}
		err = ours(&engine.Engine{Name: c.engine}, c.cluster, nodes)
		if (err != nil) != c.refused {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "another --name") || !strings.Contains(err.Error(), "lab-control-plane")) {
			t.Errorf("%s: no way out: %v", c.name, err)
		}
	}
}

func TestMisfit(t *testing.T) {
	whole, err := parseNodes([]byte(podmanInspect))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		nodes   []node
		workers int
		image   string
		want    string
	}{
		{"fits", whole, 1, "aa11", ""},
		{"more than needed", whole, 0, "aa11", ""},
		{"too few workers", whole, 2, "aa11", "1 workers of 2"},
		{"only the control plane came up", whole[:1], 1, "aa11", "0 workers of 1"},
		{"no control plane", whole[1:], 1, "aa11", "no control plane"},
		{"another image", whole, 1, "bb22", "another node image"},
	} {
		if got := misfit(c.nodes, c.workers, c.image, "ref"); (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}

func TestParseVolumes(t *testing.T) {
	list := `[{"Name":"v1","Labels":{"lab-control-plane":"true"}},{"Name":"v2","Labels":{"lab-worker12":"true"}},
 {"Name":"v3","Labels":{"lab2-worker":"true"}},{"Name":"v4","Labels":{"my-lab-worker":"true"}},{"Name":"v5","Labels":{"lab-workers":"true"}},{"Name":"v6"}]`
	got, err := parseVolumes([]byte(list), "lab")
	if err != nil || !slices.Equal(got, []string{"v1", "v2"}) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := parseVolumes(nil, "lab"); got != nil || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

func TestNetworkOfTheUsersIsRefused(t *testing.T) {
	for _, c := range []struct {
		name, inspect string
		ours, refused bool
	}{
		{"labctl's", `[{"name":"labctl-lab","labels":{"dev.labctl.cluster":"lab"}}]`, true, false},
		{"somebody's", `[{"Name":"labctl-lab","Labels":{}}]`, false, true},
		{"another cluster's", `[{"Name":"labctl-lab","Labels":{"dev.labctl.cluster":"x"}}]`, false, true},
	} {
		e := fakeEngine(t, `"network ls") echo labctl-lab; echo podman;;
"network inspect") echo '`+c.inspect+`';;
"network create") echo "must not be called" >&2; exit 1;;`)
		mine, err := isOurNetwork(t.Context(), e, "lab")
		if mine != c.ours || (err != nil) != c.refused {
			t.Errorf("%s: %v, %v", c.name, mine, err)
		}
		if err := ensureNetwork(t.Context(), e, "lab"); (err != nil) != c.refused {
			t.Errorf("%s: %v", c.name, err)
		}
		if err := remove(t.Context(), e, "lab", progress.Discard); (err != nil) != c.refused {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestRemoveAsksForNothingThatIsNotThere(t *testing.T) {
	marker := t.TempDir() + "/called"
	e := fakeEngine(t, `"network ls") ;; "rm "*|"kill "*|"network rm"|"volume rm") touch `+marker+`;;`)
	if err := remove(t.Context(), e, "lab", progress.Discard); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("something was removed")
	}
}
