//go:build !linux

package engine

// inspectHost: elsewhere engines run in a virtual machine with settings of
// its own.
func inspectHost() (Host, error) { return Host{SysResource: true, Systemd: true}, nil }
