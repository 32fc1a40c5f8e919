package extract

import "github.com/isolation-stack/labctl/pkg/docs"

var (
	unclosedFence = docs.Rule{
		ID: "unclosed-fence", Severity: docs.Warning,
		Title: "a fenced code block isn't closed",
		Help:  "A fence ends at a line with at least as many of the same characters and nothing after them, otherwise at the end of the list item, quote or document that it stands in, and all text up to there is code. Add the closing fence.",
	}
	invalidUTF8 = docs.Rule{
		ID: "invalid-utf8", Severity: docs.Warning,
		Title: "the document isn't valid UTF-8",
		Help:  "Markdown is read as UTF-8. Bytes that aren't UTF-8 are read as U+FFFD, so an example that holds one differs from what was meant. Save the document as UTF-8.",
	}
	markInvalid = docs.Rule{
		ID: "mark-invalid", Severity: docs.Error,
		Title: "a mark of labctl can't be read",
		Help:  "A mark is a comment such as <!-- labctl: skip reason=\"needs a GPU\" -->. Its key is skip, expect, namespace or after; skip and expect need a reason. A mark that can't be read has no effect.",
	}
	markUnused = docs.Rule{
		ID: "mark-unused", Severity: docs.Warning,
		Title: "a mark of labctl concerns no example",
		Help:  "A mark is about the next example before the next heading. Move it right above the example, or remove it.",
	}
	tooLarge = docs.Rule{
		ID: "too-large", Severity: docs.Warning,
		Title: "a document is too large to be looked at as a whole",
		Help:  "Size, lines, nesting and the number of examples are bounded, so that no document can stop a run. What is beyond a bound isn't looked at. Split the document.",
	}
	unclosedHeredoc = docs.Rule{
		ID: "unclosed-heredoc", Severity: docs.Error,
		Title: "a here-document of a shell block isn't ended",
		Help:  "A here-document ends at a line that is the delimiter and nothing else: no blanks before it (tabs with <<-) and none after it. Otherwise the shell reads on to the end of the block, and the delimiter and the commands after it become part of the text.",
	}
)

// Rules are those of the Markdown itself.
var Rules = []docs.Rule{invalidUTF8, markInvalid, markUnused, tooLarge, unclosedFence, unclosedHeredoc}
