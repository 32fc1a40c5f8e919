package formats

import (
	"strings"
	"testing"
	"time"

	"github.com/isolation-stack/labctl/pkg/docs"
)

// TestHostileTextsEnd gives the libraries texts that are made to take long,
// or to exhaust the stack, of the largest size that is judged.
func TestHostileTextsEnd(t *testing.T) {
	fill := func(before, part, after string) string {
		return before + strings.Repeat(part, (maxText-len(before)-len(after)-1)/len(part)) + after + "\n"
	}
	for name, e := range map[string]docs.Example{
		"rego not":         example("rego", fill("package a\nx if ", "not ", "y")),
		"rego with":        example("rego", fill("package a\nx if y", " with input.a as 1", "")),
		"rego calls":       example("rego", fill("package a\nx := ", "1+", "1")),
		"rego refs":        example("rego", fill("package a\nx := y", ".a", "")),
		"rego rules":       example("rego", fill("package a\n", "r if { input.x }\n", "")),
		"rego unsafe":      example("rego", fill("package a\nr if {\n", "x < y\n", "}")),
		"rego deep":        example("rego", "package a\nx := "+strings.Repeat("[y | y := ", 50)+"1"+strings.Repeat("]", 50)+"\n"),
		"rego sets":        example("rego", "package a\nx := "+strings.Repeat("{", 199)+"1"+strings.Repeat("}", 199)+"\n"),
		"rego else":        example("rego", fill("package a\nr if input.x", " else := 1 if input.y", "")),
		"promql minus":     example("promql", fill("", "- ", "a")),
		"promql sum":       example("promql", fill("a", " + a", "")),
		"promql lines":     example("promql", fill("", "a]\n\n", "")),
		"toml keys":        example("toml", fill("a", ".a", " = 1")),
		"toml tables":      example("toml", fill("", "[[a]]\n", "")),
		"toml plugins":     example("toml", fill("version = 3\n", "[plugins.\"io.containerd.grpc.v1.cri\".x]\n", "")),
		"dockerfile lines": example("dockerfile", fill("FROM a\nRUN a", " \\\n a", "")),
		"dockerfile heres": example("dockerfile", fill("FROM a\nRUN", " <<A", "")),
		"dockerfile from":  example("dockerfile", fill("", "FROM A\n", "")),
		"json":             example("json", fill("", "1 ", "x")),
		"yaml groups":      example("yaml", fill("groups:\n", "- rules: [{alert: a, expr: 'a['}]\n", "")),
		"yaml prometheus":  example("yaml", fill("groups: [{rules: [{alert: a, expr: \"", "- ", "a\"}]}]")),
		"yaml large":       example("yaml", "apiVersion: v1\nkind: ConfigMap\ndata:\n"+strings.Repeat(" ? |\n  a\n : |\n  b\n", 100_000)),
		"yaml rules":       example("yaml", "groups:\n"+strings.Repeat("- rules: [{alert: a, expr: 'a b'}]\n", 50_000)),
		"yaml files":       example("yaml", fill("apiVersion: v1\nkind: ConfigMap\ndata:\n", " ? |\n  a\n : |\n  b\n", "")),
		"yaml templates":   example("yaml", fill("apiVersion: templates.gatekeeper.sh/v1\nkind: ConstraintTemplate\nspec:\n targets:\n", " - rego: package a\n", "")),
		"yaml compose":     example("yaml", fill("services:\n", " a: {image: b, x: 1}\n", "")),
	} {
		t.Run(name, func(t *testing.T) {
			e.Class = docs.Config
			if strings.HasSuffix(name, "compose") {
				e.Format = "compose"
			}
			start := time.Now()
			found := check(e)
			t.Logf("%d findings in %v", len(found), time.Since(start))
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
			if len(found) > maxFindings+1 {
				t.Errorf("%d findings", len(found))
			}
		})
	}
}
