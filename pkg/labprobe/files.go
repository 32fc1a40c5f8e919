package labprobe

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// fileCommands ask which files a process reaches.
var fileCommands = []Command{{
	Name: "files", Usage: "[--inside PATH] [--outside PATH]", Doc: "whether a path inside and a path outside of what was granted can be read",
	Outputs: filesOutputs, Run: runFiles,
}}

type filesOptions struct{ inside, outside string }

func parseFiles(args []string) (filesOptions, error) {
	var o filesOptions
	f := newFlags()
	f.StringVar(&o.inside, "inside", "", "path that should be readable")
	f.StringVar(&o.outside, "outside", "", "path that should not be readable")
	if err := parseFlags(f, args); err != nil {
		return o, err
	}
	if o.inside == "" && o.outside == "" {
		return o, fmt.Errorf("files wants --inside PATH, --outside PATH or both")
	}
	return o, nil
}

func (o filesOptions) paths() map[string]string {
	paths := map[string]string{}
	if o.inside != "" {
		paths["inside"] = o.inside
	}
	if o.outside != "" {
		paths["outside"] = o.outside
	}
	return paths
}

func filesOutputs(args []string) ([]evidence.Output, error) {
	o, err := parseFiles(args)
	if err != nil {
		return nil, err
	}
	var outputs []evidence.Output
	for which := range o.paths() {
		outputs = append(outputs,
			evidence.Output{Name: which + ".readable", Type: evidence.Bool, Doc: "whether the path can be opened and read"},
			evidence.Output{Name: which + ".errno", Type: evidence.String, Doc: "error's name, empty where readable"},
			evidence.Output{Name: which + ".content", Type: evidence.String, Doc: "first 4096 bytes of a file; of a directory, nothing"},
		)
	}
	return outputs, nil
}

func runFiles(_ context.Context, args []string) (evidence.Set, error) {
	o, err := parseFiles(args)
	if err != nil {
		return nil, err
	}
	outputs, err := filesOutputs(args)
	if err != nil {
		return nil, err
	}
	r := newRecord(outputs)
	for which, path := range o.paths() {
		content, err := readStart(path)
		r.put(which+".readable", err == nil, "syscall", "open and read "+path)
		r.put(which+".errno", errnoName(err), "syscall", "open and read "+path)
		r.put(which+".content", content, "file", path)
	}
	return r.result()
}

// readStart reads the first 4096 bytes of a file, or looks into a directory.
func readStart(path string) (string, error) {
	f, err := open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // was only read
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if info.IsDir() {
		_, err := f.ReadDir(1)
		if errors.Is(err, io.EOF) { // empty, but readable
			err = nil
		}
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	return string(b), err
}
