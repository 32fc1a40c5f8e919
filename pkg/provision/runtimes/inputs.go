package runtimes

import "fmt"

// Inputs is everything that decides what this package puts on a node, for the
// key of an image that holds it.
func Inputs(o ShimOptions) ([]string, error) {
	inputs, err := shimInputs(o)
	if err != nil {
		return nil, err
	}
	inputs = append(inputs, Packages()...)
	inputs = append(inputs, setupScript, runscWrapper, fmt.Sprintf("%+v", KindNode), string(containerdDropIn))
	// What Configure makes of next to nothing is all that it adds.
	for _, file := range []string{"version = 2", "version = 3"} {
		config, err := Configure([]byte(file))
		if err != nil {
			return nil, err
		}
		inputs = append(inputs, string(config))
	}
	return inputs, nil
}
