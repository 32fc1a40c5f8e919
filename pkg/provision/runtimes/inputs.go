package runtimes

// Inputs is everything that decides what a node gets from this package, for
// the key of an image that contains it; nothing is built for it.
func Inputs(o ShimOptions) ([]string, error) {
	inputs, err := ShimInputs(o)
	if err != nil {
		return nil, err
	}
	// The handlers that Configure adds to an empty version 2 file stand for
	// those that it adds to any.
	config, err := Configure([]byte("version = 2\n"))
	if err != nil {
		return nil, err
	}
	inputs = append(inputs, string(config), string(setupScript), string(runscWrapper), string(containerdDropIn))
	return append(inputs, Packages()...), nil
}
