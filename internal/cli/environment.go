package cli

import (
	"cmp"
	"os"
	"strings"
)

// variable is the environment variable that sets the default of a flag. The
// flags that say which cluster and which catalogue have one, so that commands
// in `labctl shell` need none of them.
func variable(flag string) string {
	return "LABCTL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// fromEnvironment is the default of a flag.
func fromEnvironment(flag, standard string) string {
	return cmp.Or(os.Getenv(variable(flag)), standard)
}
