package kubelet

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

func TestParameters(t *testing.T) {
	for _, c := range []struct{ name, params, err string }{
		{"none", ``, ""},
		{"all", `{"runtime":"gvisor","cpu":"200m","for":"10s"}`, ""},
		{"unknown field", `{"limit":"200m"}`, `unknown field "limit"`},
		{"no quantity", `{"cpu":"much"}`, "quantit"},
		{"too long", `{"for":"10m"}`, "10m"},
		{"unknown runtime", `{"runtime":"kata"}`, `"kata"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := New([]byte(c.params))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want one that contains %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"kubelet.throttled", "cgroup.throttled", "throttled.periods", "pod.phase"} {
				if !slices.ContainsFunc(p.Outputs(), func(o evidence.Output) bool { return o.Name == name }) {
					t.Errorf("%s isn't declared", name)
				}
			}
			var untestable *evidence.Untestable
			if _, err := p.Run(context.Background(), probe.Environment{}); !errors.As(err, &untestable) {
				t.Errorf("without a cluster: %v", err)
			}
		})
	}
}

const metrics = `# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container="",cpu="total",namespace="lab",pod="a"} 7 1795412753059
container_cpu_usage_seconds_total{container="labprobe",cpu="total",namespace="lab",pod="a"} 1.19 1795412757644
container_cpu_usage_seconds_total{container="labprobe",cpu="total",namespace="lab",pod="b"} 1.19 1795412757000
# TYPE container_cpu_cfs_throttled_seconds_total counter
container_cpu_cfs_throttled_seconds_total{container="",namespace="lab",pod="a"} 9 1795412753059
container_cpu_cfs_throttled_seconds_total{container="labprobe",namespace="lab",pod="a"} 1.510290936 1795412757644
container_cpu_cfs_throttled_seconds_total{container="labprobe",namespace="other",pod="a"} 5 1795412757644
# TYPE container_cpu_cfs_throttled_periods_total counter
container_cpu_cfs_throttled_periods_total{container="labprobe",namespace="lab",pod="a"} 34 1795412757644
`

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, text, pod string
		want            sample
		fails           bool
	}{
		{"limited", metrics, "a", sample{1795412757644, true, 1510290936, 34}, false},
		{"not limited", metrics, "b", sample{taken: 1795412757000}, false},
		{"not seen yet", metrics, "c", sample{}, false},
		{"empty", "", "a", sample{}, false},
		{"no metrics", "<html>{", "a", sample{}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parse([]byte(c.text), "lab", c.pod, "labprobe")
			if got != c.want || (err != nil) != c.fails {
				t.Errorf("got %+v %v, want %+v", got, err, c.want)
			}
		})
	}
}

func TestSettle(t *testing.T) {
	broken := errors.New("kubelet is gone")
	for _, c := range []struct {
		name    string
		samples []sample
		counts  []time.Duration
		err     error
		want    sample
	}{
		{"the next sample counts", []sample{{taken: 1}, {taken: 1}, {taken: 2, throttled: 5}}, []time.Duration{5, 5}, nil, sample{taken: 2, throttled: 5}},
		{"the first is none", []sample{{}, {}, {taken: 2, throttled: 5}}, []time.Duration{5, 5}, nil, sample{taken: 2, throttled: 5}},
		{"the counter moved", []sample{{taken: 1}, {taken: 2, throttled: 4}, {taken: 2}, {taken: 3, throttled: 5}}, []time.Duration{4, 5, 5, 5}, nil, sample{taken: 3, throttled: 5}},
		{"broken", []sample{{taken: 1}}, []time.Duration{5}, broken, sample{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			fetch := func(context.Context) (sample, error) {
				if len(c.samples) == 0 {
					return sample{}, c.err
				}
				s := c.samples[0]
				c.samples = c.samples[1:]
				return s, nil
			}
			count := func(context.Context) (time.Duration, error) {
				n := c.counts[0]
				c.counts = c.counts[1:]
				return n, nil
			}
			got, _, err := settle(context.Background(), 0, fetch, count)
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("got %+v %v, want %+v %v", got, err, c.want, c.err)
			}
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	same := func(context.Context) (sample, error) { return sample{taken: 1}, nil }
	still := func(context.Context) (time.Duration, error) { return 0, nil }
	if _, _, err := settle(ctx, time.Hour, same, still); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context gave %v", err)
	}
}
