package cluster

import "github.com/isolation-stack/labctl/pkg/verify/probe"

// Surroundings gives the names of ${…} that no step of a scenario has a part
// in, for what people apply and check in a namespace. With a nil environment
// it gives a sample of each, to check texts without a cluster.
func Surroundings(env *probe.Environment, namespace string) Names {
	return surroundings(env, namespace, nil)
}
