package labprobe

import (
	"github.com/isolation-stack/labctl/pkg/evidence"
)

// privilegeCommands try what takes privileges.
var privilegeCommands = []Command{{
	Name: "privileges", Doc: "what the process may do: change owner, user, mounts, host name, bind a low port",
	Outputs: noArgs(privilegesOutputs()...), Run: runPrivileges,
}}

// privileged are the tries, each with the capability that Linux asks for
// (capabilities(7)).
var privileged = []struct{ name, doc string }{
	{"chown", "give a file of its own away (CAP_CHOWN)"},
	{"setuid", "become user 65534 (CAP_SETUID)"},
	{"setgid", "become group 65534 (CAP_SETGID)"},
	{"chroot", "change the root directory (CAP_SYS_CHROOT)"},
	{"mknod", "make a device node (CAP_MKNOD)"},
	{"raw_socket", "open a raw socket (CAP_NET_RAW)"},
	{"bind", "bind TCP port 80 on loopback (CAP_NET_BIND_SERVICE)"},
	{"unshare", "make a mount namespace (CAP_SYS_ADMIN)"},
	{"mount", "mount a tmpfs, in a mount namespace of its own where that works (CAP_SYS_ADMIN)"},
	{"sethostname", "set the host name to what it is (CAP_SYS_ADMIN)"},
	{"reboot", "ask for a reboot with wrong magic numbers: EINVAL if allowed (CAP_SYS_BOOT)"},
}

func privilegesOutputs() []evidence.Output {
	outputs := []evidence.Output{
		{Name: "uid", Type: evidence.Int, Doc: "effective user id"},
		{Name: "denied", Type: evidence.List, Doc: "tries that ended in EPERM or EACCES"},
		{Name: "denied.count", Type: evidence.Int, Unit: "count", Doc: "how many"},
		{Name: "port.unprivileged", Type: evidence.Int, Doc: "lowest port that takes no capability (net.ipv4.ip_unprivileged_port_start)"},
	}
	for _, p := range privileged {
		outputs = append(outputs, evidence.Output{Name: p.name + ".errno", Type: evidence.String, Doc: p.doc + ": error's name, empty for success"})
	}
	return outputs
}
