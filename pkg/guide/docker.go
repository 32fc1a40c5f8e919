package guide

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/util/json"

	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/verify/cluster"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// Docker looks at the objects of a Docker, in a place that has its command
// line. It is a Looker. The zero value is a Docker that isn't up: there is
// nothing in it.
type Docker struct{ Place probe.Place }

// noSuch is what docker inspect says of an object that isn't there, in any
// of the ways that its kinds have.
var noSuch = regexp.MustCompile(`(?i)no such|not found`)

// Look implements Looker: object is what docker inspect gives.
func (d Docker) Look(ctx context.Context, check *lab.Check) (cluster.Objects, error) {
	found := cluster.Objects{One: true}
	if d.Place == nil {
		return found, nil
	}
	exit, err := d.Place.Run(ctx, nil, "docker", "inspect", "--type", check.Kind, check.Name)
	if err != nil {
		return found, err
	}
	if exit.Code != 0 {
		said := strings.TrimSpace(string(exit.Stderr))
		if noSuch.MatchString(said) {
			return found, nil
		}
		return found, fmt.Errorf("%s %s: docker inspect: exit code %d: %s", check.Kind, check.Name, exit.Code, said)
	}
	var all []any // whole numbers become int64, as in objects of a cluster
	if err := json.Unmarshal(exit.Stdout, &all); err != nil {
		return found, fmt.Errorf("%s %s: docker inspect: %w", check.Kind, check.Name, err)
	}
	for _, o := range all {
		if object, ok := o.(map[string]any); ok {
			found.Items = append(found.Items, object)
		}
	}
	return found, nil
}
