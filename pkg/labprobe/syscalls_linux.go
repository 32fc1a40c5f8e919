package labprobe

import (
	"context"
	"fmt"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

const (
	badPointer = 1           // in the first page, which nothing maps
	invalid    = ^uintptr(0) // -1 as fd, pid, command or flags
)

// syscallTable has for each name arguments that every kernel refuses before
// it does anything, whoever asks: a place's answer is an error that tells
// whether the call exists (ENOSYS), is forbidden (EPERM) or was looked at
// (EINVAL, EFAULT, EBADF, ESRCH, …).
var syscallTable = map[string]rawCall{
	"acct":                    {unix.SYS_ACCT, [6]uintptr{badPointer}},
	"add_key":                 {unix.SYS_ADD_KEY, [6]uintptr{badPointer, badPointer}},
	"bpf":                     {unix.SYS_BPF, [6]uintptr{invalid, badPointer, 0}},
	"clock_settime":           {unix.SYS_CLOCK_SETTIME, [6]uintptr{invalid, badPointer}},
	"clone3":                  {unix.SYS_CLONE3, [6]uintptr{badPointer, 0}},
	"delete_module":           {unix.SYS_DELETE_MODULE, [6]uintptr{badPointer}},
	"fanotify_init":           {unix.SYS_FANOTIFY_INIT, [6]uintptr{invalid, invalid}},
	"finit_module":            {unix.SYS_FINIT_MODULE, [6]uintptr{invalid, badPointer, 0}},
	"getpid":                  {unix.SYS_GETPID, [6]uintptr{}},
	"init_module":             {unix.SYS_INIT_MODULE, [6]uintptr{badPointer, 0, badPointer}},
	"io_uring_setup":          {unix.SYS_IO_URING_SETUP, [6]uintptr{0, badPointer}},
	"kexec_file_load":         {unix.SYS_KEXEC_FILE_LOAD, [6]uintptr{invalid, invalid, 0, 0, invalid}},
	"kexec_load":              {unix.SYS_KEXEC_LOAD, [6]uintptr{0, 1 << 20, badPointer, 0}},
	"keyctl":                  {unix.SYS_KEYCTL, [6]uintptr{invalid}},
	"landlock_create_ruleset": {unix.SYS_LANDLOCK_CREATE_RULESET, [6]uintptr{badPointer, 0, 0}},
	"membarrier":              {unix.SYS_MEMBARRIER, [6]uintptr{invalid}},
	"memfd_create":            {unix.SYS_MEMFD_CREATE, [6]uintptr{badPointer, invalid}},
	"mount":                   {unix.SYS_MOUNT, [6]uintptr{badPointer, badPointer, badPointer}},
	"move_pages":              {unix.SYS_MOVE_PAGES, [6]uintptr{0, 1, badPointer, 0, badPointer, invalid}},
	"name_to_handle_at":       {unix.SYS_NAME_TO_HANDLE_AT, [6]uintptr{invalid, badPointer, badPointer, badPointer}},
	"open_by_handle_at":       {unix.SYS_OPEN_BY_HANDLE_AT, [6]uintptr{invalid, badPointer}},
	"openat2":                 {unix.SYS_OPENAT2, [6]uintptr{invalid, badPointer, badPointer, 0}},
	"perf_event_open":         {unix.SYS_PERF_EVENT_OPEN, [6]uintptr{badPointer, 0, 0, invalid, invalid}},
	"pidfd_open":              {unix.SYS_PIDFD_OPEN, [6]uintptr{invalid}},
	"pivot_root":              {unix.SYS_PIVOT_ROOT, [6]uintptr{badPointer, badPointer}},
	"process_vm_readv":        {unix.SYS_PROCESS_VM_READV, [6]uintptr{invalid, badPointer, 1, badPointer, 1, invalid}},
	"ptrace":                  {unix.SYS_PTRACE, [6]uintptr{invalid, invalid}},
	"quotactl":                {unix.SYS_QUOTACTL, [6]uintptr{invalid, badPointer}},
	"reboot":                  {unix.SYS_REBOOT, [6]uintptr{0, 0, 0}}, // without its magic numbers: EINVAL
	"request_key":             {unix.SYS_REQUEST_KEY, [6]uintptr{badPointer, badPointer}},
	"rseq":                    {unix.SYS_RSEQ, [6]uintptr{badPointer, 0, invalid}},
	"seccomp":                 {unix.SYS_SECCOMP, [6]uintptr{invalid}},
	"setns":                   {unix.SYS_SETNS, [6]uintptr{invalid}},
	"settimeofday":            {unix.SYS_SETTIMEOFDAY, [6]uintptr{badPointer, badPointer}},
	"statx":                   {unix.SYS_STATX, [6]uintptr{invalid, badPointer, invalid, 0, badPointer}},
	"swapoff":                 {unix.SYS_SWAPOFF, [6]uintptr{badPointer}},
	"swapon":                  {unix.SYS_SWAPON, [6]uintptr{badPointer}},
	"umount2":                 {unix.SYS_UMOUNT2, [6]uintptr{badPointer, invalid}},
	"unknown":                 {0xfff0, [6]uintptr{}},
	"unshare":                 {unix.SYS_UNSHARE, [6]uintptr{1}}, // no such flag
	"userfaultfd":             {unix.SYS_USERFAULTFD, [6]uintptr{invalid}},
}

func runSyscalls(context.Context, []string) (evidence.Set, error) {
	r := newRecord(syscallsOutputs())
	var unsupported, denied []string
	for _, name := range syscallNames {
		end, err := inChild([]rawCall{syscallTable[name]})
		if err != nil {
			return nil, fmt.Errorf("try %s: %w", name, err)
		}
		answer := end.name()
		switch answer {
		case "ENOSYS":
			unsupported = append(unsupported, name)
		case "EPERM", "EACCES":
			denied = append(denied, name)
		}
		r.put("errno."+name, answer, "syscall", name+"(2) with invalid arguments")
	}
	r.put("tried.count", len(syscallNames), "program", "table")
	r.put("supported.count", len(syscallNames)-len(unsupported), "syscall", "answers other than ENOSYS")
	r.put("unsupported", unsupported, "syscall", "answers ENOSYS")
	r.put("denied", denied, "syscall", "answers EPERM or EACCES")
	return r.result()
}

// name is the errno's or the signal's name.
func (e ended) name() string {
	if e.signal != 0 {
		return unix.SignalName(e.signal)
	}
	return symbol(e.errno)
}

func runSeccomp(_ context.Context, args []string) (evidence.Set, error) {
	mode, name, err := parseSeccomp(args)
	if err != nil {
		return nil, err
	}
	outputs, err := seccompOutputs(args)
	if err != nil {
		return nil, err
	}
	call := syscallTable[name]
	calls, keep := []rawCall{call}, []any{}
	if mode != "none" {
		filter := seccompFilter(uint32(call.number), map[string]uint32{
			"errno": unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM),
			"kill":  unix.SECCOMP_RET_KILL_PROCESS,
		}[mode])
		program := &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		keep = append(keep, filter, program)
		calls = slices.Insert(calls, 0,
			rawCall{unix.SYS_PRCTL, [6]uintptr{unix.PR_SET_NO_NEW_PRIVS, 1}},
			rawCall{unix.SYS_SECCOMP, [6]uintptr{unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(program))}},
		)
		// The filter must be accepted before its effect is evidence.
		end, err := inChild(calls[:2], keep...)
		if err != nil {
			return nil, err
		}
		if end.errno != 0 || end.signal != 0 {
			return nil, evidence.Untestablef("a seccomp filter can't be installed here: %s", end.name())
		}
	}
	end, err := inChild(calls, keep...)
	if err != nil {
		return nil, err
	}
	r := newRecord(outputs)
	ref := name + "(2) under filter " + mode
	signal := ""
	if end.signal != 0 {
		signal = unix.SignalName(end.signal)
	}
	r.put("errno", symbol(end.errno), "syscall", ref)
	r.put("signal", signal, "syscall", ref+", wait4(2)")
	r.put("killed", signal != "", "syscall", ref+", wait4(2)")
	return r.result()
}

// seccompFilter answers one system call with action and allows all others. It
// need not check the architecture: the calls under it are labprobe's own.
func seccompFilter(number, action uint32) []unix.SockFilter {
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: number, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: action},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
}
