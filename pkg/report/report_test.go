package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/report"
	"github.com/isolation-stack/labctl/pkg/verify/result"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; if that is meant, run: go test ./pkg/report -update\ngot:\n%s", path, got)
	}
}

// example has a claim of every outcome, and text that reports must tame.
func example() result.Result {
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	exit := 0
	source := lab.Source{Path: "29/layers.md", Heading: "2.1", Line: 42, SHA256: strings.Repeat("a", 64)}
	text := func(en, zh string) *lab.Text { return &lab.Text{EN: en, ZH: zh} }
	return result.Result{
		APIVersion: lab.APIVersion, Kind: result.Kind, Labctl: "v0.1.0", Started: began, Finished: began.Add(90 * time.Second),
		Host: result.Host{OS: "linux", Arch: "amd64", Kernel: "6.18.0", CPUs: 2, Memory: 25 << 30},
		Cluster: &result.Cluster{Version: "v1.37.2", RuntimeClasses: map[string]string{"gvisor": "gvisor"},
			Nodes: []result.Node{{Name: "labctl-control-plane", Kernel: "6.18.0", OS: "Debian", Runtime: "containerd://2.1.4"}}},
		Labs: []result.Lab{{
			Name: "containers", Title: lab.Text{EN: "Containers", ZH: "容器"}, Document: "29/layers.md", Layer: lab.L3, Seconds: 61.5,
			Claims: []result.Claim{{
				ID: "29-2", Layer: lab.L3, Statement: lab.Text{EN: "A container runs on the kernel of its node.", ZH: "容器运行在节点的内核上。"},
				Source: source, Verdict: lab.Confirmed, Expected: lab.Confirmed, OK: true, Seconds: 1.25,
				Decide: "runc.kernel.release == node.kernel.release", Show: []string{"runc.kernel.release"},
				Evidence: evidence.Set{
					{Name: "runc.kernel.release", Type: evidence.String, Value: "6.18.0", Source: evidence.Source{Kind: "syscall", Ref: "uname(2)", Where: "pod/runc"}},
					{Name: "node.kernel.release", Type: evidence.String, Value: "6.18.0", Source: evidence.Source{Kind: "syscall", Ref: "uname(2)", Where: "node/labctl-control-plane"}},
				},
			}, {
				ID: "29-3", Layer: lab.L3, Statement: lab.Text{EN: "Starting takes < 10 ms | always.", ZH: "启动总是 < 10 毫秒。"},
				Source: source, Verdict: lab.Refuted, Expected: lab.Confirmed, Seconds: 3,
				Decide: "runc.start < duration(\"10ms\") &&\n  runc.ratio < 1.0",
				Evidence: evidence.Set{
					{Name: "runc.start", Type: evidence.Duration, Value: 182443 * time.Microsecond, Source: evidence.Source{Kind: "clock", Ref: "CLOCK_MONOTONIC", Where: "node/n"}},
					{Name: "runc.ratio", Type: evidence.Double, Value: 1.23456, Unit: "1", Source: evidence.Source{Kind: "program", Ref: "mean"}},
					{Name: "runc.version", Type: evidence.String, Value: "runc version 1.1.15\ncommit: \x1b[31mred\x1b[0m and more that is too long for a cell", Source: evidence.Source{Kind: "command", Ref: "runc --version", Exit: &exit}},
					{Name: "runc.memory", Type: evidence.Quantity, Value: "64Mi", Unit: "bytes", Source: evidence.Source{Kind: "file", Ref: "/sys/fs/cgroup/memory.current"}},
				},
			}, {
				ID: "29-4", Layer: lab.L3, Statement: lab.Text{EN: "Namespaces hide the host.", ZH: "命名空间隐藏主机。"},
				Source: source, Expected: lab.Confirmed, Error: "probe runc (pod): the Pod didn't start: ImagePullBackOff\nlast event: pull \x1b[31mfailed", Seconds: 60,
			}, {
				ID: "29-1", Layer: lab.L0, Statement: lab.Text{EN: "The CPU traps privileged instructions.", ZH: "CPU 捕获特权指令。"},
				Source: source, Verdict: lab.Untestable, Expected: lab.Confirmed, OK: true, Reason: text("no /dev/kvm on this host", "本机没有 /dev/kvm"),
			}},
		}, {
			Name: "sandboxes", Title: lab.Text{EN: "Sandboxes", ZH: "沙箱"}, Document: "29/sandboxes.md", Layer: lab.L4, Seconds: 12,
			Error: "cleaning up namespace labctl-sandboxes: forbidden",
			Claims: []result.Claim{{
				ID: "29-5", Layer: lab.L4, Statement: lab.Text{EN: "A sandbox has no kernel of its own.", ZH: "沙箱没有自己的内核。"},
				Source: source, Verdict: lab.Refuted, Expected: lab.Refuted, OK: true, Truth: text("The Sentry is a kernel in user space.", "Sentry 是用户态内核。"), Seconds: 2,
				Evidence: evidence.Set{{Name: "gvisor.kernel.release", Type: evidence.String, Value: "4.4.0", Source: evidence.Source{Kind: "file", Ref: "/proc/version", Where: "pod/gvisor"}}},
			}, {
				ID: "29-6", Layer: lab.L4, Statement: lab.Text{EN: "Modules start faster.", ZH: "模块启动更快。"},
				Source: source, Verdict: lab.Inconclusive, Expected: lab.Confirmed, Reason: text("the runs differ by more than the means", "各次运行的差异大于均值之差"), Decide: "a.mean < b.mean",
			}, {
				ID: "29-7", Layer: lab.L4, Statement: lab.Text{EN: "Sandboxes migrate.", ZH: "沙箱可迁移。"},
				Source: source, Verdict: lab.Planned, Expected: lab.Planned, OK: true, Reason: text("needs two hosts", "需要两台主机"),
			}, {
				ID: "29-8", Layer: lab.L4, Statement: lab.Text{EN: "Sandboxes are small.", ZH: "沙箱很小。"}, Source: source, Expected: lab.Confirmed,
			}},
		}},
		Interrupted: true,
	}
}

func TestReports(t *testing.T) {
	r := example()
	golden(t, "table.txt", report.Table(r, report.Options{}))
	golden(t, "table-color.txt", report.Table(r, report.Options{Color: true}))
	golden(t, "table-zh.txt", report.Table(r, report.Options{Language: report.Chinese}))
	one := r
	one.Labs = r.Labs[:1]
	golden(t, "table-lab.txt", report.Table(one, report.Options{}))
	golden(t, "wide.txt", report.Wide(r, report.Options{}))
	golden(t, "wide-zh.txt", report.Wide(r, report.Options{Language: report.Chinese}))
	golden(t, "markdown.md", report.Markdown(r, report.Options{}))
	junit, err := report.JUnit(r)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "junit.xml", junit)
	for _, format := range []string{"json", "yaml"} {
		b, err := report.Write(format, r, report.Options{})
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "result."+format, b)
	}
}

func TestFormats(t *testing.T) {
	for _, format := range report.Formats {
		if b, err := report.Write(format, example(), report.Options{}); err != nil || len(b) == 0 {
			t.Errorf("%s: %v", format, err)
		}
	}
	_, err := report.Write("xml", example(), report.Options{})
	if err == nil || err.Error() != `unknown format "xml"; write one of table, wide, json, yaml, markdown` {
		t.Errorf("got %v", err)
	}
}

// TestDataComesBack proves that nothing is lost in what machines read.
func TestDataComesBack(t *testing.T) {
	r := example()
	data, err := report.Data("json", r)
	if err != nil {
		t.Fatal(err)
	}
	text, err := report.Data("yaml", r)
	if err != nil {
		t.Fatal(err)
	}
	fromYAML, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"json": data, "yaml": fromYAML} {
		if back, err := result.Read(b); err != nil || !reflect.DeepEqual(back, r) {
			t.Errorf("%s: %v\n%+v", name, err, back)
		}
	}
	for _, wrong := range []string{"", "[]", `{"apiVersion": "v1", "kind": "Pod"}`} {
		if _, err := result.Read([]byte(wrong)); err == nil {
			t.Errorf("%q was read as a result", wrong)
		}
	}
}

func TestJUnitCounts(t *testing.T) {
	b, err := report.JUnit(example())
	if err != nil {
		t.Fatal(err)
	}
	var suites struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
		Skipped  int `xml:"skipped,attr"`
	}
	if err := xml.Unmarshal(b, &suites); err != nil {
		t.Fatal(err)
	}
	// Failures: 29-3 and 29-6; errors: 29-4 and a lab; skipped: untestable, planned and not run.
	if suites.Tests != 9 || suites.Failures != 2 || suites.Errors != 2 || suites.Skipped != 3 {
		t.Errorf("%+v", suites)
	}
}

func TestEmpty(t *testing.T) {
	r := result.Result{APIVersion: lab.APIVersion, Kind: result.Kind, Labs: []result.Lab{}}
	for _, format := range report.Formats {
		if _, err := report.Write(format, r, report.Options{}); err != nil {
			t.Errorf("%s: %v", format, err)
		}
	}
}

// TestGuide writes one guide in every format and language.
func TestGuide(t *testing.T) {
	labs, problems := lab.Catalogue(os.DirFS("../lab/testdata/catalogue"))
	if problems.Err() != nil {
		t.Fatal(problems)
	}
	for name, c := range map[string]struct {
		format string
		o      report.Options
	}{
		"guide.txt":       {"text", report.Options{}},
		"guide-zh.txt":    {"text", report.Options{Language: report.Chinese}},
		"guide-color.txt": {"text", report.Options{Color: true}},
		"guide.md":        {"markdown", report.Options{}},
		"guide.zh.md":     {"markdown", report.Options{Language: report.Chinese}},
	} {
		b, err := report.Guide(c.format, labs[0], c.o)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, b)
	}
	if _, err := report.Guide("json", labs[0], report.Options{}); err == nil || err.Error() != `unknown format "json"; write one of text, markdown` {
		t.Errorf("got %v", err)
	}
}

func TestNoControlCharacters(t *testing.T) {
	for _, format := range []string{"table", "wide", "markdown"} {
		b, err := report.Write(format, example(), report.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if bytes.ContainsRune(b, 0x1b) {
			t.Errorf("%s lets evidence write escapes to the terminal", format)
		}
	}
}

func TestLabs(t *testing.T) {
	labs, problems := lab.Catalogue(os.DirFS("../lab/testdata/catalogue"))
	if problems.Err() != nil {
		t.Fatal(problems)
	}
	golden(t, "list.txt", report.List(labs, report.Options{}))
	golden(t, "list-zh.txt", report.List(labs, report.Options{Language: report.Chinese}))
	golden(t, "show.txt", report.Show(labs[0], report.Options{}))
	b, err := report.Data("json", labs)
	if err != nil {
		t.Fatal(err)
	}
	var back []lab.Lab
	if err := json.Unmarshal(b, &back); err != nil || len(back) != 1 || len(back[0].Spec.Claims) != 3 {
		t.Errorf("%v, %+v", err, back)
	}
}
