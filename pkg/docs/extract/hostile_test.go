package extract

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// hostile are documents made to take long or much; n says how large they are.
var hostile = map[string]func(n int) string{
	"fences":               func(n int) string { return strings.Repeat("```\na\n```\n", n/10) },
	"unclosed fences":      func(n int) string { return strings.Repeat("- ```\n", n/6) },
	"empty fences":         func(n int) string { return strings.Repeat("```\n", n/4) },
	"tildes":               func(n int) string { return strings.Repeat("~", n) },
	"one fence":            func(n int) string { return "```yaml\n" + strings.Repeat("\n", n) },
	"nested lists":         func(n int) string { return strings.Repeat("- ", n/4) + "a\n" + strings.Repeat("\n", n/2) },
	"nested quotes":        func(n int) string { return strings.Repeat(">", n/2) + "a\n" + strings.Repeat("b\n", n/4) },
	"deep quotes":          func(n int) string { return strings.Repeat(strings.Repeat("> ", 60)+"a\n", n/122) },
	"deep lists":           func(n int) string { return strings.Repeat("- ", 30) + "a\n" + strings.Repeat("\n", n) },
	"admonitions":          func(n int) string { return strings.Repeat("!!! a\n", n/6) },
	"list items":           func(n int) string { return strings.Repeat("- a\n", n/4) },
	"growing indent":       func(n int) string { return growing(n, " ", "- a\n") },
	"growing quotes":       func(n int) string { return growing(n, ">", "a\n") },
	"growing fences":       func(n int) string { return growing(n, "`", "\n") },
	"growing spans":        func(n int) string { return growing(n, "`", " ") },
	"paragraphs":           func(n int) string { return strings.Repeat("a\n\n", n/3) },
	"headings":             func(n int) string { return strings.Repeat("# `*[\n", n/6) },
	"brackets in headings": func(n int) string { return strings.Repeat("# "+strings.Repeat("[*_`", 200)+"\n", n/803) },
	"setext":               func(n int) string { return strings.Repeat("a\n=\n", n/4) },
	"indented":             func(n int) string { return strings.Repeat("    a\n\na\n\n", n/10) },
	"comments":             func(n int) string { return strings.Repeat("<!--", n/4) },
	"comments in text":     func(n int) string { return "a " + strings.Repeat("<!-- ", n/5) },
	"marks":                func(n int) string { return strings.Repeat("<!-- labctl: skip reason=a -->", n/30) },
	"marks in a line":      func(n int) string { return "a" + strings.Repeat("<!--labctl: after: 1-->", n/23) + "\n```\na\n```\n" },
	"marks and blocks": func(n int) string {
		return strings.Repeat("<!-- labctl: skip reason=a -->\n```\na\n```\n", n/41)
	},
	"marks in lines":  func(n int) string { return strings.Repeat("a<!--labctl:a-->\n", n/18) },
	"html":            func(n int) string { return strings.Repeat("<a b='", n/6) },
	"html lines":      func(n int) string { return strings.Repeat("<div\n", n/5) },
	"backslashes":     func(n int) string { return strings.Repeat("\\", n) + "<!--" },
	"tabs":            func(n int) string { return strings.Repeat("\t", n) },
	"tabs in lists":   func(n int) string { return strings.Repeat("-\t", n/2) },
	"nul":             func(n int) string { return strings.Repeat("\x00", n) },
	"invalid":         func(n int) string { return strings.Repeat("\xff\n", n/2) },
	"returns":         func(n int) string { return strings.Repeat("\r", n) },
	"thematic":        func(n int) string { return "---\n" + strings.Repeat("a:\n", n/3) },
	"one line":        func(n int) string { return strings.Repeat("a", n) },
	"sh heredocs":     func(n int) string { return shellBlock(strings.Repeat("cat <<EOF\n", n/10)) },
	"sh many in line": func(n int) string { return shellBlock(strings.Repeat("<<E ", n/8) + "\n" + strings.Repeat("E\n", n/4)) },
	"sh same end":     func(n int) string { return shellBlock(strings.Repeat("cat <<-EOF\n \tEOF\n", n/17)) },
	"sh files": func(n int) string {
		return shellBlock(strings.Repeat("cat <<E >>f\napiVersion: a\nkind: b\nE\nkubectl apply -f f\n", n/58))
	},
	"sh many files": func(n int) string {
		return strings.Repeat(shellBlock(strings.Repeat("cat <<E >>d/$RANDOM\na\nE\nkubectl apply -f d\n", 20)), n/900)
	},
	"sh parentheses": func(n int) string { return shellBlock(strings.Repeat("(", n)) },
	"sh substitutions": func(n int) string {
		return shellBlock(strings.Repeat("$(", n/2))
	},
	"sh blocks of parentheses": func(n int) string { return strings.Repeat(shellBlock(strings.Repeat("(", 30<<10)), n/(30<<10)) },
	"sh blocks of ifs":         func(n int) string { return strings.Repeat(shellBlock(strings.Repeat("if ", 10<<10)), n/(30<<10)) },
	"sh quotes": func(n int) string {
		return strings.Repeat(shellBlock(strings.Repeat("a ' \n) `\n", 3<<10)), n/(30<<10))
	},
	"sh bare":      func(n int) string { return shellBlock(strings.Repeat("apiVersion:\n#\n", n/14)) },
	"sh bare gaps": func(n int) string { return shellBlock("\napiVersion:\n" + strings.Repeat("#\n", n/2)) },
	"sh prompts":   func(n int) string { return shellBlock(strings.Repeat("$ cat <<E\n> a\n> E\n", n/18)) },
	"sh pipes":     func(n int) string { return strings.Repeat(shellBlock("a"+strings.Repeat("|a", 15<<10)), n/(30<<10)) },
	"sh lists":     func(n int) string { return strings.Repeat(shellBlock("a"+strings.Repeat("&&a", 10<<10)), n/(30<<10)) },
}

func shellBlock(text string) string { return "```bash\n" + text + "\n```\n" }

// growing repeats what grows by one before an end, up to n bytes.
func growing(n int, what, end string) string {
	var b strings.Builder
	for i := 1; b.Len()+i < n; i++ {
		b.WriteString(strings.Repeat(what, i) + end)
	}
	return b.String()
}

// TestHostile checks that no document takes more than some seconds of
// processor time, however large it is.
func TestHostile(t *testing.T) {
	for name, text := range hostile {
		t.Run(name, func(t *testing.T) {
			for _, n := range []int{150_000, MaxSize} {
				data := []byte(text(n))
				data = data[:min(len(data), MaxSize)]
				start := processorTime(t)
				d := Markdown("a.md", data)
				took := processorTime(t) - start
				t.Logf("%8d bytes: %s, %d examples, %d findings", len(data), took.Round(time.Millisecond), len(d.Examples), len(d.Findings))
				if took > 10*time.Second {
					t.Errorf("%d bytes took %s of processor time", len(data), took)
				}
			}
		})
	}
}

// processorTime is what the tests have taken so far; unlike the clock it
// doesn't show what else the machine does.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
