package kind

import "github.com/isolation-stack/labctl/pkg/provision"

var _ provision.Attacher = (*Cluster)(nil)

// Attach implements provision.Attacher by the engine's exec.
func (c *Cluster) Attach(node string, stdin, terminal bool, argv ...string) (line, env []string) {
	args := []string{"exec"}
	if stdin || terminal {
		args = append(args, "-i")
	}
	if terminal {
		args = append(args, "-t")
	}
	cmd := c.e.Command(append(append(args, node), argv...)...)
	return cmd.Argv, cmd.Env
}
