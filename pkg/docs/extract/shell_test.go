package extract

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/pkg/docs"
)

const pod = "apiVersion: v1\nkind: Pod\n"

// streamBriefs gives the streams of a document whose only block is a script,
// with its first line at line 1.
func streamBriefs(text string) (streams, findings []string) {
	d := Markdown("a.md", []byte(text))
	for _, e := range d.Examples {
		if e.Origin == docs.Fenced || e.Origin == docs.Indented {
			continue
		}
		s := fmt.Sprintf("%d:%d-%d %s", e.Line, e.Column, e.EndLine, e.Origin)
		if e.Target != "" {
			s += " -n " + e.Target
		}
		streams = append(streams, s+" "+strings.ReplaceAll(e.Text, "\n", "|"))
	}
	return streams, briefFindings(d)
}

const manifest = "apiVersion: v1|kind: Pod|"

// streamCases are shell blocks with their streams.
var streamCases = map[string]struct {
	script string // the block's text; its first line is line 2
	want   []string
}{
	"plain":           {"kubectl apply -f - <<EOF\n" + pod + "EOF\n", []string{"3:1-4 heredoc " + manifest}},
	"quoted":          {"kubectl apply -f - <<'EOF'\na: \\$x\nEOF\n", []string{`3:1-3 heredoc a: \$x|`}},
	"double quoted":   {"kubectl apply -f - <<\"E F\"\na: \\$x\nE F\n", []string{`3:1-3 heredoc a: \$x|`}},
	"backslash":       {"kubectl apply -f - <<\\EOF\na: \\$x\nEOF\n", []string{`3:1-3 heredoc a: \$x|`}},
	"unquoted":        {"kubectl apply -f - <<EOF\na: \\$x $y \\` \\n\nb: \\\n  1\n2\nEOF\n", []string{"3:1-6 heredoc a: $x $y ` \\n|b:   1|2|"}},
	"tabs":            {"kubectl apply -f - <<-EOF\n\ta: 1\n\t\tb: 2\n\tEOF\n", []string{"3:2-4 heredoc a: 1|b: 2|"}},
	"blank before":    {"kubectl apply -f - << EOF\na: 1\nEOF\n", []string{"3:1-3 heredoc a: 1|"}},
	"operator first":  {"kubectl apply <<EOF -f -\na: 1\nEOF\n", []string{"3:1-3 heredoc a: 1|"}},
	"create":          {"kubectl create --filename=- <<EOF\na: 1\nEOF\n", []string{"3:1-3 heredoc a: 1|"}},
	"short":           {"oc replace -f- <<EOF\na: 1\nEOF\n", []string{"3:1-3 heredoc a: 1|"}},
	"diff":            {"kubectl diff -f /dev/stdin <<EOF\na: 1\nEOF\n", []string{"3:1-3 heredoc a: 1|"}},
	"namespace":       {"kubectl -n demo apply -f - <<EOF\na: 1\nEOF\n", []string{"3:1-3 heredoc -n demo a: 1|"}},
	"namespace, long": {"kubectl apply --namespace=demo -f - <<EOF\na: 1\nEOF\n", []string{"3:1-3 heredoc -n demo a: 1|"}},
	"namespace, near": {"kubectl apply -ndemo -f - <<EOF\na: 1\nEOF\n", []string{"3:1-3 heredoc -n demo a: 1|"}},
	"namespace, quoted": {"kubectl apply -n 'demo' -f - <<EOF\na: 1\nEOF\n", []string{
		"3:1-3 heredoc -n demo a: 1|"}},
	"namespace of a variable": {"kubectl apply -n $NS -f - <<EOF\na: 1\nEOF\n", []string{"3:1-3 heredoc a: 1|"}},
	"sudo":                    {"sudo k3s kubectl apply -f - <<EOF\na: 1\nEOF\n", []string{"3:1-3 heredoc a: 1|"}},
	"in a container":          {"docker exec -i node kubectl apply -f - <<EOF\na: 1\nEOF\n", []string{"3:1-3 heredoc a: 1|"}},
	"lines go on":             {"kubectl apply \\\n  -n demo \\\n  -f - <<EOF\na: 1\nEOF\n", []string{"5:1-5 heredoc -n demo a: 1|"}},
	"pipe":                    {"cat <<EOF | kubectl apply -n demo -f -\na: 1\nEOF\n", []string{"3:1-3 heredoc -n demo a: 1|"}},
	"pipe on the next line":   {"cat <<EOF |\na: 1\nEOF\nkubectl apply -f -\n", []string{"3:1-3 heredoc a: 1|"}},
	"pipe through envsubst":   {"cat <<EOF | envsubst | kubectl apply -f -\na: $A\nEOF\n", []string{"3:1-3 heredoc a: $A|"}},
	"pipe through others":     {"cat <<EOF | sed s/a/b/ | kubectl apply -f -\na: 1\nEOF\n", nil},
	"echo":                    {"echo 'a: 1\nb: \"2\"' | kubectl apply -f -\n", []string{"2:7-3 heredoc a: 1|b: \"2\"|"}},
	"echo, double":            {"echo \"a: \\\"1\\\"\" | kubectl apply -n x -f -\n", []string{"2:7-2 heredoc -n x a: \"1\"|"}},
	"echo, wide":              {"echo 说明 && echo '键: 1\n值: 2' | kubectl apply -f -\n", []string{"2:18-3 heredoc 键: 1|值: 2|"}},
	"here-string":             {"kubectl apply -f - <<<'a: 1'\n", []string{"2:24-2 heredoc a: 1|"}},
	"process substitution":    {"kubectl apply -f <(cat <<EOF\na: 1\nEOF\n)\n", []string{"3:1-3 heredoc a: 1|"}},
	"group":                   {"{ cat <<A; cat <<B; } | kubectl apply -f -\na: 1\nA\nb: 1\nB\n", []string{"3:1-3 heredoc a: 1|", "5:1-5 heredoc b: 1|"}},
	"in a loop":               {"for i in 1 2; do\n  kubectl apply -n x -f - <<EOF\na: $i\nEOF\ndone\n", []string{"4:1-4 heredoc -n x a: $i|"}},
	"several": {"kubectl apply -f - <<EOF\na: 1\nEOF\nkubectl get pods\nkubectl apply -f - <<EOF\nb: 1\n---\nc: 1\nEOF\n", []string{
		"3:1-3 heredoc a: 1|", "7:1-9 heredoc b: 1|---|c: 1|"}},
	"file":              {"cat <<EOF > a.yaml\na: 1\nEOF\nkubectl apply -n x -f ./a.yaml\n", []string{"3:1-3 heredoc -n x a: 1|"}},
	"file first":        {"cat > dir/a.yaml <<EOF\na: 1\nEOF\nkubectl apply -f dir/\n", []string{"3:1-3 heredoc a: 1|"}},
	"file by tee":       {"sudo tee a.yaml <<EOF >/dev/null\na: 1\nEOF\nkubectl create -f a.yaml\n", []string{"3:1-3 heredoc a: 1|"}},
	"file by a pipe":    {"cat <<EOF | sudo tee a.yaml\na: 1\nEOF\nkubectl create -f a.yaml,b.yaml\n", []string{"3:1-3 heredoc a: 1|"}},
	"file, more":        {"cat <<EOF >a\na: 1\nEOF\ncat <<EOF >>a\nb: 1\nEOF\nkubectl apply -f a\n", []string{"3:1-3 heredoc a: 1|", "6:1-6 heredoc b: 1|"}},
	"file, again":       {"cat <<EOF >a\na: 1\nEOF\ncat <<EOF >a\nb: 1\nEOF\nkubectl apply -f a\n", []string{"6:1-6 heredoc b: 1|"}},
	"file, read":        {"cat <<EOF >a\na: 1\nEOF\nkubectl apply -n x -f - <a\n", []string{"3:1-3 heredoc -n x a: 1|"}},
	"file, cat":         {"cat <<EOF >a\na: 1\nEOF\ncat a | kubectl apply -f -\n", []string{"3:1-3 heredoc a: 1|"}},
	"file, not applied": {"cat <<EOF >a.yaml\na: 1\nEOF\n", nil},
	"file, other":       {"cat <<EOF >a.yaml\na: 1\nEOF\nkubectl apply -f b.yaml\n", nil},
	"file, manifest":    {"cat <<EOF >a.yaml\n" + pod + "EOF\n", []string{"3:1-4 heredoc " + manifest}},
	"other program":     {"ssh node 'kubectl apply -f -' <<EOF\n" + pod + "EOF\n", []string{"3:1-4 heredoc " + manifest}},
	"other text":        {"cat <<EOF >Dockerfile\nFROM scratch\nEOF\n", nil},
	"deleted":           {"kubectl delete -f - <<EOF\na: 1\nEOF\n", nil},
	"placeholder":       {"kubectl -n <namespace> apply -f - <<EOF\n" + pod + "EOF\nkubectl apply -n y -f - <<EOF\na: 1\nEOF\n", []string{"3:1-4 heredoc " + manifest, "7:1-7 heredoc -n y a: 1|"}},
	"not valid":         {"kubectl apply -n x -f - <<EOF\na: 1\nEOF\n... | (\nkubectl apply -n y -f - <<EOF\nb: 1\nEOF\n", []string{"3:1-3 heredoc -n x a: 1|", "7:1-7 heredoc -n y b: 1|"}},
	"placeholder as <<x>>": {"kubectl create ns <<name>>\nkubectl apply -f - <<EOF\na: 1\nEOF\n", []string{
		"4:1-4 heredoc a: 1|"}},
	"comment":              {"# kubectl apply -f - <<EOF\nkubectl apply -f - <<EOF\na: 1\nEOF\n", []string{"4:1-4 heredoc a: 1|"}},
	"shift":                {"echo $((1<<n))\necho $(( 1 << N ))\nkubectl apply -f - <<EOF\na: 1\nEOF\n", []string{"5:1-5 heredoc a: 1|"}},
	"here-doc in here-doc": {"cat <<EOF >x.sh\nkubectl apply -f - <<E2\n" + pod + "E2\nEOF\n", nil},
	"empty":                {"kubectl apply -f - <<EOF\nEOF\nkubectl apply -f - <<EOF\n\nEOF\n", nil},
	"prompts":              {"$ kubectl apply -n x -f - <<EOF\n> a: 1\n>\n> b: 2\n> EOF\npod/a created\n$ ls\n", []string{"3:3-5 heredoc -n x a: 1||b: 2|"}},
	"prompts, text without": {"$ kubectl apply -f - <<EOF\na: 1\nEOF\npod/a isn't there\n$ kubectl apply -n y -f - <<EOF\nb: 1\nEOF\n", []string{
		"3:1-3 heredoc a: 1|", "7:1-7 heredoc -n y b: 1|"}},
	"prompts, lines go on": {"$ kubectl apply -n x \\\n>   -f - <<EOF\n> a: 1\n> EOF\n", []string{"4:3-4 heredoc -n x a: 1|"}},
	"prompts, more":        {"user@host:~$ kubectl apply -n x -f - <<EOF\na: 1\nEOF\n", []string{"3:1-3 heredoc -n x a: 1|"}},
	"output of a manifest": {"$ kubectl get pod a -o yaml\n\n" + pod, nil},
	"output, no prompt":    {"kubectl get pod a -o yaml\n" + pod, nil},

	"bare":                     {"# Then:\n" + pod, []string{"3:1-4 bare " + manifest}},
	"bare, kind first":         {"ls\n\nkind: Pod\napiVersion: v1\n", []string{"4:1-5 bare kind: Pod|apiVersion: v1|"}},
	"bare, then commands":      {pod + "spec:\n  a: 1\n\n# Now\nkubectl get pods\n", []string{"2:1-5 bare " + manifest + "spec:|  a: 1|"}},
	"bare, blank lines inside": {pod + "\n# comment\nspec:\n- a\n\nls\n", []string{"2:1-7 bare " + manifest + "|# comment|spec:|- a|"}},
	"bare, two":                {pod + "\n# next\n" + pod, []string{"2:1-3 bare " + manifest, "6:1-7 bare " + manifest}},
	"bare, separated":          {pod + "---\n" + pod, []string{"2:1-6 bare " + manifest + "---|" + manifest}},
	"bare, apostrophes":        {"# don't\n" + pod + "data: it's\n\nkubectl apply -n x -f - <<EOF\na: 1\nEOF\n", []string{"3:1-5 bare " + manifest + "data: it's|", "8:1-8 heredoc -n x a: 1|"}},
	"bare, not a paragraph":    {"echo a\n" + pod, nil},
}

func TestStreams(t *testing.T) {
	for name, c := range streamCases {
		t.Run(name, func(t *testing.T) {
			got, findings := streamBriefs("```bash\n" + c.script + "```\n")
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			if len(findings) > 0 {
				t.Errorf("findings: %q", findings)
			}
		})
	}
}

func TestShellLanguages(t *testing.T) {
	script := "kubectl apply -f - <<EOF\na: 1\nEOF\n"
	for text, want := range map[string]int{
		"```sh\n" + script + "```\n":                                   1,
		"```console\n$ " + script + "```\n":                            1,
		"```Shell\n" + script + "```\n":                                1,
		"```\n$ " + script + "```\n":                                   1,
		"\n    $ " + strings.ReplaceAll(script, "\n", "\n    ") + "\n": 1,
		"```\n" + script + "```\n":                                     1,
		"```yaml\n# Apply:\n" + script + "```\n":                       1,
		"```go\n" + script + "```\n":                                   0,
		"```\nSee:\n" + script + "```\n":                               0,
		"```yaml\n<<: *a\nb: |\n  " + script + "```\n":                 0,
		"```yaml\n$ " + script + "```\n":                               0,
	} {
		if got, _ := streamBriefs(text); len(got) != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

// TestStreamsInContainers checks places where the block is indented.
func TestStreamsInContainers(t *testing.T) {
	text := "> 1. 步骤\n>\n>    ```bash\n>    kubectl apply -f - <<-EOF\n>    \ta: 1\n>    \t  b: 2\n>    \tEOF\n>    ```\n"
	d := Markdown("a.md", []byte(text))
	if len(d.Examples) != 2 {
		t.Fatalf("%q", briefs(d))
	}
	if got, want := brief(d.Examples[1]), "5:7-6 heredoc yaml |5:7 a: 1 |6:7   b: 2"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestFilesAcrossBlocks checks a file that one block writes and another one
// applies.
func TestFilesAcrossBlocks(t *testing.T) {
	write, apply := "## One\n\n```bash\ncat <<EOF >a.yaml\na: 1\nEOF\n```\n\n", "## Two\n\n```bash\nkubectl apply -n x -f a.yaml\n```\n"
	got, _ := streamBriefs(write + apply)
	if want := []string{"5:1-5 heredoc -n x a: 1|"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got, _ := streamBriefs(apply + write); got != nil {
		t.Errorf("applied before it is written: %q", got)
	}
	if d := Markdown("a.md", []byte(write+apply)); d.Examples[1].Heading != "One" || d.Examples[1].Origin != docs.Heredoc || d.Examples[2].Line != 11 {
		t.Errorf("%q", briefs(d))
	}
}

func TestUnclosedHeredoc(t *testing.T) {
	for script, want := range map[string][]string{
		"kubectl apply -f - <<EOF\na: 1\n  EOF\nls\n":            {"4:1 unclosed-heredoc"},
		"kubectl apply -f - <<EOF\na: 1\nEOF \n":                 {"4:1 unclosed-heredoc"},
		"kubectl apply -f - <<-EOF\na: 1\n  EOF\n":               {"4:1 unclosed-heredoc"},
		"ls; kubectl apply -f - <<EOF\na: 1\n":                   {"2:24 unclosed-heredoc"},
		"kubectl apply -f - <<-EOF\n\ta: 1\n\tEOF\n":             {},
		"kubectl apply -f - <<'EOF'\na: 1\nEOF\n":                {},
		"kubectl create ns <<name>>\nkubectl create ns <<name\n": {},
		"echo '<<EOF' \"<<EOF\" # <<EOF\n":                       {},
	} {
		if _, got := streamBriefs("```bash\n" + script + "```\n"); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, want %q", script, got, want)
		}
	}
	// What was meant is still looked at.
	if got, _ := streamBriefs("```bash\nkubectl apply -n x -f - <<EOF\na: 1\n  EOF\n```\n"); !reflect.DeepEqual(got, []string{"3:1-3 heredoc -n x a: 1|"}) {
		t.Errorf("%q", got)
	}
}
