package pod

import (
	"os"
	"strings"
	"testing"
	"time"
)

const fixtureUID = "0f1e2d3c-0000-4000-8000-00000000000a"

// The fixtures have the form of side.sh's output on a node with cgroup v1, with
// few processes; another Pod's labprobe runs beside the one that is looked for.
func fixture(t *testing.T, name string) side {
	t.Helper()
	s, err := parseSide(readFixture(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func readFixture(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSideValues(t *testing.T) {
	cgroup := "/kubelet/kubepods/besteffort/pod" + fixtureUID + "/cccccccc"
	for _, c := range []struct {
		name string
		want map[string]any
	}{
		{"runc", map[string]any{
			"node.runtime": "io.containerd.runc.v2", "node.shim": "containerd-shim-runc-v2",
			"node.process.comm": "labprobe", "node.process.exe": "labprobe", "node.process.seccomp": int64(2), "node.process.rss": "4000Ki",
			"node.sandbox.comm": []string{"labprobe", "pause"}, "node.gofer": false, "node.app_visible": true,
			"node.cgroup": cgroup, "node.cgroup.pod": true,
			"node.rss": "14500Ki", "node.pss": "9400Ki", "node.shim.rss": "10000Ki",
		}},
		{"gvisor", map[string]any{
			"node.runtime": "io.containerd.runsc.v1", "node.shim": "containerd-shim-runsc-v1",
			"node.process.comm": "exe", "node.process.exe": "runsc", "node.process.seccomp": int64(2),
			"node.sandbox.comm": []string{"exe", "exe", "exe"}, "node.sandbox.argv0": []string{"runsc-gofer", "runsc-sandbox"}, "node.gofer": true, "node.app_visible": false,
			"node.rss": "52500Ki",
		}},
		{"wasmedge", map[string]any{
			"node.runtime": "io.containerd.runc.v2", "node.shim": "containerd-shim-runc-v2",
			"node.process.comm": "wasmedge", "node.process.exe": "crun", "node.process.seccomp": int64(0),
			"node.sandbox.comm": []string{"pause", "wasmedge"}, "node.gofer": false, "node.app_visible": false,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, err := sideValues(fixture(t, c.name), fixtureUID)
			if err != nil {
				t.Fatal(err)
			}
			wantValues(t, set, c.want)
			if len(set) != len(sideOutputs) {
				t.Errorf("%d values, %d declared", len(set), len(sideOutputs))
			}
		})
	}
	t.Run("another Pod's cgroup", func(t *testing.T) {
		set, err := sideValues(fixture(t, "runc"), "another-uid")
		if err != nil {
			t.Fatal(err)
		}
		wantValues(t, set, map[string]any{"node.cgroup.pod": false})
	})
	t.Run("no shim", func(t *testing.T) {
		s := fixture(t, "runc")
		for i, p := range s.processes {
			if p.isShim() {
				s.processes[i].argv = []string{"/usr/bin/sh"}
			}
		}
		_, err := sideValues(s, fixtureUID)
		wantError(t, "process 440 (labprobe) is below no containerd-shim", err)
	})
	t.Run("parents in a circle", func(t *testing.T) {
		s := fixture(t, "runc")
		for i, p := range s.processes {
			if p.isShim() {
				s.processes[i].ppid, s.processes[i].argv = 440, nil
			}
		}
		_, err := sideValues(s, fixtureUID)
		wantError(t, "is below no containerd-shim", err)
	})
	t.Run("process gone", func(t *testing.T) {
		s := fixture(t, "runc")
		s.pid = 441
		_, err := sideValues(s, fixtureUID)
		wantError(t, "no process any more", err)
	})
}

func TestParseSide(t *testing.T) {
	s := fixture(t, "ended")
	at := func(nano int64) time.Time { return time.Unix(1700000000, nano) }
	if !s.clock.Equal(at(1e9)) || !s.times.sandbox.Equal(at(3e8)) || !s.times.created.Equal(at(61e7)) ||
		!s.times.started.Equal(at(7e8)) || !s.times.finished.Equal(at(9e8)) || s.pid != 0 {
		t.Errorf("%+v", s)
	}
	if !fixture(t, "runc").times.finished.IsZero() {
		t.Error("a running container has an end")
	}
	whole := readFixture(t, "ended")
	for _, c := range []struct{ name, out, err string }{
		{"nothing", "", "the node's clock"},
		{"no record", strings.Replace(whole, "@sandbox", "@other", 1), "containerd's sandbox"},
		{"another version", strings.Replace(whole, `"v1"`, `"v9"`, 1), `version "v9"`},
		{"no processes", whole + "@processes\n", "no processes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := parseSide(c.out)
			wantError(t, c.err, err)
		})
	}
}

// cgroup v2 has one line; on v1 the memory controller's counts, wherever it
// stands. What isn't a process is passed over.
func TestParseProcesses(t *testing.T) {
	for _, c := range []struct{ name, cgroup, want string }{
		{"unified", "7/cgroup:0::/kubelet.slice/x\n", "/kubelet.slice/x"},
		{"v1", "7/cgroup:0::/\n7/cgroup:9:memory:/m\n7/cgroup:8:cpu,cpuacct:/c\n", "/m"},
		{"v1, another order", "7/cgroup:9:memory:/m\n7/cgroup:0::/\n", "/m"},
		{"shared controllers", "7/cgroup:9:cpu,memory:/m\n", "/m"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := parseProcesses("garbage\nself/cgroup:0::/x\n9/exe:/gone\n7/cmdline:a\x00b c\x00\n7/exe:/bin/a (deleted)\n" + c.cgroup + "7/status:Name:\ta\n7/status:PPid:\t3\n")
			if len(got) != 1 || got[0].cgroup != c.want || got[0].ppid != 3 || got[0].exe != "/bin/a" || len(got[0].argv) != 2 {
				t.Errorf("%+v", got)
			}
		})
	}
}
