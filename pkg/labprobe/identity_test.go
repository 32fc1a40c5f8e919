package labprobe

import (
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

func fileOf(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }

func linkTo(to string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink}
}

// container is what a process sees of /proc in a container that shares the
// node's kernel, and sandboxed what it sees where another kernel answers.
var (
	container = fstest.MapFS{
		"proc/self":                      linkTo("7"),
		"proc/version":                   fileOf("Linux version 6.12.1 (gcc) #1 SMP\n"),
		"proc/sys/kernel/random/boot_id": fileOf("11111111-2222-3333-4444-555555555555\n"),
		"proc/sys/kernel/cap_last_cap":   fileOf("40\n"),
		"proc/sys/net/ipv4/tcp_ecn":      fileOf("2\n"),
		"proc/sys/net/ipv4/conf/all/rp":  fileOf("0\n"),
		"proc/modules":                   fileOf(""),
		"proc/1/comm":                    fileOf("pause\n"),
		"proc/7/comm":                    fileOf("labprobe\n"),
		"proc/8/comm":                    fileOf("labprobe\n"),
		"proc/7/ns/pid":                  linkTo("pid:[4026532200]"),
		"proc/7/ns/pid_for_children":     linkTo("pid:[4026532200]"),
		"proc/7/ns/mnt":                  linkTo("mnt:[4026532201]"),
		"proc/7/ns/future":               linkTo("future:[1]"),
		"proc/7/status":                  fileOf("Name:\tlabprobe\nUid:\t0\t0\t0\t0\nCapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n"),
		"proc/7/uid_map":                 fileOf("         0          0 4294967295\n"),
		"proc/7/cgroup":                  fileOf("0::/kubepods/pod1\n"),
		"proc/7/mountinfo":               fileOf("1 0 0:1 / / rw - overlay overlay rw\n2 1 0:2 / /proc rw shared:1 - proc proc rw\n3 1 0:3 / / rw - ext4 /dev/sda rw\nnonsense\n"),
		"proc/net/dev":                   fileOf("Inter-|   Receive\n face |bytes\n    lo: 0 0\n  eth0: 1 2\n"),
		"proc/filesystems":               fileOf("nodev\tproc\n\text4\n"),
	}
	sandboxed = fstest.MapFS{
		"proc/self":     linkTo("1"),
		"proc/version":  fileOf("Linux version 4.4.0 #1 SMP\n"),
		"proc/1/comm":   fileOf("labprobe\n"),
		"proc/1/status": fileOf("Name:\tlabprobe\nUid:\t0\t0\t0\t0\nCapEff:\t0\nCapBnd:\t0\nSeccomp:\t0\n"),
	}
	nothing = fstest.MapFS{}
)

// resolve turns /proc/self into the process's own folder: MapFS follows a
// link only at the end of a path.
func resolve(t *testing.T, tree fstest.MapFS) fs.FS {
	t.Helper()
	self, ok := tree["proc/self"]
	if !ok {
		return tree
	}
	out := fstest.MapFS{}
	for name, f := range tree {
		out[name] = f
		if rest, ok := strings.CutPrefix(name, "proc/"+string(self.Data)+"/"); ok {
			out["proc/self/"+rest] = f
		}
	}
	delete(out, "proc/self")
	return out
}

func TestIdentityFromFiles(t *testing.T) {
	for _, c := range []struct {
		name   string
		tree   fstest.MapFS
		want   map[string]any
		absent []string
	}{
		{"container", container, map[string]any{
			"kernel.proc_version": "Linux version 6.12.1 (gcc) #1 SMP",
			"kernel.boot_id":      "11111111-2222-3333-4444-555555555555",
			"kernel.modules":      true,
			"proc.count":          int64(3),
			"proc.comms":          []string{"labprobe", "pause"},
			"proc.first":          "pause",
			"ns.count":            int64(3),
			"ns.kinds":            []string{"future", "mnt", "pid"},
			"ns.pid":              "pid:[4026532200]",
			"uid":                 int64(0),
			"uid.map":             []string{"0 0 4294967295"},
			"cap.effective":       "00000000a80425fb",
			"cap.effective.count": int64(14),
			"cap.last":            int64(40),
			"seccomp.mode":        int64(2),
			"seccomp.filters":     int64(1),
			"no_new_privs":        true,
			"net.interfaces":      []string{"eth0", "lo"},
			"net.sysctls":         int64(1),
			"rootfs.type":         "ext4", // the last mount on / covers the first
			"mounts.count":        int64(3),
			"mounts.types":        []string{"ext4", "overlay", "proc"},
			"cgroup.paths":        []string{"0::/kubepods/pod1"},
			"filesystems.count":   int64(2),
		}, []string{"ns.net"}},
		{"sandbox with another kernel", sandboxed, map[string]any{
			"kernel.proc_version": "Linux version 4.4.0 #1 SMP",
			"kernel.modules":      false,
			"proc.count":          int64(1),
			"proc.first":          "labprobe",
			"seccomp.mode":        int64(0),
			"cap.effective.count": int64(0),
		}, []string{"kernel.boot_id", "no_new_privs", "ns.count", "net.interfaces", "rootfs.type"}},
		{"nothing granted", nothing, nil, []string{"kernel.proc_version", "kernel.modules", "proc.count", "uid"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRecord(identityOutputs)
			identityFromFiles(r, resolve(t, c.tree))
			set, err := r.result()
			if err != nil {
				t.Fatal(err)
			}
			check(t, set, c.want, c.absent)
		})
	}
}

// check compares some values of a set, and that others aren't there.
func check(t *testing.T, set evidence.Set, want map[string]any, absent []string) {
	t.Helper()
	for name, w := range want {
		v, ok := set.Get(name)
		if !ok || !reflect.DeepEqual(v.Value, w) {
			t.Errorf("%s = %#v, want %#v", name, v.Value, w)
		}
		if ok && (v.Source.Kind == "" || v.Source.Ref == "") {
			t.Errorf("%s doesn't say where it comes from", name)
		}
	}
	for _, name := range absent {
		if v, ok := set.Get(name); ok {
			t.Errorf("%s = %#v, want it absent", name, v.Value)
		}
	}
}
