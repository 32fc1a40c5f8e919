package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isolation-stack/labctl/pkg/guide"
	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/verify/cluster"
	"github.com/isolation-stack/labctl/pkg/verify/result"
)

func TestSendFiles(t *testing.T) {
	files := map[string]string{"a.yaml": "a: 1\n", "b.json": `{"b": 2}`}
	read := func(name string) ([]byte, error) {
		if b, ok := files[name]; ok {
			return []byte(b), nil
		}
		return nil, os.ErrNotExist
	}
	for name, c := range map[string]struct{ args, want, stdin, err string }{
		"none":              {args: "get pods -n x", want: "get pods -n x"},
		"one":               {args: "apply -f a.yaml -n x", want: "apply -n x -f -", stdin: "a: 1\n"},
		"one, as it is":     {args: "apply -f b.json", want: "apply -f -", stdin: `{"b": 2}`},
		"with =":            {args: "apply -f=a.yaml", want: "apply -f -", stdin: "a: 1\n"},
		"in one word":       {args: "apply -fa.yaml", want: "apply -f -", stdin: "a: 1\n"},
		"the long flag":     {args: "delete --filename a.yaml --wait", want: "delete --wait -f -", stdin: "a: 1\n"},
		"several":           {args: "apply -f a.yaml,b.json --filename=a.yaml", want: "apply -f -", stdin: "a: 1\n\n---\nb: 2\n\n---\na: 1\n"},
		"stdin":             {args: "apply -f -", want: "apply -f -"},
		"an address":        {args: "apply -f https://x/y.yaml", want: "apply -f https://x/y.yaml"},
		"a file, addressed": {args: "apply -f a.yaml -f https://x/y", want: "apply -f https://x/y -f -", stdin: "a: 1\n"},
		"both":              {args: "apply -f - -f a.yaml", err: "at once"},
		"not there":         {args: "apply -f c.yaml", err: "file does not exist"},
		"following a log":   {args: "-n x logs -f a.yaml", want: "-n x logs -f a.yaml"},
		"of a program":      {args: "exec a -- tail -f a.yaml", want: "exec a -- tail -f a.yaml"},
		"before a program":  {args: "exec -f a.yaml -- ls", want: "exec -f - -- ls", stdin: "a: 1\n"},
		"a flag alone":      {args: "apply -f", want: "apply -f"},
	} {
		t.Run(name, func(t *testing.T) {
			args, stdin, err := sendFiles(strings.Fields(c.args), read)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v, want %s", err, c.err)
				}
				return
			}
			if err != nil || strings.Join(args, " ") != c.want || string(stdin) != c.stdin {
				t.Errorf("got %v, %q, %v", args, stdin, err)
			}
		})
	}
}

func TestReadsStdin(t *testing.T) {
	for args, want := range map[string]bool{
		"apply -f -": true, "apply --filename=-": true, "exec -i a -- cat": true, "apply -f-": true,
		"get pods": false, "exec a -- cat -": false,
	} {
		if got := readsStdin(strings.Fields(args)); got != want {
			t.Errorf("%s: %v", args, got)
		}
	}
}

func TestFailedOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results", "kind-x.json")
	if _, err := readLast(path); err == nil || !strings.Contains(err.Error(), "no run of this cluster is known") {
		t.Errorf("without a run: %v", err)
	}
	claims := func(ids ...string) (c []lab.Claim) {
		for _, id := range ids {
			c = append(c, lab.Claim{ID: id})
		}
		return c
	}
	labs := []*lab.Lab{{Spec: lab.Spec{Claims: claims("1", "2")}}, {Spec: lab.Spec{Claims: claims("3")}}}
	r := result.Result{APIVersion: lab.APIVersion, Kind: result.Kind, Started: time.Unix(0, 0), Labs: []result.Lab{
		{Claims: []result.Claim{{ID: "1", OK: true}, {ID: "2"}}},
		{Claims: []result.Claim{{ID: "3", OK: true}, {ID: "gone since"}}},
	}}
	if err := keepLast(path, r); err != nil {
		t.Fatal(err)
	}
	last, err := readLast(path)
	if err != nil {
		t.Fatal(err)
	}
	chosen, ids, err := failedOf(labs, last)
	if err != nil || len(chosen) != 1 || chosen[0] != labs[0] || !slices.Equal(ids, []string{"2"}) {
		t.Errorf("%v, %v, %v", chosen, ids, err)
	}
	if _, _, err := failedOf(labs[1:], last); !errors.Is(err, errNothingFailed) || exitCode(err) != exitOK {
		t.Errorf("nothing failed: %v", err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readLast(path); err == nil || !strings.Contains(err.Error(), "run labs again") {
		t.Errorf("a damaged file: %v", err)
	}
}

// state is a cluster whose only objects are ConfigMaps, made by commands
// "make NAME".
type state struct {
	made []string
	out  io.Writer
}

func (s *state) Look(_ context.Context, c *lab.Check) (cluster.Objects, error) {
	o := cluster.Objects{One: true}
	if slices.Contains(s.made, c.Name) {
		o.Items = append(o.Items, map[string]any{})
	}
	return o, nil
}

func (s *state) run(command string) (int, error) {
	name, ok := strings.CutPrefix(command, "make ")
	if !ok {
		return 1, nil
	}
	s.made = append(s.made, name)
	_, err := io.WriteString(s.out, "made "+name)
	return 0, err
}

func TestTypist(t *testing.T) {
	step := func(run, name string) lab.Step {
		s := lab.Step{Title: lab.Text{EN: "do " + run}, Run: run, Look: lab.Text{EN: "at " + run}}
		if name != "" {
			s.Check = &lab.Check{Kind: "ConfigMap", Name: name, For: "object != null", Hint: lab.Text{EN: "hint of " + name}}
		}
		return s
	}
	steps := []lab.Step{step("make a", "a"), step("look", ""), step("make b", "b"), step("refuse", "a"), step("refuse", "c"), step("look", "")}
	for name, c := range map[string]struct {
		before []string
		to     int
		done   bool
		made   string
		say    []string
		not    []string
	}{
		"one step":                    {to: 1, done: true, made: "a", say: []string{"$ make a", "made a\n 1  done      do make a", "at make a"}},
		"those before it too":         {to: 3, done: true, made: "a b", say: []string{"$ make a", " 2  -         do look", "$ make b"}, not: []string{"$ look"}},
		"not what is done":            {before: []string{"a"}, to: 3, done: true, made: "a b", not: []string{"$ make a"}},
		"nothing to do":               {before: []string{"a", "b"}, to: 4, done: true, made: "a b", not: []string{"$"}},
		"a refusal that isn't wanted": {before: []string{"a", "b"}, to: 5, done: false, made: "a b", say: []string{"$ refuse", "(exit code 1)", "hint of c"}, not: []string{"at refuse"}},
		"a look that fails":           {to: 2, done: false, made: "a", say: []string{"$ look", "(exit code 1)"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			s := &state{made: slices.Clone(c.before), out: &lines{w: &out}}
			typist := typist{streams: streams{out: s.out}, steps: steps, at: s, run: s.run}
			done, err := typist.typeTo(t.Context(), c.to)
			if err != nil || done != c.done || strings.Join(s.made, " ") != c.made {
				t.Errorf("done %v, made %v, %v", done, s.made, err)
			}
			for _, text := range c.say {
				if !strings.Contains(out.String(), text) {
					t.Errorf("doesn't say %q", text)
				}
			}
			for _, text := range c.not {
				if strings.Contains(out.String(), text) {
					t.Errorf("says %q", text)
				}
			}
			if t.Failed() {
				t.Log(out.String())
			}
		})
	}
}

func TestWriteSteps(t *testing.T) {
	hint := lab.Text{EN: "Apply it.", ZH: "应用它。"}
	var out bytes.Buffer
	err := writeSteps(&out, []guide.Step{
		{Number: 1, Title: lab.Text{EN: "One", ZH: "一"}, State: guide.Done},
		{Number: 2, Title: lab.Text{EN: "Two", ZH: "二"}, State: guide.Open, Hint: &hint, Because: "no such key: x"},
		{Number: 3, Title: lab.Text{EN: "Three", ZH: "三"}, State: guide.Unchecked},
	}, "en")
	want := " 1  done      One\n 2  not yet   Two\n              Apply it.\n              (no such key: x)\n 3  -         Three\n"
	if err != nil || out.String() != want {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// TestPeopleUsage wants what people mistype to be named before anything is
// looked for.
func TestPeopleUsage(t *testing.T) {
	for args, want := range map[string]string{
		"guide l-5-sandboxing":                             "did you mean l-4-sandboxing?",
		"guide l-4-sandboxing -o json":                     "text or markdown",
		"check l-4-sandboxing --step 99":                   "has the steps 1 to",
		"check l-4-sandboxing --step -1":                   "--step is -1",
		"run l-4-sandboxing --step 99":                     "has the steps 1 to",
		"run l-4-sandboxing l-3-containerization --step 1": "--step is for one lab",
		"run --all --step 1":                               "[all step]",
		"verify --failed-only":                             "no run of this cluster is known",
		"verify --failed-only --claim 29-5":                "[claim failed-only]",
		"verify --lab l-5-sandboxing":                      "did you mean l-4-sandboxing?",
		"manifest isolation/sandbocs.yaml":                 "did you mean isolation/sandbox.yaml?",
		"manifest quota.yaml":                              "known: docker/, isolation/, kubernetes/",
		"kubectl":                                          "requires at least 1 arg",
		"kubectl apply -f none.yaml":                       "none.yaml",
		"shell --provider k0s":                             `--provider is "k0s"`,
	} {
		t.Run(args, func(t *testing.T) {
			_, _, err := execute(t, strings.Fields(args)...)
			if err == nil || !strings.Contains(err.Error(), want) || exitCode(err) != exitUsage {
				t.Errorf("exit code %d, %v; want %s", exitCode(err), err, want)
			}
		})
	}
	if out, _, err := execute(t, "guide", "l-4-sandboxing", "--lang", "zh"); err != nil || !strings.Contains(out, "Sentry") {
		t.Errorf("%v, %s", err, out)
	}
}

// TestVariables: the variables that labctl shell sets are the flags' defaults.
func TestVariables(t *testing.T) {
	t.Setenv("LABCTL_NAME", "class-a")
	t.Setenv("LABCTL_CATALOGUE", "/none")
	cmd := newVerifyCommand(&global{})
	for flag, want := range map[string]string{"name": "class-a", "catalogue": "/none"} {
		if got := cmd.Flags().Lookup(flag).DefValue; got != want {
			t.Errorf("--%s is %q", flag, got)
		}
	}
}
