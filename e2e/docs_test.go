//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// wrongPage has a Pod with a field that isn't there, in a list, a manifest in a
// shell block without its separator, and a custom resource; all in the
// namespace shop, which the first example makes.
const wrongPage = `# 商店

` + "```yaml" + `
apiVersion: v1
kind: Namespace
metadata:
  name: shop
` + "```" + `

1. 部署：

   ` + "```yaml" + `
   apiVersion: v1
   kind: Pod
   metadata: {name: web, namespace: shop}
   spec:
     containers:
     - name: 主
       image: nginx
       imagePullPolcy: Always
   ` + "```" + `

2. Apply both:

   ` + "```bash" + `
   kubectl apply -f - <<EOF
   apiVersion: v1
   kind: ConfigMap
   metadata: {name: a}
   apiVersion: v1
   kind: ConfigMap
   metadata: {name: b}
   EOF
   ` + "```" + `
`

const goodPage = "# Good\n\n```yaml\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\ndata:\n  k: v\n```\n"

// site is a folder of documents, with a Git repository around it.
func site(t *testing.T, pages map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range pages {
		write(t, filepath.Join(dir, name), text)
	}
	return dir
}

// in runs labctl in a folder.
func in(t *testing.T, dir string, args ...string) run {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := command(t.Context(), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return run{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// TestDocsValidate judges a site by a real API server and wants each mistake at
// its field, in every format, and nothing else.
func TestDocsValidate(t *testing.T) {
	dir := site(t, map[string]string{"docs/shop.md": wrongPage, "docs/good.md": goodPage})
	r := in(t, dir, "docs", "validate", "docs", "--severity", "error", "--output-file", "r.json", "--output-file", "r.xml", "--output-file", "r.sarif")
	if r.code != 1 || !strings.Contains(r.stderr, "Starting an API server") {
		t.Errorf("exit code %d, stderr %s", r.code, r.stderr)
	}
	for _, want := range []string{
		"docs/shop.md:20:8: error unknown-field: ", "20 |        imagePullPolcy: Always\n", "docs/shop.md:18:14: error api-rejected: ", "error missing-separator: ",
		"2 documents, 5 examples: ", "judged by Kubernetes v",
	} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("stdout says nothing of %q", want)
		}
	}
	if strings.Contains(r.stdout, "good.md") || strings.Contains(r.stdout, "Starting") {
		t.Error("stdout has what doesn't belong there")
	}
	if t.Failed() {
		t.Logf("stdout:\n%s", r.stdout)
	}
	var report struct {
		Kind     string
		Findings []struct{ Rule, Path, Field string }
	}
	decode(t, filepath.Join(dir, "r.json"), &report, json.Unmarshal)
	if report.Kind != "DocsReport" || len(report.Findings) < 3 || report.Findings[0].Path != "shop.md" {
		t.Errorf("JSON: %+v", report)
	}
	var suites struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
	}
	decode(t, filepath.Join(dir, "r.xml"), &suites, xml.Unmarshal)
	if suites.Tests < 4 || suites.Failures != 2 {
		t.Errorf("JUnit: %+v", suites)
	}
	var log struct {
		Version string
		Runs    []struct{ Results []struct{ RuleID string } }
	}
	decode(t, filepath.Join(dir, "r.sarif"), &log, json.Unmarshal)
	if log.Version != "2.1.0" || len(log.Runs) != 1 || len(log.Runs[0].Results) != len(report.Findings) {
		t.Errorf("SARIF: %+v", log)
	}
}

func decode(t *testing.T, file string, into any, unmarshal func([]byte, any) error) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err == nil {
		err = unmarshal(b, into)
	}
	if err != nil {
		t.Error(err)
	}
}

// TestDocsExitCodes runs labctl docs without a server.
func TestDocsExitCodes(t *testing.T) {
	dir := site(t, map[string]string{"docs/shop.md": wrongPage, "docs/good.md": goodPage, "empty/.keep": "", "bad.json": "{}"})
	for _, tt := range []struct {
		name string
		args []string
		code int
		say  string // in stdout or stderr
	}{
		{"findings", []string{"docs"}, 1, "error missing-separator"},
		{"a good file", []string{"docs/good.md"}, 0, "1 document, 1 example"},
		{"two files", []string{"docs/good.md", "docs/shop.md"}, 1, "2 documents"},
		{"no documents", []string{"empty"}, 0, "0 documents, 0 examples: no findings"},
		{"nothing fails", []string{"docs", "--fail-on", "never"}, 0, "missing-separator"},
		{"without the rule", []string{"docs", "--skip-rule", "missing-separator,duplicate-key", "--severity", "error"}, 0, "no findings"},
		{"only a rule", []string{"docs", "--rule", "unclosed-fence"}, 0, "no findings"},
		{"github", []string{"docs", "-o", "github"}, 1, "::error file=docs/shop.md,line="},
		{"no such folder", []string{"dcos"}, 2, "dcos"},
		{"folder and file", []string{"docs", "bad.json"}, 2, "name one folder, or files"},
		{"outside", []string{"../x.md"}, 2, "x.md"},
		{"no such rule", []string{"docs", "--rule", "missing-separators"}, 2, "missing-separator"},
		{"no such format", []string{"docs", "-o", "xml"}, 2, "text, json, junit, sarif or github"},
		{"no such file format", []string{"docs", "--output-file", "x.pdf"}, 2, ".sarif"},
		{"hidden failures", []string{"docs", "--severity", "error", "--fail-on", "note"}, 2, "lower --severity"},
		{"no baseline", []string{"docs", "--baseline", "none.json"}, 2, "--write-baseline"},
		{"another file", []string{"docs", "--baseline", "bad.json"}, 2, "bad.json"},
		{"baseline of nothing", []string{"docs", "--write-baseline"}, 2, "--baseline FILE"},
		{"no repository", []string{"docs", "--changed-since", "main"}, 2, "git"},
		{"version of none", []string{"docs", "--kubernetes-version", "1.30"}, 2, "--server none"},
		{"CRDs of none", []string{"docs", "--crds", "empty"}, 2, "--server local"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := in(t, dir, append([]string{"docs", "validate", "--server", "none"}, tt.args...)...)
			if r.code != tt.code || !strings.Contains(r.stdout+r.stderr, tt.say) {
				t.Errorf("exit code %d, want %d and %q\n%s%s", r.code, tt.code, tt.say, r.stdout, r.stderr)
			}
		})
	}
	for name, args := range map[string][]string{
		"unknown version":  {"docs", "--kubernetes-version", "1.2"},
		"no CRDs":          {"docs", "--crds", "empty"},
		"kubeconfig":       {"docs", "--kubeconfig", "none"},
		"context of none":  {"docs", "--context", "c"},
		"two servers":      {"docs", "--kubeconfig", "none", "--server", "none"},
		"an unknown judge": {"docs", "--server", "remote"},
	} {
		if r := in(t, dir, append([]string{"docs", "validate"}, args...)...); r.code != 2 {
			t.Errorf("%s: exit code %d\n%s", name, r.code, r.stderr)
		}
	}
}

// TestDocsBaseline freezes findings, moves them, and adds one.
func TestDocsBaseline(t *testing.T) {
	dir := site(t, map[string]string{"docs/shop.md": wrongPage})
	validate := func(args ...string) run {
		return in(t, dir, append([]string{"docs", "validate", "docs", "--server", "none", "--baseline", "known.json"}, args...)...)
	}
	if r := validate("--write-baseline"); r.code != 0 || !strings.Contains(r.stdout, "in the baseline") {
		t.Fatalf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	write(t, filepath.Join(dir, "docs", "shop.md"), strings.Replace(wrongPage, "# 商店\n", "# 商店\n\nMore text.\n", 1))
	if r := validate(); r.code != 0 || !strings.Contains(r.stdout, "no findings") {
		t.Errorf("lines moved: exit code %d\n%s", r.code, r.stdout)
	}
	write(t, filepath.Join(dir, "docs", "new.md"), strings.Replace(goodPage, "  k: v\n", "  k: v\n  k: w\n", 1))
	if r := validate(); r.code != 1 || !strings.Contains(r.stdout, "new.md:10:3: error duplicate-key") {
		t.Errorf("one more: exit code %d\n%s", r.code, r.stdout)
	}
}

// TestDocsChangedSince looks at what a branch changed only.
func TestDocsChangedSince(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Fatal("the test makes a repository; install git: ", err)
	}
	dir := site(t, map[string]string{"docs/shop.md": wrongPage, "docs/good.md": goodPage})
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "."}, {"-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", "docs"}} {
		if out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
	write(t, filepath.Join(dir, "docs", "good.md"), goodPage+"\nMore text.\n")
	if r := in(t, dir, "docs", "validate", "docs", "--server", "none", "--changed-since", "main"); r.code != 0 || !strings.Contains(r.stdout, "1 document, ") {
		t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// TestDocsInterrupted presses Ctrl-C while an API server starts and while it
// judges, and wants everything to be gone within seconds.
func TestDocsInterrupted(t *testing.T) {
	for _, after := range []time.Duration{time.Second, 8 * time.Second} {
		tmp := t.TempDir()
		dir := site(t, map[string]string{"docs/a.md": strings.Repeat(goodPage, 3000)})
		cmd := command(t.Context(), "docs", "validate", "docs")
		cmd.Dir = dir
		cmd.Env = append(cmd.Env, "TMPDIR="+tmp)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(after)
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_ = cmd.Wait() // its exit code is looked at
		if took := time.Since(began); took > 5*time.Second || cmd.ProcessState.ExitCode() != 130 {
			t.Errorf("after %v: exit code %d after %v more\n%s", after, cmd.ProcessState.ExitCode(), took, out.String())
		}
		if left := mentions(t, tmp); len(left) > 0 {
			t.Errorf("after %v there still runs %q", after, left)
		}
		if left, _ := filepath.Glob(filepath.Join(tmp, "*", "*")); len(left) > 0 {
			t.Errorf("after %v there still is %q", after, left)
		}
	}
}

// mentions are the command lines of processes that name a folder.
func mentions(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range files {
		line, err := os.ReadFile(f)
		if err == nil && bytes.Contains(line, []byte(dir)) {
			found = append(found, string(bytes.ReplaceAll(line, []byte{0}, []byte(" "))))
		}
	}
	return found
}

// TestDocsDrift ties a lab to a document, moves the text, fixes the lab, and
// changes the text.
func TestDocsDrift(t *testing.T) {
	testdata := filepath.Join("..", "pkg", "lab", "testdata")
	dir := t.TempDir()
	for from, to := range map[string]string{"catalogue": "labs", "docs": "docs", "manifests": "manifests"} {
		if err := os.CopyFS(filepath.Join(dir, to), os.DirFS(filepath.Join(testdata, from))); err != nil {
			t.Fatal(err)
		}
	}
	page := filepath.Join(dir, "docs", "kernels.md")
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	drift := func(code int, say string, args ...string) {
		t.Helper()
		r := in(t, dir, append([]string{"docs", "drift", "--docs", "docs", "--catalogue", "."}, args...)...)
		if r.code != code || !strings.Contains(r.stdout+r.stderr, say) {
			t.Errorf("%q: exit code %d, want %d and %q\n%s%s", args, r.code, code, say, r.stdout, r.stderr)
		}
	}
	drift(0, "3 unchanged, 0 moved, 0 changed, 0 gone")
	write(t, page, "New.\n\n"+string(text))
	drift(0, "docs/kernels.md:11: note drift-moved: ex-1 of lab kernel-identity: the text moved from line 9 to line 11")
	drift(0, `"moved": 3`, "-o", "json")
	drift(0, "kernel-identity/lab.yaml: 3 lines fixed", "--fix")
	drift(0, "3 unchanged, 0 moved, 0 changed, 0 gone")
	write(t, page, strings.Replace("New.\n\n"+string(text), "no kernel", "a kernel", 1))
	drift(1, "::error file=docs/kernels.md,line=11,", "-o", "github")
	if err := os.Remove(page); err != nil {
		t.Fatal(err)
	}
	drift(1, "0 unchanged, 0 moved, 0 changed, 3 gone")
	if r := labctl(t.Context(), "docs", "drift", "--docs", filepath.Join(dir, "none")); r.code != 2 {
		t.Errorf("no folder: exit code %d", r.code)
	}
}

// TestDocsRules lists rules and explains one.
func TestDocsRules(t *testing.T) {
	r := must(t, "docs", "rules")
	if n := strings.Count(r.stdout, "\n"); n < 30 || !strings.Contains(r.stdout, "api-rejected") || r.stderr != "" {
		t.Errorf("%d lines, stderr %q\n%s", n, r.stderr, r.stdout)
	}
	if r := must(t, "docs", "rules", "missing-separator"); strings.Count(r.stdout, "\n") < 3 {
		t.Errorf("no help: %s", r.stdout)
	}
	if r := labctl(t.Context(), "docs", "rules", "mising-separator"); r.code != 2 || !strings.Contains(r.stderr, "did you mean missing-separator?") {
		t.Errorf("exit code %d, %s", r.code, r.stderr)
	}
}

// TestDocsAction runs the step of the GitHub Action that validates, as a runner
// would, with inputs that a shell must not read as commands.
func TestDocsAction(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "action.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var action struct {
		Inputs map[string]struct{ Default string }
		Runs   struct {
			Using string
			Steps []struct {
				ID, Run, Shell string
				Env            map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(data, &action); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(action.Runs.Steps, func(s struct {
		ID, Run, Shell string
		Env            map[string]string
	}) bool {
		return s.ID == "validate"
	})
	if action.Runs.Using != "composite" || i < 0 {
		t.Fatalf("%+v", action.Runs)
	}
	step := action.Runs.Steps[i]
	if strings.Contains(step.Run, "${{") {
		t.Error("an input stands in the script itself")
	}
	checkout := t.TempDir()
	if err := os.Mkdir(filepath.Join(checkout, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(suite.binary, filepath.Join(checkout, "bin", "labctl")); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		inputs map[string]string
		code   int
		say    string
	}{
		"findings":  {map[string]string{"server": "none"}, 1, "::error file=docs/shop.md,line="},
		"none fail": {map[string]string{"server": "none", "fail-on": "never"}, 0, "::error file=docs/shop.md,line="},
		"baseline":  {map[string]string{"server": "none", "baseline": "none.json"}, 2, "none.json"},
		"revision":  {map[string]string{"server": "none", "changed-since": "origin/main"}, 2, "git"},
		"version":   {map[string]string{"kubernetes-version": "1.2"}, 2, "1.2"},
		"hostile":   {map[string]string{"server": "none", "path": "$(touch owned); `touch owned` -o json"}, 2, "$(touch owned)"},
		"a flag":    {map[string]string{"server": "none", "path": "--help"}, 2, "--help"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := site(t, map[string]string{"docs/shop.md": wrongPage})
			cmd := exec.CommandContext(t.Context(), step.Shell, "-eo", "pipefail", "-c", step.Run)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "GITHUB_ACTION_PATH="+checkout)
			for variable, from := range step.Env {
				input := strings.TrimSuffix(strings.TrimPrefix(from, "${{ inputs."), " }}")
				value, ok := tt.inputs[input]
				if !ok {
					value = action.Inputs[input].Default
				}
				cmd.Env = append(cmd.Env, variable+"="+value)
			}
			out, _ := cmd.CombinedOutput() // its exit code is looked at
			if cmd.ProcessState.ExitCode() != tt.code || !strings.Contains(string(out), tt.say) {
				t.Errorf("exit code %d, want %d and %q\n%s", cmd.ProcessState.ExitCode(), tt.code, tt.say, out)
			}
			if _, err := os.Stat(filepath.Join(dir, "owned")); err == nil {
				t.Error("an input was run")
			}
			if _, err := os.Stat(filepath.Join(dir, "labctl.sarif")); (err == nil) != (tt.code < 2) {
				t.Errorf("the SARIF file: %v", err)
			}
		})
	}
}

// TestDocsHook runs the pre-commit hook's command line as pre-commit does: in
// the repository, with the names of files at its end.
func TestDocsHook(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", ".pre-commit-hooks.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var hooks []struct{ ID, Entry, Language string }
	if err := yaml.Unmarshal(data, &hooks); err != nil || len(hooks) != 1 || hooks[0].ID != "labctl-docs" || hooks[0].Language != "golang" {
		t.Fatalf("%+v, %v", hooks, err)
	}
	dir := site(t, map[string]string{"docs/shop.md": wrongPage, "docs/good.md": goodPage})
	entry := strings.Fields(hooks[0].Entry)
	for file, code := range map[string]int{"docs/good.md": 0, "docs/shop.md": 1} {
		if r := in(t, dir, append(slices.Clone(entry[1:]), file)...); entry[0] != "labctl" || r.code != code {
			t.Errorf("%s: exit code %d\n%s%s", file, r.code, r.stdout, r.stderr)
		}
	}
}

// TestDocsHostile gives labctl what documents can do to it, with limits on its
// memory and time.
func TestDocsHostile(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'z'; c++ {
		bomb += string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+string(c-1)+",", 8) + "*" + string(c-1) + "]\n"
	}
	dir := site(t, map[string]string{
		"large.md":                   strings.Repeat("text\n", 20<<20),
		"fences.md":                  strings.Repeat("```\n", 1_000_000),
		"deep.md":                    "```yaml\n" + strings.Repeat("[", 10_000) + "\n```\n" + strings.Repeat("> ", 10_000) + "text\n",
		"bomb.md":                    "```yaml\n" + bomb + "```\n",
		"new\nline\x1b[31m<&>,:%.md": "```yaml\na: 1\na: \x00\x1b]0;title\x07\n```\n",
	})
	if err := os.Symlink(".", filepath.Join(dir, "loop")); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r := in(t, dir, "docs", "validate", "--server", "none", "--output-file", "r.xml", "--output-file", "r.sarif", "-v")
	t.Logf("%v", time.Since(began).Round(time.Millisecond))
	if r.code != 0 && r.code != 1 || strings.ContainsRune(r.stdout, 0x1b) || time.Since(began) > time.Minute {
		t.Errorf("exit code %d after %v\n%s%s", r.code, time.Since(began), r.stdout, r.stderr)
	}
	if !strings.Contains(r.stdout, "new\\nline") || !strings.Contains(r.stdout, "large.md") {
		t.Errorf("%s", r.stdout)
	}
	var any struct{ XMLName xml.Name }
	decode(t, filepath.Join(dir, "r.xml"), &any, xml.Unmarshal)
	decode(t, filepath.Join(dir, "r.sarif"), new(map[string]json.RawMessage), json.Unmarshal)
}

// TestDocsMemory wants memory not to grow with the number of documents.
func TestDocsMemory(t *testing.T) {
	peak := func(n int) int64 {
		pages := map[string]string{}
		for i := range n {
			pages["docs/"+strconv.Itoa(i)+".md"] = wrongPage + strings.Repeat(goodPage, 50)
		}
		cmd := command(t.Context(), "docs", "validate", "--server", "none", "--fail-on", "never", "-o", "json")
		cmd.Dir = site(t, pages)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		// Not getrusage's ru_maxrss, which begins with that of this process.
		most := int64(0)
		for {
			select {
			case err := <-done:
				if err != nil {
					t.Fatal(err)
				}
				return most
			case <-time.After(5 * time.Millisecond):
				most = max(most, highWater(cmd.Process.Pid))
			}
		}
	}
	few, many := peak(50), peak(2000)
	t.Logf("50 documents: %d MiB, 2000: %d MiB", few, many)
	if few == 0 || many > 400 || many > few+100 {
		t.Errorf("%d MiB for 50 documents, %d MiB for 2000", few, many)
	}
}

// highWater is the most memory that a process had resident, in MiB (VmHWM of
// proc_pid_status(5)); 0 once it has ended.
func highWater(pid int) int64 {
	status, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	fields := strings.Fields(after)
	if len(fields) == 0 {
		return 0
	}
	kib, _ := strconv.ParseInt(fields[0], 10, 64)
	return kib >> 10
}
