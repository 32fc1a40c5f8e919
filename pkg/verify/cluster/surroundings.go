package cluster

import "github.com/isolation-stack/labctl/pkg/verify/probe"

// Surroundings gives the names of ${…} that no step of a scenario has a part
// in, for manifests that people apply in a namespace.
func Surroundings(env probe.Environment, namespace string) Names {
	return surroundings(&env, namespace, nil)
}
