package labprobe

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

const (
	kernelLogUsage = "--match TEXT"
	tracingUsage   = "[--event SYSTEM:EVENT]… [--symbol NAME]…"
)

func kernelLogOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseKernelLog(args); err != nil {
		return nil, err
	}
	return []evidence.Output{
		{Name: "log.lines", Type: evidence.Int, Unit: "count", Doc: "lines in the kernel's log"},
		{Name: "log.whole", Type: evidence.Bool, Doc: "the log still holds the first line of the boot"},
		{Name: "log.matches", Type: evidence.Int, Unit: "count", Doc: "lines that hold the text anywhere, as grep finds it"},
		{Name: "log.words", Type: evidence.Int, Unit: "count", Doc: "lines that hold the text as a word, as grep -w finds it"},
		{Name: "log.first", Type: evidence.String, Doc: "the first line that matches; empty if none does"},
	}, nil
}

func parseKernelLog(args []string) (match string, err error) {
	f := newFlags()
	f.StringVar(&match, "match", "", "")
	if err := f.Parse(args); err != nil {
		return "", err
	}
	if match == "" || f.NArg() > 0 {
		return "", fmt.Errorf("kernel-log wants %s; got %q", kernelLogUsage, args)
	}
	return match, nil
}

// measureKernelLog counts in the text of the log.
func measureKernelLog(args []string, log []byte) (evidence.Set, error) {
	match, err := parseKernelLog(args)
	if err != nil {
		return nil, err
	}
	outputs, err := kernelLogOutputs(args)
	if err != nil {
		return nil, err
	}
	all := lines(log)
	var hits []string
	words := 0
	for _, line := range all {
		if !strings.Contains(line, match) {
			continue
		}
		hits = append(hits, line)
		if hasWord(line, match) {
			words++
		}
	}
	r := newRecord(outputs)
	const ref = "syslog(2) SYSLOG_ACTION_READ_ALL"
	r.put("log.lines", len(all), "syscall", ref)
	r.put("log.whole", len(all) > 0 && strings.Contains(all[0], "Linux version"), "syscall", ref)
	r.put("log.matches", len(hits), "syscall", ref)
	r.put("log.words", words, "syscall", ref)
	r.put("log.first", strings.Join(hits[:min(len(hits), 1)], ""), "syscall", ref)
	return r.result()
}

// hasWord finds text that has no letter, digit or underscore on either side.
func hasWord(line, word string) bool {
	for from := 0; ; {
		i := strings.Index(line[from:], word)
		if i < 0 {
			return false
		}
		start, end := from+i, from+i+len(word)
		if !wordByte(line, start-1) && !wordByte(line, end) {
			return true
		}
		from = start + 1
	}
}

func wordByte(s string, i int) bool {
	if i < 0 || i >= len(s) {
		return false
	}
	c := s[i]
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func tracingOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseTracing(args); err != nil {
		return nil, err
	}
	return []evidence.Output{
		{Name: "tracing.kprobes", Type: evidence.Bool, Doc: "the kernel can probe its functions (CONFIG_KPROBE_EVENTS); absent if no event was asked for"},
		{Name: "tracing.systems", Type: evidence.Int, Unit: "count", Doc: "groups of tracepoints; absent if no event was asked for"},
		{Name: "events.present", Type: evidence.List, Doc: "the tracepoints asked for that exist"},
		{Name: "events.absent", Type: evidence.List, Doc: "the tracepoints asked for that don't exist"},
		{Name: "symbols.present", Type: evidence.List, Doc: "the kernel symbols asked for that exist"},
		{Name: "symbols.absent", Type: evidence.List, Doc: "the kernel symbols asked for that don't exist"},
	}, nil
}

type tracingArgs struct{ events, symbols []string }

func parseTracing(args []string) (tracingArgs, error) {
	var t tracingArgs
	f := newFlags()
	f.Func("event", "", func(s string) error {
		system, event, ok := strings.Cut(s, ":")
		if !ok || system == "" || event == "" || !fs.ValidPath(system+"/"+event) || strings.Count(s, "/") > 0 {
			return fmt.Errorf("want %s, got %q", tracingUsage, s)
		}
		t.events = append(t.events, s)
		return nil
	})
	f.Func("symbol", "", func(s string) error {
		t.symbols = append(t.symbols, s)
		return nil
	})
	if err := f.Parse(args); err != nil {
		return t, err
	}
	if f.NArg() > 0 || len(t.events)+len(t.symbols) == 0 {
		return t, fmt.Errorf("tracing wants %s; got %q", tracingUsage, args)
	}
	return t, nil
}

// measureTracing looks events up in a tracefs and symbols in the text of
// /proc/kallsyms.
func measureTracing(args []string, tracefs fs.FS, kallsyms []byte) (evidence.Set, error) {
	t, err := parseTracing(args)
	if err != nil {
		return nil, err
	}
	outputs, err := tracingOutputs(args)
	if err != nil {
		return nil, err
	}
	r := newRecord(outputs)
	if len(t.events) > 0 {
		r.put("tracing.kprobes", exists(tracefs, "kprobe_events"), "file", "tracefs kprobe_events")
		r.put("tracing.systems", countDirs(tracefs, "events"), "file", "tracefs events")
	}
	known := map[string]bool{}
	for line := range strings.Lines(string(kallsyms)) {
		// ADDRESS TYPE NAME [MODULE]
		if f := strings.Fields(line); len(f) >= 3 {
			known[f[2]] = true
		}
	}
	lookUp := func(what string, asked []string, ref string, has func(string) bool) {
		present, absent := []string{}, []string{}
		for _, name := range asked {
			if has(name) {
				present = append(present, name)
			} else {
				absent = append(absent, name)
			}
		}
		r.put(what+".present", present, "file", ref)
		r.put(what+".absent", absent, "file", ref)
	}
	lookUp("events", t.events, "tracefs events", func(e string) bool {
		return exists(tracefs, "events/"+strings.Replace(e, ":", "/", 1))
	})
	lookUp("symbols", t.symbols, "/proc/kallsyms", func(s string) bool { return known[s] })
	return r.result()
}

func countDirs(tree fs.FS, dir string) int {
	entries, err := fs.ReadDir(tree, dir)
	if err != nil {
		return 0
	}
	return len(slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return !e.IsDir() }))
}
