package report

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/isolation-stack/labctl/pkg/lab"
)

// GuideFormats are the formats of Guide.
var GuideFormats = []string{"text", "markdown"}

// Guide is a lab for a person: what it shows, what it needs, the steps, and
// the claims of the document that labctl verifies.
func Guide(format string, l *lab.Lab, o Options) ([]byte, error) {
	switch format {
	case "text":
		return guideText(l, o), nil
	case "markdown":
		return guideMarkdown(l, o), nil
	}
	return nil, fmt.Errorf("unknown format %q; write one of %s", format, strings.Join(GuideFormats, ", "))
}

// GuideFiles are the guides of a lab in both languages, by their paths in the
// catalogue; none where it has no steps.
func GuideFiles(l *lab.Lab) map[string][]byte {
	files := map[string][]byte{}
	if len(l.Spec.Steps) == 0 {
		return files
	}
	for _, language := range []Language{English, Chinese} {
		files[path.Join(path.Dir(l.File()), guideFile(language))] = guideMarkdown(l, Options{Language: language})
	}
	return files
}

// guideFile is what the guide in a language is called in its lab's folder.
func guideFile(language Language) string {
	if language == Chinese {
		return "guide.zh.md"
	}
	return "guide.md"
}

// The words of guides.
var (
	wordNeeds    = lab.Text{EN: "What you need", ZH: "准备"}
	wordSteps    = lab.Text{EN: "Steps", ZH: "步骤"}
	wordLook     = lab.Text{EN: "Look.", ZH: "观察："}
	wordHint     = lab.Text{EN: "Not done yet?", ZH: "还没完成？"}
	wordCheck    = lab.Text{EN: "How far you are", ZH: "检查进度"}
	wordVerifies = lab.Text{EN: "What the document says, and what labctl finds", ZH: "文档怎么说，labctl 看到什么"}
	wordOther    = lab.Text{EN: "中文", ZH: "English"}
	wordUp       = lab.Text{EN: "brings up a cluster with the runtime classes runc, gvisor and wasmedge", ZH: "启动一个带有 runc、gvisor、wasmedge 运行时类的集群"}
	wordShell    = lab.Text{EN: "opens a shell whose `kubectl` is this cluster's, in the namespace `lab`; where there is no kubectl it is that of the node", ZH: "打开一个 shell：其中的 `kubectl` 指向这个集群，默认命名空间是 `lab`；本机没有 kubectl 时使用节点上的"}
	wordNodes    = lab.Text{EN: "The lab wants %d nodes: `labctl up --workers %d`.", ZH: "本实验需要 %d 个节点：`labctl up --workers %d`。"}
	wordAddons   = lab.Text{EN: "Some of its claims use the add-ons %s, which labctl brings up for them; a step that needs one says so: `labctl addon up NAME`.", ZH: "部分论断用到附加组件 %s，由 labctl 自行启动；需要它们的步骤会写明：`labctl addon up 名称`。"}
	wordDocker   = lab.Text{EN: "It has a Docker of its own, in a container that labctl starts and removes.", ZH: "它有自己的 Docker，运行在 labctl 启动并删除的容器里。"}
	wordNone     = lab.Text{EN: "No cluster: everything runs on this machine.", ZH: "不需要集群：一切都在本机运行。"}
	wordState    = lab.Text{EN: "says which steps are done, by the state of the cluster", ZH: "根据集群状态说明哪些步骤已完成"}
	wordDo       = lab.Text{EN: "types the steps up to N for you", ZH: "替你执行到第 N 步"}
	wordReset    = lab.Text{EN: "removes what you made, to begin anew", ZH: "清除你创建的内容，重新开始"}
	wordVerify   = lab.Text{EN: "`labctl verify %s` measures these claims of `%s` again on your cluster.", ZH: "`labctl verify %s` 在你的集群上重新测量 `%s` 的这些论断。"}
	wordColumns  = []lab.Text{{EN: "claim", ZH: "编号"}, {EN: "the document says", ZH: "文档的论断"}, {EN: "expected", ZH: "预期"}, {EN: "what is true instead, or why it is not tested", ZH: "事实，或未测试的原因"}}
)

// verdictWords are the verdicts in Chinese; in English they are their own names.
var verdictWords = map[lab.Verdict]string{
	lab.Confirmed: "证实", lab.Refuted: "否定", lab.Inconclusive: "无定论", lab.Untestable: "无法测试", lab.Planned: "计划中",
}

func verdict(v lab.Verdict, o Options) string {
	if o.Language == Chinese {
		return verdictWords[v]
	}
	return string(v)
}

// command is a command line and what it does.
type command struct{ line, does string }

// preparation is what a person does before the first step.
func preparation(l *lab.Lab, o Options) (commands []command, notes []string) {
	n := l.Spec.Needs
	if n.Nodes != nil && *n.Nodes == 0 {
		notes = append(notes, o.text(wordNone))
	} else {
		commands = append(commands, command{"labctl up", o.text(wordUp)}, command{"labctl shell", o.text(wordShell)})
	}
	if n.Nodes != nil && *n.Nodes > 1 {
		notes = append(notes, fmt.Sprintf(o.text(wordNodes), *n.Nodes, *n.Nodes-1))
	}
	if len(n.Addons) > 0 {
		notes = append(notes, fmt.Sprintf(o.text(wordAddons), strings.Join(n.Addons, ", ")))
	}
	if n.Docker {
		notes = append(notes, o.text(wordDocker))
	}
	return commands, notes
}

// afterwards are the commands that look at a person's work.
func afterwards(l *lab.Lab, o Options) []command {
	name := l.Metadata.Name
	return []command{
		{"labctl check " + name, o.text(wordState)},
		{"labctl run " + name + " --step N", o.text(wordDo)},
		{"labctl reset", o.text(wordReset)},
	}
}

// checked says whether a step of the lab has a check.
func checked(l *lab.Lab) bool {
	for _, s := range l.Spec.Steps {
		if s.Check != nil {
			return true
		}
	}
	return false
}

// brokenLine is where a line of Chinese was broken: YAML folds it to a space,
// which Chinese doesn't have between characters.
var brokenLine = regexp.MustCompile(`([\p{Han}，。；：！？、）”]) +([\p{Han}（“])`)

// prose is text of several sentences, on one line.
func prose(t lab.Text, o Options) string {
	return brokenLine.ReplaceAllString(oneLine(o.text(t)), "$1$2")
}

// instead is what is true in place of a claim that is refuted, or why one
// isn't tested.
func instead(c lab.Claim, o Options) string {
	switch {
	case c.Truth != nil:
		return o.text(*c.Truth)
	case c.Because != nil:
		return o.text(*c.Because)
	}
	return ""
}

func guideMarkdown(l *lab.Lab, o Options) []byte {
	var b bytes.Buffer
	other := Chinese
	if o.Language == Chinese {
		other = English
	}
	fmt.Fprintf(&b, "<!-- Made from %s by: go generate ./labs -->\n\n", lab.FileName)
	fmt.Fprintf(&b, "# %s\n\n[%s](%s)\n\n", o.text(l.Spec.Title), o.text(wordOther), guideFile(other))
	if l.Spec.Intro != nil {
		fmt.Fprintf(&b, "%s\n\n", prose(*l.Spec.Intro, o))
	}
	commands, notes := preparation(l, o)
	fmt.Fprintf(&b, "## %s\n\n", o.text(wordNeeds))
	markdownList(&b, commands, notes)
	fmt.Fprintf(&b, "## %s\n\n", o.text(wordSteps))
	for i, s := range l.Spec.Steps {
		fmt.Fprintf(&b, "### %d. %s\n\n", i+1, oneLine(o.text(s.Title)))
		if s.Run != "" {
			fmt.Fprintf(&b, "```sh\n%s\n```\n\n", strings.TrimSpace(s.Run))
		}
		fmt.Fprintf(&b, "**%s** %s\n\n", o.text(wordLook), prose(s.Look, o))
		if s.Check != nil {
			fmt.Fprintf(&b, "<details><summary>%s</summary>\n\n%s\n\n</details>\n\n", o.text(wordHint), prose(s.Check.Hint, o))
		}
	}
	if checked(l) {
		fmt.Fprintf(&b, "## %s\n\n", o.text(wordCheck))
		markdownList(&b, afterwards(l, o), nil)
	}
	fmt.Fprintf(&b, "## %s\n\n%s\n\n", o.text(wordVerifies), fmt.Sprintf(o.text(wordVerify), l.Metadata.Name, l.Spec.Document))
	line := func(cells ...string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	var header []string
	for _, c := range wordColumns {
		header = append(header, o.text(c))
	}
	line(header...)
	line("---", "---", "---", "---")
	for _, c := range l.Spec.Claims {
		line(c.ID, cell(o.text(c.Statement)), verdict(c.Expect, o), cell(instead(c, o)))
	}
	return b.Bytes()
}

func markdownList(b *bytes.Buffer, commands []command, notes []string) {
	for _, c := range commands {
		fmt.Fprintf(b, "- `%s` %s\n", c.line, c.does)
	}
	for _, n := range notes {
		fmt.Fprintf(b, "- %s\n", n)
	}
	b.WriteByte('\n')
}

func guideText(l *lab.Lab, o Options) []byte {
	var b bytes.Buffer
	paragraph := func(indent int, text string) {
		for _, line := range wrap(strings.ReplaceAll(text, "`", ""), textWidth-indent) {
			fmt.Fprintf(&b, "%s%s\n", strings.Repeat(" ", indent), line)
		}
	}
	list := func(commands []command, notes []string) {
		for _, c := range commands {
			fmt.Fprintf(&b, "  $ %s\n", c.line)
			paragraph(4, c.does)
		}
		for _, n := range notes {
			paragraph(2, n)
		}
	}
	fmt.Fprintf(&b, "%s\n\n", bold(oneLine(o.text(l.Spec.Title)), o))
	if l.Spec.Intro != nil {
		paragraph(0, prose(*l.Spec.Intro, o))
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%s\n", bold(o.text(wordNeeds), o))
	list(preparation(l, o))
	for i, s := range l.Spec.Steps {
		fmt.Fprintf(&b, "\n%s\n", bold(fmt.Sprintf("%d. %s", i+1, oneLine(o.text(s.Title))), o))
		for _, line := range strings.Split(strings.TrimSpace(s.Run), "\n") {
			if line != "" {
				fmt.Fprintf(&b, "   $ %s\n", line)
			}
		}
		paragraph(3, prose(s.Look, o))
	}
	if checked(l) {
		fmt.Fprintf(&b, "\n%s\n", bold(o.text(wordCheck), o))
		list(afterwards(l, o), nil)
	}
	return b.Bytes()
}

// textWidth is how wide text for terminals is, in cells.
const textWidth = 80

// wrap breaks text into lines of at most width cells: between words, and
// between any two characters that are two cells wide, as Chinese is written.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range splitWords(oneLine(text)) {
		if line != "" && cells.StringWidth(line+strings.TrimRight(word, " ")) > width {
			lines = append(lines, strings.TrimRight(line, " "))
			line = ""
		}
		line += word
	}
	if line != "" {
		lines = append(lines, strings.TrimRight(line, " "))
	}
	return lines
}

// closing are the marks that no line begins with.
const closing = "，。；：！？、）》”’"

// splitWords cuts text after spaces and after wide characters; marks that
// close stay with what is before them.
func splitWords(text string) []string {
	var words []string
	start := 0
	runes := []rune(text)
	for i, r := range runes {
		end := i + 1
		if end < len(runes) && strings.ContainsRune(closing, runes[end]) {
			continue
		}
		next := end < len(runes) && cells.RuneWidth(runes[end]) == 2
		if r == ' ' || cells.RuneWidth(r) == 2 || next {
			words = append(words, string(runes[start:end]))
			start = end
		}
	}
	if start < len(runes) {
		words = append(words, string(runes[start:]))
	}
	return words
}
