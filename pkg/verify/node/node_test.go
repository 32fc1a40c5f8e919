package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// local is a place whose commands really run, on this machine.
type local struct{}

func (local) Name() string     { return "node/local" }
func (local) Labprobe() string { return "/nonexistent/labprobe" }
func (local) Run(ctx context.Context, stdin io.Reader, argv ...string) (probe.Exit, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		err = nil
	}
	return probe.Exit{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Code: cmd.ProcessState.ExitCode()}, err
}

// single is a cluster of one node, which is this machine.
type single struct{}

func (single) RESTConfig() *rest.Config           { return nil }
func (single) Nodes() []string                    { return []string{"local"} }
func (single) Node(string) probe.Place            { return local{} }
func (single) RuntimeClass(string) (string, bool) { return "", false }
func (single) ProbeImage(runtime string) string   { return "image-" + runtime }

var env = probe.Environment{Cluster: single{}}

func TestNew(t *testing.T) {
	for _, c := range []struct{ name, params, err string }{
		{"labprobe", `{"labprobe":["hello","there"]}`, ""},
		{"command", `{"command":["true"]}`, ""},
		{"script", `{"script":"evidence a 1","outputs":[{"name":"a.b_2","type":"int","unit":"count"}]}`, ""},
		{"nothing", `{}`, "exactly one of"},
		{"no parameters", ``, "exactly one of"},
		{"two ways", `{"command":["true"],"script":"true"}`, "exactly one of"},
		{"unknown field", `{"comand":["true"]}`, `"comand"`},
		{"empty labprobe", `{"labprobe":[]}`, "labprobe: is empty"},
		{"unknown labprobe", `{"labprobe":["nope"]}`, `unknown labprobe command "nope"`},
		{"bad labprobe arguments", `{"labprobe":["exit","x"]}`, `"x"`},
		{"empty command", `{"command":[]}`, "command: is empty"},
		{"outputs of a command", `{"command":["true"],"outputs":[{"name":"a","type":"int"}]}`, "only a script"},
		{"script without outputs", `{"script":"true"}`, "outputs: a script declares"},
		{"bad name", `{"script":"true","outputs":[{"name":"A b","type":"int"}]}`, "outputs[0].name"},
		{"bad type", `{"script":"true","outputs":[{"name":"a","type":"number"}]}`, "outputs[0].type"},
		{"name twice", `{"script":"true","outputs":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}`, "outputs[1].name"},
		{"bad timeout", `{"command":["true"],"timeout":"soon"}`, "soon"},
		{"no time", `{"command":["true"],"timeout":"1ms"}`, "timeout"},
	} {
		t.Run(c.name, func(t *testing.T) { wantError(t, c.err, second(Kind.New([]byte(c.params)))) })
	}
}

func TestCommand(t *testing.T) {
	for _, c := range []struct {
		name, params   string
		exit           int64
		stdout, stderr string
	}{
		{"yes", `{"command":["sh","-c","echo out; echo err >&2"]}`, 0, "out", "err"},
		{"no", `{"command":["sh","-c","exit 3"]}`, 3, "", ""},
		{"not there", `{"command":["labctl-no-such-command"]}`, 127, "", "*"},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := run(t, c.params)
			if got := value(t, set, "exit"); got != c.exit {
				t.Errorf("exit %v, want %d", got, c.exit)
			}
			if got := value(t, set, "stdout"); got != c.stdout {
				t.Errorf("stdout %q, want %q", got, c.stdout)
			}
			if got := value(t, set, "stderr"); got != c.stderr && (c.stderr != "*" || got == "") {
				t.Errorf("stderr %q, want %q", got, c.stderr)
			}
			if d := value(t, set, "duration").(time.Duration); d <= 0 {
				t.Errorf("duration %v", d)
			}
			for _, v := range set {
				if v.Source.Where != "node/local" || v.Source.Ref == "" {
					t.Errorf("%s has source %+v", v.Name, v.Source)
				}
			}
		})
	}
}

func TestCommandLimits(t *testing.T) {
	_, err := try(context.Background(), t, `{"command":["sleep","30"],"timeout":"1s"}`)
	wantError(t, "took longer than 1s", err)
	_, err = try(context.Background(), t, `{"command":["head","-c","300000","/dev/zero"]}`)
	wantError(t, "stdout of head", err)
}

func TestScript(t *testing.T) {
	outputs := `"outputs":[{"name":"v","type":"TYPE","unit":"count"}]`
	for _, c := range []struct {
		name, script, typ string
		want              any
		err               string
	}{
		{name: "int", script: `evidence v 42`, typ: "int", want: int64(42)},
		{name: "bool", script: `evidence v true`, typ: "bool", want: true},
		{name: "double", script: `evidence v 0.5`, typ: "double", want: 0.5},
		{name: "duration", script: `evidence v 1500us`, typ: "duration", want: 1500 * time.Microsecond},
		{name: "quantity", script: `evidence v 64Mi`, typ: "quantity", want: "64Mi"},
		{name: "string of anything", script: `evidence v "$(printf 'a b\n@evidence v x\n"é')"`, typ: "string", want: "a b\n@evidence v x\n\"é"},
		{name: "from stdin", script: `printf 'a\nb\n' | evidence v`, typ: "list", want: []string{"a", "b"}},
		{name: "empty list", script: `evidence v ''`, typ: "list", want: []string{}},
		{name: "after half a line", script: `printf half; evidence v 1`, typ: "int", want: int64(1)},
		{name: "folder of its own", script: `[ "$PWD" = "$WORK" ]; touch here; evidence v "$(ls)"`, typ: "string", want: "here"},
		{name: "where labprobe is", script: `evidence v "$LABPROBE $LABPROBE_WASM $LABPROBE_IMAGE $LABPROBE_WASM_IMAGE"`, typ: "string",
			want: "/nonexistent/labprobe /nonexistent/labprobe.wasm image-runc image-wasmedge"},
		{name: "wrong type", script: `evidence v many`, typ: "int", err: `"many" is not of type int`},
		{name: "no bool", script: `evidence v 1`, typ: "bool", err: "true or false"},
		{name: "not given", script: `echo hello`, typ: "int", err: "v is declared and didn't come\n  hello"},
		{name: "given twice", script: `evidence v 1; evidence v 2`, typ: "int", err: "comes twice"},
		{name: "not declared", script: `evidence v 1; evidence w 2`, typ: "int", err: `"w" isn't declared`},
		{name: "fails", script: "evidence v 1\necho why >&2\nfalse", typ: "int", err: "exit code 1\n  why"},
		{name: "line numbers", script: "evidence v 1\n\nlabctl-nope", typ: "int", err: "3: labctl-nope"},
		{name: "unset variable", script: `evidence v "$nope"`, typ: "int", err: "nope"},
		{name: "untestable", script: `untestable "no such thing here"`, typ: "int", err: "untestable here: no such thing here"},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, err := try(context.Background(), t, `{"script":`+quote(c.script)+`,`+strings.Replace(outputs, "TYPE", c.typ, 1)+`}`)
			if c.err != "" {
				wantError(t, c.err, err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := value(t, set, "v")
			if list, ok := got.([]string); ok {
				if want := c.want.([]string); !slices.Equal(list, want) {
					t.Errorf("%q, want %q", list, want)
				}
			} else if got != c.want {
				t.Errorf("%#v, want %#v", got, c.want)
			}
		})
	}
}

// The script's folder is gone after each way to end, and so is what the
// script started.
func TestScriptLeavesNothing(t *testing.T) {
	for _, c := range []struct{ name, script string }{
		{"ends", `evidence v "$WORK"; touch x`},
		{"fails", `echo "$WORK" >&2; touch x; false`},
		{"is cut off", `echo "$WORK" >&2; touch x; sleep 60`},
		{"is interrupted", `echo "$WORK" >"$NOTE"; touch x; sleep 60`},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			note := filepath.Join(t.TempDir(), "note")
			t.Setenv("NOTE", note)
			var workDir string
			if c.name == "is interrupted" {
				go func() {
					for ctx.Err() == nil {
						if b, _ := os.ReadFile(note); len(b) > 0 {
							cancel()
						}
						time.Sleep(10 * time.Millisecond)
					}
				}()
			}
			set, err := try(ctx, t, `{"timeout":"2s","outputs":[{"name":"v","type":"string"}],"script":`+quote(c.script)+`}`)
			switch {
			case c.name == "is interrupted":
				if !errors.Is(err, context.Canceled) {
					t.Errorf("error %v", err)
				}
				b, _ := os.ReadFile(note)
				workDir = strings.TrimSpace(string(b))
			case err != nil:
				_, workDir, _ = strings.Cut(err.Error(), "\n  ")
				workDir = strings.TrimSpace(workDir)
			default:
				workDir = value(t, set, "v").(string)
			}
			if !strings.HasPrefix(workDir, "/var/tmp/labctl.") {
				t.Fatalf("no folder in %v", err)
			}
			// The processes get their signal before Run returns; they need a
			// moment to act on it.
			for range 100 {
				if _, err = os.Stat(workDir); os.IsNotExist(err) {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
			t.Errorf("%s is still there: %v", workDir, err)
		})
	}
}

func TestPick(t *testing.T) {
	for _, c := range []struct {
		name, which string
		env         probe.Environment
		err         string
	}{
		{"default", "", env, ""},
		{"role", ControlPlane, env, ""},
		{"name", "local", env, ""},
		{"no cluster", "", probe.Environment{}, "untestable here: there is no cluster"},
		{"no such node", "other", env, `untestable here: the cluster has no node "other"; it has local`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Pick(context.Background(), c.env, c.which)
			wantError(t, c.err, err)
		})
	}
}

func run(t *testing.T, params string) evidence.Set {
	t.Helper()
	set, err := try(context.Background(), t, params)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func try(ctx context.Context, t *testing.T, params string) (evidence.Set, error) {
	t.Helper()
	p, err := New([]byte(params))
	if err != nil {
		t.Fatal(err)
	}
	set, err := p.Run(ctx, env)
	for _, v := range set {
		if !slices.ContainsFunc(p.Outputs(), func(o evidence.Output) bool { return o.Name == v.Name && o.Type == v.Type }) {
			t.Errorf("%s is not declared", v.Name)
		}
	}
	return set, err
}

func value(t *testing.T, set evidence.Set, name string) any {
	t.Helper()
	v, ok := set.Get(name)
	if !ok {
		t.Fatalf("no evidence %s in %v", name, set)
	}
	return v.Value
}

func wantError(t *testing.T, want string, err error) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Error(err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("error %v, want one that contains %q", err, want)
	}
}

func second(_ probe.Probe, err error) error { return err }

// TestMountsOfScripts: a script sees mounts of its own, unless it shares them.
func TestMountsOfScripts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can have a mount namespace of its own")
	}
	here, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	for _, shared := range []bool{false, true} {
		s := Script{
			Text:    "readlink /proc/self/ns/mnt | evidence ns\n",
			Outputs: []evidence.Output{{Name: "ns", Type: evidence.String}},
			Timeout: 10 * time.Second, SharedMounts: shared,
		}
		set, err := s.Run(t.Context(), local{})
		if err != nil {
			t.Fatal(err)
		}
		if ns, _ := set.Get("ns"); (ns.Value == here) != shared {
			t.Errorf("shared %v: the script's mount namespace is %v, the test's %s", shared, ns.Value, here)
		}
	}
}

// TestMountsBelowWork: whatever a script leaves mounted in its folder, also
// what is busy, goes with the folder, and what it shows stays.
func TestMountsBelowWork(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	kept := filepath.Join(t.TempDir(), "kept")
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := Script{
		Text: `mkdir -p bundle/rootfs
mount --rbind --make-rprivate / bundle/rootfs
mount -t tmpfs tmpfs bundle/rootfs/tmp
(cd bundle/rootfs/tmp; exec sleep 2) >/dev/null 2>&1 </dev/null &
evidence work "$WORK"
`,
		Outputs: []evidence.Output{{Name: "work", Type: evidence.String}}, Timeout: 20 * time.Second,
	}
	set, err := s.Run(t.Context(), local{})
	if err != nil {
		t.Fatal(err)
	}
	work, _ := set.Get("work")
	if _, err := os.Stat(work.Value.(string)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v is left: %v", work.Value, err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
}
