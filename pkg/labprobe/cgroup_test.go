package labprobe

import (
	"errors"
	"testing"
	"testing/fstest"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

var (
	// v1Pod is a node's view of a Pod's process, v1 with a v2 mount beside it.
	v1Pod = fstest.MapFS{
		"proc/7/cgroup":       fileOf("4:memory:/kubepods/pod1\n3:pids:/kubepods/pod1\n2:cpu,cpuacct:/kubepods/pod1\n1:name=systemd:/\n0::/\n"),
		"proc/self/mountinfo": fileOf("30 1 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n31 1 0:31 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n32 1 0:32 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n33 1 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"),
		"sys/fs/cgroup/memory/kubepods/pod1/memory.limit_in_bytes":  fileOf("67108864\n"),
		"sys/fs/cgroup/memory/kubepods/pod1/memory.usage_in_bytes":  fileOf("4096\n"),
		"sys/fs/cgroup/pids/kubepods/pod1/pids.max":                 fileOf("64\n"),
		"sys/fs/cgroup/cpu,cpuacct/kubepods/pod1/cpu.cfs_quota_us":  fileOf("50000\n"),
		"sys/fs/cgroup/cpu,cpuacct/kubepods/pod1/cpu.cfs_period_us": fileOf("100000\n"),
		"sys/fs/cgroup/cpu,cpuacct/kubepods/pod1/cpu.stat":          fileOf("nr_periods 10\nnr_throttled 4\nthrottled_time 2500000\n"),
	}
	// v2Pod is the same on a v2 host, seen from inside: the mount begins at
	// the container's own cgroup.
	v2Pod = fstest.MapFS{
		"proc/7/cgroup":                fileOf("0::/kubepods/pod1\n"),
		"proc/self/mountinfo":          fileOf("30 1 0:30 /kubepods/pod1 /sys/fs/cgroup ro - cgroup2 cgroup rw\n"),
		"sys/fs/cgroup/memory.max":     fileOf("67108864\n"),
		"sys/fs/cgroup/memory.current": fileOf("4096\n"),
		"sys/fs/cgroup/pids.max":       fileOf("64\n"),
		"sys/fs/cgroup/cpu.max":        fileOf("50000 100000\n"),
		"sys/fs/cgroup/cpu.stat":       fileOf("usage_usec 9\nnr_periods 10\nnr_throttled 4\nthrottled_usec 2500\n"),
	}
	// v1Root and v2Free have no limits, each in its version's words.
	v1Root = fstest.MapFS{
		"proc/7/cgroup":                              fileOf("4:memory:/\n2:cpu:/\n"),
		"proc/self/mountinfo":                        fileOf("30 1 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n32 1 0:32 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"),
		"sys/fs/cgroup/memory/memory.limit_in_bytes": fileOf("9223372036854771712\n"),
		"sys/fs/cgroup/cpu/cpu.cfs_quota_us":         fileOf("-1\n"),
		"sys/fs/cgroup/cpu/cpu.cfs_period_us":        fileOf("100000\n"),
		"sys/fs/cgroup/cpu/cpu.stat":                 fileOf("nr_periods 0\n"),
	}
	v2Free = fstest.MapFS{
		"proc/7/cgroup":                  fileOf("0::/a\n"),
		"proc/self/mountinfo":            fileOf("30 1 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n"),
		"sys/fs/cgroup/a/memory.max":     fileOf("max\n"),
		"sys/fs/cgroup/a/memory.current": fileOf("0\n"),
		"sys/fs/cgroup/a/pids.max":       fileOf("max\n"),
		"sys/fs/cgroup/a/cpu.max":        fileOf("max 100000\n"),
		"sys/fs/cgroup/a/cpu.stat":       fileOf("usage_usec 9\n"),
	}
	unmounted = fstest.MapFS{
		"proc/7/cgroup":       fileOf("0::/a\n"),
		"proc/self/mountinfo": fileOf("1 0 0:1 / / rw - overlay overlay rw\n"),
	}
)

func TestCgroup(t *testing.T) {
	limits := map[string]any{
		"memory.limited": true, "memory.limit": "64Mi", "memory.usage": "4Ki", "pids.limited": true, "pids.max": int64(64),
		"cpu.limited": true, "cpu.limit": 0.5, "cpu.throttled.time": 2500 * time.Microsecond,
	}
	for _, c := range []struct {
		name   string
		tree   fstest.MapFS
		limits bool
		want   map[string]any
		absent []string
	}{
		{"v1 with limits", v1Pod, true, map[string]any{
			"version": int64(1), "memory.limit_file": "memory.limit_in_bytes", "memory.path": "/sys/fs/cgroup/memory/kubepods/pod1",
			"cpu.path": "/sys/fs/cgroup/cpu,cpuacct/kubepods/pod1", "cpu.stat.keys": []string{"nr_periods", "nr_throttled", "throttled_time"},
			"pids.files": []string{"pids.max"},
		}, nil},
		{"v2 with limits", v2Pod, true, map[string]any{
			"version": int64(2), "memory.limit_file": "memory.max", "memory.path": "/sys/fs/cgroup",
		}, nil},
		{"v1 without", v1Root, false, map[string]any{"version": int64(1), "memory.limited": false, "cpu.limited": false},
			[]string{"memory.limit", "pids.limited", "pids.max", "cpu.limit", "cpu.throttled.time"}},
		{"v2 without", v2Free, false, map[string]any{"version": int64(2), "memory.limited": false, "pids.limited": false, "cpu.limited": false},
			[]string{"memory.limit", "pids.max", "cpu.limit", "cpu.throttled.time"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			outputs, err := cgroupOutputs([]string{"--pid", "7"})
			if err != nil {
				t.Fatal(err)
			}
			r := newRecord(outputs)
			if err := recordCgroup(r, c.tree, "7"); err != nil {
				t.Fatal(err)
			}
			set, err := r.result()
			if err != nil {
				t.Fatal(err)
			}
			if c.limits {
				check(t, set, limits, nil)
			}
			check(t, set, c.want, c.absent)
		})
	}
	t.Run("not mounted", func(t *testing.T) {
		var untestable *evidence.Untestable
		if err := recordCgroup(newRecord(nil), unmounted, "7"); !errors.As(err, &untestable) {
			t.Errorf("%v", err)
		}
	})
	t.Run("no such process", func(t *testing.T) {
		if err := recordCgroup(newRecord(nil), v1Pod, "8"); err == nil {
			t.Error("no error")
		}
	})
}

func TestThrottling(t *testing.T) {
	for _, c := range []struct {
		text string
		want throttling
		ok   bool
	}{
		{"nr_periods 5\nnr_throttled 2\nthrottled_time 7\n", throttling{periods: 5, throttled: 2, time: 7}, true},
		{"nr_periods 5\nnr_throttled 2\nthrottled_usec 7\n", throttling{periods: 5, throttled: 2, time: 7 * time.Microsecond}, true},
		{"usage_usec 1\n", throttling{}, true},
		{"nr_periods many\n", throttling{}, false},
	} {
		got, err := readThrottling(fstest.MapFS{"g/cpu.stat": fileOf(c.text)}, cgroup{dir: "g"})
		if (err == nil) != c.ok || got.periods != c.want.periods || got.throttled != c.want.throttled || got.time != c.want.time {
			t.Errorf("%q: %+v, %v", c.text, got, err)
		}
	}
	if _, err := readThrottling(fstest.MapFS{}, cgroup{dir: "g"}); err == nil {
		t.Error("no cpu.stat, no error")
	}
}
