package labprobe

import (
	"context"
	"os"
	"runtime"
	"strings"
	"syscall"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// wasiCommands try what WASI grants by capability and Linux by permission.
// The same command runs native too, as the counter-case.
var wasiCommands = []Command{{
	Name: "wasi", Usage: "[--open PATH]", Doc: "what the program's host grants and refuses: files, sockets, processes",
	Outputs: wasiOutputs, Run: runWASI,
}}

func parseWASI(args []string) (path string, err error) {
	f := newFlags()
	f.StringVar(&path, "open", "/etc/hostname", "path to open by its name")
	return path, parseFlags(f, args)
}

func wasiOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseWASI(args); err != nil {
		return nil, err
	}
	return []evidence.Output{
		{Name: "go.os", Type: evidence.String, Doc: "GOOS that labprobe was built for"},
		{Name: "args.count", Type: evidence.Int, Unit: "count", Doc: "arguments, the program's name among them"},
		{Name: "env.count", Type: evidence.Int, Unit: "count", Doc: "environment variables"},
		{Name: "preopens", Type: evidence.List, Doc: "directories that the host opened beforehand; Linux has none"},
		{Name: "preopens.count", Type: evidence.Int, Unit: "count", Doc: "how many"},
		{Name: "open.denied", Type: evidence.Bool, Doc: "whether opening the path by name failed"},
		{Name: "open.errno", Type: evidence.String, Doc: "error's name, empty where it worked"},
		{Name: "escape.denied", Type: evidence.Bool, Doc: "whether leaving an open directory by ../ failed"},
		{Name: "escape.errno", Type: evidence.String, Doc: "error's name, empty where it worked"},
		{Name: "socket.available", Type: evidence.Bool, Doc: "whether a TCP socket can be made"},
		{Name: "socket.errno", Type: evidence.String, Doc: "error's name, empty where it worked"},
		{Name: "exec.available", Type: evidence.Bool, Doc: "whether a process can be started"},
		{Name: "exec.errno", Type: evidence.String, Doc: "error's name, empty where it worked"},
	}, nil
}

// climb goes up further than any directory is deep; on Linux .. of the root
// is the root.
var climb = strings.Repeat("../", 32)

func runWASI(_ context.Context, args []string) (evidence.Set, error) {
	path, err := parseWASI(args)
	if err != nil {
		return nil, err
	}
	outputs, err := wasiOutputs(args)
	if err != nil {
		return nil, err
	}
	r := newRecord(outputs)
	r.put("go.os", runtime.GOOS, "program", "runtime.GOOS")
	r.put("args.count", len(os.Args), "program", "args_get")
	r.put("env.count", len(os.Environ()), "program", "environ_get")
	preopens := preopens()
	r.put("preopens", preopens, "syscall", "fd_prestat_get, fd_prestat_dir_name")
	r.put("preopens.count", len(preopens), "syscall", "fd_prestat_get")
	_, err = readStart(path)
	r.put("open.denied", err != nil, "syscall", "open "+path)
	r.put("open.errno", errnoName(err), "syscall", "open "+path)
	ref, err := escape()
	r.put("escape.denied", err != nil, "syscall", ref)
	r.put("escape.errno", errnoName(err), "syscall", ref)
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		_ = syscall.Close(fd) // nothing was sent
	}
	r.put("socket.available", err == nil, "syscall", socketCall)
	r.put("socket.errno", errnoName(err), "syscall", socketCall)
	err = startSelf()
	r.put("exec.available", err == nil, "syscall", execCall)
	r.put("exec.errno", errnoName(err), "syscall", execCall)
	return r.result()
}

// startSelf starts this program once more and lets it say hello.
func startSelf() error {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	var files []*os.File
	if err == nil {
		defer func() { _ = null.Close() }() // nothing was written
		files = []*os.File{null, null, null}
	}
	p, err := os.StartProcess(self, []string{self, "hello"}, &os.ProcAttr{Files: files})
	if err != nil {
		return err
	}
	_, err = p.Wait()
	return err
}
