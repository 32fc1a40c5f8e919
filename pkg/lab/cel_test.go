package lab_test

import (
	"strings"
	"testing"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/lab"
)

func TestExpressions(t *testing.T) {
	outputs := []evidence.Output{
		{Name: "a.kernel.release", Type: evidence.String},
		{Name: "a.start", Type: evidence.Duration},
		{Name: "a.memory", Type: evidence.Quantity},
		{Name: "a.count", Type: evidence.Int},
		{Name: "a.ratio", Type: evidence.Double},
		{Name: "a.there", Type: evidence.Bool},
		{Name: "a.names", Type: evidence.List},
		{Name: "a.seccomp", Type: evidence.Int},
		{Name: "a.seccomp.mode", Type: evidence.String}, // a name that another begins with
		{Name: "a.absent", Type: evidence.String},
		{Name: "a.namespace.package", Type: evidence.Int}, // words that CEL keeps, but not after a dot
	}
	set := evidence.Set{
		{Name: "a.kernel.release", Type: evidence.String, Value: "6.18.0"},
		{Name: "a.start", Type: evidence.Duration, Value: 1500 * time.Millisecond},
		{Name: "a.memory", Type: evidence.Quantity, Value: "64Mi"},
		{Name: "a.count", Type: evidence.Int, Value: int64(3)},
		{Name: "a.ratio", Type: evidence.Double, Value: 1.25},
		{Name: "a.there", Type: evidence.Bool, Value: true},
		{Name: "a.names", Type: evidence.List, Value: []string{"pid", "net"}},
		{Name: "a.seccomp", Type: evidence.Int, Value: int64(2)},
		{Name: "a.seccomp.mode", Type: evidence.String, Value: "filter"},
		{Name: "a.namespace.package", Type: evidence.Int, Value: int64(1)},
	}
	language, err := lab.NewLanguage(outputs)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`a.kernel.release == "6.18.0"`:                                      "true",
		`a.kernel.release.startsWith("5.")`:                                 "false",
		`a.kernel.release.matches("^6\\.[0-9]+")`:                           "true",
		`a.kernel.release.split(".")[0] == "6"`:                             "true",
		`a.start < duration("2s") && a.start > duration("1s")`:              "true",
		`a.memory.isLessThan(quantity("65Mi"))`:                             "true",
		`a.memory == quantity("67108864")`:                                  "true",
		`a.memory.isGreaterThan(quantity("1Gi"))`:                           "false",
		`a.count < a.ratio`:                                                 "false",
		`math.greatest(a.count, 5) == 5`:                                    "true",
		`"net" in a.names && sets.contains(a.names, ["pid"])`:               "true",
		`a.names.exists(n, n == "mnt")`:                                     "false",
		`a.seccomp == 2 && a.seccomp.mode == "filter"`:                      "true",
		`a.there ? a.ratio > 1.0 : false`:                                   "true",
		`a.namespace.package == 1`:                                          "true",
		`defined(a.absent) && a.absent == "x"`:                              "false",
		`defined(a.count)`:                                                  "true",
		`a.absent == "x"`:                                                   "the probe declared a.absent but didn't return it",
		`a.kernel.release == "" && a.absent == "x"`:                         "false",
		`a.count / 0 == 1`:                                                  "a.count / 0 == 1: division by zero",
		`a.names.all(x, a.names.all(y, a.kernel.release.matches("("+x+y)))`: "error parsing regexp",
	} {
		t.Run(text, func(t *testing.T) {
			e, issues := language.Compile(text)
			if len(issues) > 0 {
				t.Fatalf("doesn't compile: %+v", issues)
			}
			got, err := e.Eval(t.Context(), set)
			switch want {
			case "true", "false":
				if err != nil || got != (want == "true") {
					t.Errorf("gives %v, %v", got, err)
				}
			default:
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("gives %v, %v; want %s", got, err, want)
				}
			}
		})
	}
}

func TestTypesAreChecked(t *testing.T) {
	language, err := lab.NewLanguage([]evidence.Output{
		{Name: "a.start", Type: evidence.Duration}, {Name: "a.memory", Type: evidence.Quantity}, {Name: "a.count", Type: evidence.Int},
	})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`a.start < a.count`:            "no matching overload",
		`a.memory < quantity("1Mi")`:   "no matching overload",
		`a.memory == 64`:               "no matching overload",
		`a.count == "3"`:               "no matching overload",
		`a.count.mode == "3"`:          "does not support field selection",
		`a.coun == 3`:                  "no probe of this claim gives a.coun; did you mean a.count?",
		`b == 3`:                       "no probe of this claim gives b; known: ",
		`a.count`:                      "gives int; it must give a bool",
		`dyn(a.count == 3)`:            "gives dyn; it must give a bool",
		`a.count == 3 &&`:              "Syntax error",
		`defined(1 + 1)`:               "defined() wants the name of a value",
		`[1, 2].exists(x, x == 1)`:     "looks at no evidence",
		strings.Repeat("(", 400) + `1`: "recursion",
	} {
		_, issues := language.Compile(text)
		if len(issues) == 0 || !strings.Contains(issues[0].Message, want) {
			t.Errorf("%.60s: %+v; want %s", text, issues, want)
		}
	}
}

func TestCostIsLimited(t *testing.T) {
	language, err := lab.NewLanguage([]evidence.Output{{Name: "a.names", Type: evidence.List}})
	if err != nil {
		t.Fatal(err)
	}
	e, issues := language.Compile(`a.names.all(w, a.names.all(x, a.names.all(y, a.names.all(z, w + x + y + z != ""))))`)
	if len(issues) > 0 {
		t.Fatal(issues)
	}
	_, err = e.Eval(t.Context(), evidence.Set{{Name: "a.names", Type: evidence.List, Value: strings.Split(strings.Repeat("x,", 200), ",")}})
	if err == nil || !strings.Contains(err.Error(), "cost limit") {
		t.Errorf("got %v", err)
	}
}

func TestNamesThatExpressionsCanNotSay(t *testing.T) {
	for _, name := range []string{"a.boot-id", "a.1st", "a.", "a.in", "a.Kernel"} {
		if _, err := lab.NewLanguage([]evidence.Output{{Name: name, Type: evidence.Int}}); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	twice := []evidence.Output{{Name: "a.x", Type: evidence.Int}, {Name: "a.x", Type: evidence.Bool}}
	if _, err := lab.NewLanguage(twice); err == nil || !strings.Contains(err.Error(), "a.x twice") {
		t.Errorf("twice: %v", err)
	}
	if _, err := lab.NewLanguage([]evidence.Output{{Name: "a.x", Type: "blob"}}); err == nil {
		t.Error("an unknown type was taken")
	}
}
