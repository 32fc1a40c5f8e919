package measure

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/isolation-stack/labctl/pkg/compare"
	"github.com/isolation-stack/labctl/pkg/evidence"
)

// podSeen takes from one Pod's evidence what it gives for metrics: all but
// memory, which a pair gives.
func podSeen(set evidence.Set) (seen, error) {
	got := seen{}
	for _, m := range compare.Metrics() {
		if strings.HasPrefix(m.Name, "memory.") {
			continue
		}
		if why, ok := set.Get(m.Name + ".untestable"); ok {
			got[m.Name] = []compare.Seen{{Untestable: fmt.Sprint(why.Value), Source: why.Source}}
			continue
		}
		name := m.Name
		if m.Unit == "ns/op" {
			name += ".cost"
		}
		v, ok := set.Get(name)
		if !ok {
			return nil, fmt.Errorf("the Pod gave no %s", name)
		}
		n := compare.Seen{Source: v.Source}
		switch x := v.Value.(type) {
		case time.Duration:
			n.Value = x.Seconds()
		case float64:
			n.Value = x
		default:
			return nil, fmt.Errorf("the Pod's %s is a %s", name, v.Type)
		}
		got[m.Name] = []compare.Seen{n}
	}
	return got, nil
}

// pss is the memory that the family pod saw when the Pod came to rest.
func pss(set evidence.Set) (compare.Seen, error) {
	v, ok := set.Get("node.pss")
	if !ok {
		return compare.Seen{}, fmt.Errorf("the Pod gave no node.pss")
	}
	q, err := resource.ParseQuantity(fmt.Sprint(v.Value))
	if err != nil {
		return compare.Seen{}, fmt.Errorf("the Pod's node.pss is %q: %w", v.Value, err)
	}
	return compare.Seen{Value: float64(q.Value()), Source: v.Source}, nil
}
