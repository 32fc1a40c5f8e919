package cli

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/classify"
	"github.com/isolation-stack/labctl/pkg/docs/extract"
	"github.com/isolation-stack/labctl/pkg/docs/tree"
)

// docsScan is what labctl docs scan gives as JSON or YAML.
type docsScan struct {
	// Root is the folder or file as the user named it.
	Root      string          `json:"root"`
	Documents []docs.Document `json:"documents"`
	// Examples counts them by class.
	Examples map[docs.Class]int `json:"examples"`
	// Findings are files and folders that can't be read.
	Findings []docs.Finding `json:"findings,omitempty"`
}

func newDocsScan(g *global) *cobra.Command {
	var (
		format, since string
		only          []string
		formats       = []string{"table", "json", "yaml"}
		classes       = []string{string(docs.Kubernetes), string(docs.Custom), string(docs.Config), string(docs.Fragment), string(docs.Prose), string(docs.Code)}
	)
	cmd := &cobra.Command{
		Use:   "scan [DIR | FILE]",
		Short: "List every example of Markdown documents and what it is",
		Long: `List every block of code of Markdown documents, and the manifests inside shell
blocks: where it stands, what it is, and the objects that it holds. The class is
told from the structure:
  kubernetes  objects of Kubernetes' own APIs alone
  custom      at least one custom resource
  config      other configuration; the format says which
  fragment    a part of something; the format says of what, if it is known
  prose       no configuration: lists, formulas, commands
  code        another language`,
		Example: `  labctl docs scan docs/
  labctl docs scan docs/ --class kubernetes --class custom
  labctl docs scan docs/ -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			flags := map[string]allowed{"output": {format, formats}}
			if err := oneOf(flags); err != nil {
				return err
			}
			for _, class := range only {
				if err := oneOf(map[string]allowed{"class": {class, classes}}); err != nil {
					return err
				}
			}
			root := "."
			if len(args) == 1 {
				root = args[0]
			}
			scan, err := scanDocs(cmd.Context(), root, tree.Options{ChangedSince: since}, func(e docs.Example) bool {
				return len(only) == 0 || slices.Contains(only, string(e.Class))
			})
			if err != nil {
				return err
			}
			if format != "table" {
				return print(g, format, scan)
			}
			for _, f := range scan.Findings {
				fmt.Fprintf(g.err, "%s: %s\n", visible(f.Path), f.Message)
			}
			if _, err := g.out.Write(scan.table()); err != nil {
				return err
			}
			fmt.Fprintln(g.err, scan.summary(classes))
			return nil
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", formats[0], "format: "+joinOr(formats))
	cmd.Flags().StringSliceVar(&only, "class", nil, "only examples of this class: "+joinOr(classes)+"; repeatable")
	cmd.Flags().StringVar(&since, "changed-since", "", "only documents that differ from this revision of git")
	must(cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)))
	must(cmd.RegisterFlagCompletionFunc("class", cobra.FixedCompletions(classes, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// scanDocs reads the documents side by side and keeps the examples that are
// wanted, without their text.
func scanDocs(ctx context.Context, root string, o tree.Options, wanted func(docs.Example) bool) (*docsScan, error) {
	files, findings, err := tree.Files(ctx, root, o)
	if err != nil {
		return nil, err
	}
	documents := make([]docs.Document, len(files))
	unread := make([]error, len(files))
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(runtime.GOMAXPROCS(0))
	for i, f := range files {
		work.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			documents[i].Path = f.Path
			data, err := f.Read()
			if unread[i] = err; err == nil {
				documents[i] = scanDoc(f.Path, data, wanted)
			}
			return nil
		})
	}
	if err := work.Wait(); err != nil {
		return nil, err
	}
	scan := &docsScan{Root: root, Documents: documents, Examples: map[docs.Class]int{}, Findings: findings}
	for i, d := range documents {
		if unread[i] != nil {
			scan.Findings = append(scan.Findings, tree.Unread(d.Path, unread[i]))
		}
		for _, e := range d.Examples {
			scan.Examples[e.Class]++
		}
	}
	return scan, nil
}

func scanDoc(path string, data []byte, wanted func(docs.Example) bool) docs.Document {
	d := extract.Markdown(path, data)
	examples := []docs.Example{}
	for _, e := range d.Examples {
		classify.Classify(&e, classify.Parse(e))
		if wanted(e) {
			e.Text, e.Lines = "", nil
			examples = append(examples, e)
		}
	}
	d.Examples = examples
	return d
}

func (s *docsScan) table() []byte {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PLACE\tCLASS\tFORMAT\tLANGUAGE\tSHA256\tOBJECTS")
	for _, d := range s.Documents {
		for _, e := range d.Examples {
			fmt.Fprintf(w, "%s:%d\t%s\t%s\t%s\t%.12s\t%s\n", visible(d.Path), e.Line, e.Class, orDash(e.Format), orDash(visible(e.Language)), e.SHA256, objectNames(e.Objects))
		}
	}
	_ = w.Flush() // into memory
	return b.Bytes()
}

// maxNamed is how many objects of an example the table names.
const maxNamed = 4

func objectNames(objects []docs.Object) string {
	var names []string
	for i, o := range objects {
		if i == maxNamed {
			names = append(names, fmt.Sprintf("%d more", len(objects)-i))
			break
		}
		name := o.Name
		if o.Namespace != "" {
			name = o.Namespace + "/" + name
		}
		names = append(names, visible(strings.TrimSpace(o.Kind+" "+name)))
	}
	return strings.Join(names, ", ")
}

// summary counts the examples by class.
func (s *docsScan) summary(classes []string) string {
	total, parts := 0, []string{}
	for _, class := range classes {
		if n := s.Examples[docs.Class(class)]; n > 0 {
			total += n
			parts = append(parts, fmt.Sprintf("%d %s", n, class))
		}
	}
	found := fmt.Sprintf("%d %s in %d %s", total, plural(total, "example"), len(s.Documents), plural(len(s.Documents), "document"))
	if len(parts) == 0 {
		return found
	}
	return found + ": " + strings.Join(parts, ", ")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// visible is a text of a document as it can be shown in one line of a
// terminal.
func visible(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) < 0 {
		return s
	}
	quoted := strconv.QuoteToGraphic(s)
	return quoted[1 : len(quoted)-1]
}
