package runtimes

import (
	"slices"
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

const (
	nodeVersion = "#1 SMP PREEMPT_DYNAMIC Debian 6.12.48-1"
	nodeBoot    = "0b9fd8a7-6f0c-4d27-9b5e-3d6a2c0d6f11"
)

// What look.sh prints for a Pod of each runtime.
var looks = map[string]string{
	Runc:     "type=io.containerd.runc.v2\ncomm=labprobe\nprogram=/labprobe\nshim=/usr/local/bin/containerd-shim-runc-v2\n",
	GVisor:   "type=io.containerd.runsc.v1\ncomm=exe\nprogram=runsc-sandbox\nshim=/usr/local/bin/containerd-shim-runsc-v1\n",
	WasmEdge: "type=io.containerd.runc.v2\ncomm=wasmedge\nprogram=[libcrun:wasmedge]\nshim=/usr/local/bin/containerd-shim-runc-v2\n",
}

// What labprobe reports from inside.
var insides = map[string]map[string]string{
	Runc:     {"go.os": "linux", "kernel.version": nodeVersion, "kernel.boot_id": nodeBoot},
	GVisor:   {"go.os": "linux", "kernel.version": "#1 SMP Sun Jan 10 15:06:54 PST 2016"},
	WasmEdge: {"go.os": "wasip1"},
}

func see(look, inside string) sighting {
	s := parseLook("release=6.12\nversion=" + nodeVersion + "\nboot_id=" + nodeBoot + "\n" + looks[look])
	for name, value := range insides[inside] {
		s.inside = append(s.inside, evidence.Value{Name: name, Type: evidence.String, Value: value})
	}
	return s
}

// Every runtime passes as itself and fails as each other one, by what is seen
// from the node and by what is reported from inside.
func TestJudge(t *testing.T) {
	for _, is := range Names {
		for _, says := range Names {
			t.Run(is+" that is called "+says, func(t *testing.T) {
				for side, s := range map[string]sighting{
					"both": see(is, is), "node": see(is, says), "inside": see(says, is),
				} {
					err := s.judge(says)
					if is == says && err != nil {
						t.Errorf("%s: %v", side, err)
					}
					if is != says && err == nil {
						t.Errorf("%s: it passes", side)
					}
				}
			})
		}
	}
}

// Each claim about gVisor turns when the handler is plain runc.
func TestJudgeGVisorThatIsRunc(t *testing.T) {
	err := see(Runc, Runc).judge(GVisor)
	for _, want := range []string{
		`containerd ran it with "io.containerd.runc.v2"`,
		`child of "containerd-shim-runc-v2"`,
		"the kernel inside is the node's",
		"the boot id inside is the node's",
		`"/labprobe", not runsc-sandbox`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
}

// runwasi's own shim stands for WasmEdge too, but only with a module inside.
func TestJudgeRunwasi(t *testing.T) {
	s := parseLook("type=io.containerd.wasmedge.v1\ncomm=labprobe.wasm\nshim=/opt/bin/containerd-shim-wasmedge-v1\n")
	s.inside = see(WasmEdge, WasmEdge).inside
	if err := s.judge(WasmEdge); err != nil {
		t.Error(err)
	}
	s.inside = see(Runc, Runc).inside
	if s.judge(WasmEdge) == nil {
		t.Error("a Linux program passes for a module")
	}
}

func TestJudgeNothingSeen(t *testing.T) {
	for _, runtime := range append(slices.Clone(Names), "other") {
		if (sighting{}).judge(runtime) == nil {
			t.Errorf("%s is proved by nothing", runtime)
		}
	}
}

func TestTellJournal(t *testing.T) {
	const pod = "labctl-proof-gvisor-x"
	long := "level=error pod=" + pod + " " + strings.Repeat("usage ", 200) + "the cause"
	for name, c := range map[string]struct {
		journal string
		want    []string
	}{
		"about the Pod first": {
			"level=info msg=" + pod + "\nlevel=error msg=other\nlevel=error msg=" + pod + "\n",
			[]string{"level=error msg=" + pod}},
		"else any error": {"level=info msg=x\nlevel=error msg=other\n", []string{"level=error msg=other"}},
		"nothing":        {"", nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tellJournal(c.journal, pod); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if got := tellJournal(long, pod); len(got) != 1 || len(got[0]) > 700 || !strings.HasSuffix(got[0], "the cause") {
		t.Errorf("a long line is not shortened to its ends: %q", got)
	}
}

// Where the node is out of reach, a Pod's own report tells the runtimes apart
// by what the API says of the node's kernel.
func TestJudgeInside(t *testing.T) {
	inside := map[string]map[string]string{
		Runc:     {"go.os": "linux", "kernel.release": "6.12", "kernel.boot_id": nodeBoot},
		GVisor:   {"go.os": "linux", "kernel.release": "4.4.0"},
		WasmEdge: {"go.os": "wasip1"},
	}
	for _, is := range Names {
		for _, says := range Names {
			var s sighting
			s.node.release, s.node.bootID, s.unseen = "6.12", nodeBoot, "node a is another machine"
			for name, value := range inside[is] {
				s.inside = append(s.inside, evidence.Value{Name: name, Type: evidence.String, Value: value})
			}
			if err := s.judgeInside(says); (err == nil) != (is == says) {
				t.Errorf("%s that is called %s: %v", is, says, err)
			}
			if !strings.Contains(s.String(), "seen from inside only: node a is another machine") {
				t.Error(s)
			}
		}
	}
}
