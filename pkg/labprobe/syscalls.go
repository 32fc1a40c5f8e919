package labprobe

import (
	"fmt"
	"slices"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// syscallCommands ask which system calls a place has and which it refuses.
var syscallCommands = []Command{
	{
		Name: "syscalls", Doc: "which system calls exist and which are refused, tried with invalid arguments",
		Outputs: noArgs(syscallsOutputs()...), Run: runSyscalls,
	},
	{
		Name: "seccomp", Usage: "none|errno|kill SYSCALL", Doc: "one system call in a child under a seccomp filter of its own",
		Outputs: seccompOutputs, Run: runSeccomp,
	},
}

// syscallNames are those that runtimes and seccomp profiles treat
// differently. getpid is there as the one that always works, unknown as one
// that no kernel has.
var syscallNames = []string{
	"acct", "add_key", "bpf", "clock_settime", "clone3", "delete_module", "fanotify_init",
	"finit_module", "getpid", "init_module", "io_uring_setup", "kexec_file_load", "kexec_load",
	"keyctl", "landlock_create_ruleset", "membarrier", "memfd_create", "mount", "move_pages",
	"name_to_handle_at", "open_by_handle_at", "openat2", "perf_event_open", "pidfd_open",
	"pivot_root", "process_vm_readv", "ptrace", "quotactl", "reboot", "request_key", "rseq",
	"seccomp", "setns", "settimeofday", "statx", "swapoff", "swapon", "umount2", "unknown",
	"unshare", "userfaultfd",
}

func syscallsOutputs() []evidence.Output {
	outputs := []evidence.Output{
		{Name: "tried.count", Type: evidence.Int, Unit: "count", Doc: "system calls tried"},
		{Name: "supported.count", Type: evidence.Int, Unit: "count", Doc: "those that did not answer ENOSYS"},
		{Name: "unsupported", Type: evidence.List, Doc: "those that answered ENOSYS"},
		{Name: "denied", Type: evidence.List, Doc: "those that answered EPERM or EACCES"},
	}
	for _, name := range syscallNames {
		outputs = append(outputs, evidence.Output{Name: "errno." + name, Type: evidence.String, Doc: "error's name, empty for success"})
	}
	return outputs
}

// seccompModes are what the filter does with the call.
var seccompModes = []string{"none", "errno", "kill"}

func parseSeccomp(args []string) (mode, name string, err error) {
	if len(args) != 2 {
		return "", "", fmt.Errorf("seccomp wants a mode and a system call, got %q", args)
	}
	if !slices.Contains(seccompModes, args[0]) {
		return "", "", fmt.Errorf("seccomp mode %q: want one of %q", args[0], seccompModes)
	}
	if !slices.Contains(syscallNames, args[1]) {
		return "", "", fmt.Errorf("system call %q: want one of %q", args[1], syscallNames)
	}
	return args[0], args[1], nil
}

func seccompOutputs(args []string) ([]evidence.Output, error) {
	if _, _, err := parseSeccomp(args); err != nil {
		return nil, err
	}
	return []evidence.Output{
		{Name: "errno", Type: evidence.String, Doc: "error's name that the call gave; empty for success, and where a signal ended the child"},
		{Name: "signal", Type: evidence.String, Doc: "signal that ended the child, e.g. SIGSYS; empty for none"},
		{Name: "killed", Type: evidence.Bool, Doc: "whether a signal ended the child"},
	}, nil
}
