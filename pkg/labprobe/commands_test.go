package labprobe

import (
	"bytes"
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// runCommand runs a command line as labprobe does and returns its evidence.
func runCommand(t *testing.T, args ...string) evidence.Set {
	t.Helper()
	report, _ := reportOf(t, args...)
	set, err := report.Result()
	if err != nil {
		t.Fatalf("labprobe %s: %v", strings.Join(args, " "), err)
	}
	return set
}

func reportOf(t *testing.T, args ...string) (Report, int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := Main(t.Context(), args, &stdout, &stderr)
	report, err := Parse(stdout.Bytes())
	if err != nil {
		t.Fatalf("labprobe %s: exit code %d, %v; stderr: %s", strings.Join(args, " "), code, err, stderr.String())
	}
	return report, code
}

func value[T any](t *testing.T, set evidence.Set, name string) T {
	t.Helper()
	v, ok := set.Get(name)
	if !ok {
		t.Fatalf("no evidence %s in %v", name, set)
	}
	x, ok := v.Value.(T)
	if !ok {
		t.Fatalf("evidence %s is a %T", name, v.Value)
	}
	return x
}

func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range commands {
		if seen[c.Name] {
			t.Errorf("two commands are called %s", c.Name)
		}
		seen[c.Name] = true
		if c.Doc == "" || c.Outputs == nil {
			t.Errorf("%s has no doc or no outputs", c.Name)
		}
	}
}

// argsOf are arguments that the commands of these files accept.
var argsOf = map[string][]string{
	"exit": {"3"}, "sleep": {"1s"}, "files": {"--inside", "/a", "--outside", "/b"},
	"seccomp": {"kill", "mount"}, "memory": {"--bytes", "1Mi"}, "measure": {"--", "true"},
	"processes": {"--pid", "1"}, "io": {"--path", "/tmp"},
}

func TestOutputsAreWellFormed(t *testing.T) {
	name := regexp.MustCompile(`^[a-z0-9_]+(\.[a-z0-9_]+)*$`)
	for _, c := range commands {
		outputs, err := c.Outputs(argsOf[c.Name])
		if err != nil {
			continue // a command of another file that wants arguments; tested there
		}
		seen := map[string]bool{}
		for _, o := range outputs {
			if !name.MatchString(o.Name) || o.Doc == "" || seen[o.Name] {
				t.Errorf("%s: output %+v is named badly, twice or not documented", c.Name, o)
			}
			seen[o.Name] = true
			if (o.Type == evidence.Quantity) != (o.Unit == "bytes") && o.Type != evidence.Int {
				t.Errorf("%s: output %s is a %s with unit %q", c.Name, o.Name, o.Type, o.Unit)
			}
		}
	}
}

func TestUsageErrors(t *testing.T) {
	for _, line := range []string{
		"exit", "exit 256", "exit -1", "exit x", "exit 1 2", "sleep", "sleep 5", "sleep -1s",
		"identity x", "files", "files --inside", "files --nosuch x", "wasi x", "seccomp", "seccomp maim mount",
		"seccomp kill nosuch", "memory", "memory --bytes 0", "memory --bytes 1Ti", "memory --bytes 99999999999Gi",
		"memory --bytes 1Mi --hold x", "fork --max 0", "fork --max 1000000", "throttle --duration 0s",
		"throttle --duration 1h", "cpu --rounds 0", "syscall-bench --n 0", "measure", "measure -n 0 true",
		"processes", "processes --id short", "processes --pid 1 --id 0123456789", "processes --pid -1",
		"cgroup --pid x", "cgroup --pid 0",
	} {
		t.Run(line, func(t *testing.T) {
			args := strings.Fields(line)
			c, err := Lookup(args[0])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Outputs(args[1:]); err == nil {
				t.Error("no error")
			}
			if report, code := reportOf(t, args...); code != 1 || report.Error == "" {
				t.Errorf("exit code %d, report %+v", code, report)
			}
		})
	}
}

func TestMainWithoutACommand(t *testing.T) {
	for _, args := range [][]string{nil, {"nosuch"}} {
		var stdout, stderr bytes.Buffer
		if code := Main(t.Context(), args, &stdout, &stderr); code != 2 || stdout.Len() > 0 || !strings.Contains(stderr.String(), "identity") {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q", args, code, &stdout, &stderr)
		}
	}
}

func TestExitCode(t *testing.T) {
	for arg, want := range map[string]int{"0": 0, "7": 7, "255": 255} {
		report, code := reportOf(t, "exit", arg)
		if code != want || report.Error != "" {
			t.Errorf("exit %s: code %d, report %+v", arg, code, report)
		}
	}
}

func TestHello(t *testing.T) {
	for want, args := range map[string][]string{"hello": {"hello"}, "good morning": {"hello", "good", "morning"}} {
		if got := value[string](t, runCommand(t, args...), "hello"); got != want {
			t.Errorf("%q: %q", args, got)
		}
	}
}

func TestSleepEndsWithItsContext(t *testing.T) {
	for _, c := range []struct {
		duration    string
		cancel      bool
		interrupted bool
	}{{"0s", false, false}, {"1h", true, true}} {
		ctx, cancel := context.WithCancel(t.Context())
		if c.cancel {
			cancel()
		}
		set, err := runSleep(ctx, []string{c.duration})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if got := value[bool](t, set, "interrupted"); got != c.interrupted {
			t.Errorf("sleep %s: interrupted %v", c.duration, got)
		}
	}
}

func TestParse(t *testing.T) {
	good, err := json.Marshal(Report{Labprobe: Version, Command: "hello"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, output, wrong string }{
		{"alone", string(good), ""},
		{"after a warning", "warning: x\n" + string(good) + "\n", ""},
		{"before a warning", string(good) + "\nwarning: x\n", ""},
		{"nothing", "", "no labprobe report"},
		{"other output", "{\"a\":1}\n", "no labprobe report"},
		{"cut off", string(good[:25]), "doesn't parse"},
		{"another version", `{"labprobe":"v9"}`, "version"},
		{"a value of another type", `{"labprobe":"v1","evidence":[{"name":"a","type":"int","value":"x"}]}`, "evidence a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := Parse([]byte(c.output))
			if c.wrong == "" {
				if err != nil || r.Command != "hello" {
					t.Errorf("%+v, %v", r, err)
				}
			} else if err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("error %v, want one about %s", err, c.wrong)
			}
		})
	}
}

func TestRecordRefusesWhatIsNotDeclared(t *testing.T) {
	outputs := []evidence.Output{{Name: "a", Type: evidence.Int}, {Name: "l", Type: evidence.List}}
	for _, c := range []struct {
		name  string
		put   func(*record)
		wrong string
	}{
		{"declared", func(r *record) { r.put("a", 1, "program", ""); r.put("l", []string(nil), "program", "") }, ""},
		{"not declared", func(r *record) { r.put("b", 1, "program", "") }, "not declared"},
		{"another type", func(r *record) { r.put("a", "x", "program", "") }, "declared as int"},
		{"a duration for a count", func(r *record) { r.put("a", time.Second, "program", "") }, "declared as int"},
		{"twice", func(r *record) { r.put("a", 1, "program", ""); r.put("a", 2, "program", "") }, "twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRecord(outputs)
			c.put(r)
			set, err := r.result()
			switch {
			case c.wrong == "" && (err != nil || len(set) != 2 || value[[]string](t, set, "l") == nil):
				t.Errorf("%v, %v", set, err)
			case c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)):
				t.Errorf("error %v, want one about %q", err, c.wrong)
			}
		})
	}
}

func TestBytes(t *testing.T) {
	for text, n := range map[string]uint64{"0": 0, "1000": 1000, "1Ki": 1024, "64Mi": 64 << 20, "3Gi": 3 << 30} {
		if got, err := parseBytes(text); err != nil || got != n {
			t.Errorf("parseBytes(%q) = %d, %v", text, got, err)
		}
		if got := bytesQuantity(n); got != text {
			t.Errorf("bytesQuantity(%d) = %q, want %q", n, got, text)
		}
	}
	for _, text := range []string{"", "x", "-1", "1k", "1.5Mi", "Mi", "18446744073709551616", "17179869184Gi"} {
		if n, err := parseBytes(text); err == nil {
			t.Errorf("parseBytes(%q) = %d", text, n)
		}
	}
}

func TestSamples(t *testing.T) {
	for _, c := range []struct {
		values        []float64
		p50, p95, max float64
		noise         float64
	}{
		{[]float64{7}, 7, 7, 7, 0},
		{[]float64{3, 1, 2}, 2, 3, 3, 1},
		{[]float64{4, 1, 2, 3}, 2, 4, 4, 1},
		{[]float64{10, 10, 10, 99}, 10, 99, 99, 0},
		{[]float64{0, 0}, 0, 0, 0, 0},
	} {
		given := slices.Clone(c.values)
		s := newSamples(c.values)
		if s.quantile(0.5) != c.p50 || s.quantile(0.95) != c.p95 || s.quantile(1) != c.max || s.noise() != c.noise {
			t.Errorf("%v: p50 %v, p95 %v, max %v, noise %v", c.values, s.quantile(0.5), s.quantile(0.95), s.quantile(1), s.noise())
		}
		if !slices.Equal(given, c.values) {
			t.Errorf("%v was changed to %v", given, c.values)
		}
	}
}
