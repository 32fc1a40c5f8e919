// Command docsaccuracy compares what labctl says of a tree of documents with
// a map of its blocks that people made by hand: the classes of examples first,
// and their findings if a report of "labctl docs validate -o json" is given.
// It ends with code 1 if a figure is below its aim.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/isolation-stack/labctl/pkg/docs"
)

func main() { os.Exit(accuracy()) }

func accuracy() int {
	report := flag.String("report", "", "report of \"labctl docs validate -o json\" over the same tree; - is stdin")
	flag.Parse()
	good, err := run(os.Stdout, setting("LABCTL_DOCS", "../shared/corpus"), setting("LABCTL_CORPUS_MAP", "../shared/corpus-map/corpus-map.json"), *report)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		fmt.Fprintln(os.Stderr, "docsaccuracy: nothing to compare:", err)
		fmt.Fprintln(os.Stderr, "docsaccuracy: LABCTL_DOCS names the tree, LABCTL_CORPUS_MAP its map")
		return 2
	case err != nil:
		fmt.Fprintln(os.Stderr, "docsaccuracy:", err)
		return 2
	case !good:
		return 1
	}
	return 0
}

func setting(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

func run(w io.Writer, root, mapFile, reportFile string) (good bool, err error) {
	blocks, err := readMap(mapFile)
	if err != nil {
		return false, err
	}
	classes, err := compareClasses(os.DirFS(root), blocks)
	if err != nil {
		return false, err
	}
	classes.print(w)
	if reportFile == "" {
		return classes.good(), nil
	}
	report, err := readReport(reportFile)
	if err != nil {
		return false, err
	}
	findings := compareFindings(report, blocks)
	fmt.Fprintln(w)
	findings.print(w)
	return classes.good() && findings.good(), nil
}

// block is one of the map.
type block struct {
	File string `json:"file"`
	// Line and End are those of the fences.
	Line int `json:"line"`
	End  int `json:"end"`
	// Class is k8s-core, k8s-core-bug, crd, config or notes.
	Class string `json:"class"`
	// Bug of k8s-core-bug: R is refused by the API server, S can't do what is
	// said, I has an image or needs an object that isn't there.
	Bug    string `json:"bug"`
	Remark string `json:"remark"`
}

func readMap(file string) ([]block, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var content struct{ Blocks []block }
	if err := json.Unmarshal(b, &content); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(content.Blocks) == 0 {
		return nil, fmt.Errorf("%s: no blocks", file)
	}
	return content.Blocks, nil
}

func readReport(file string) (r docs.Report, err error) {
	in := os.Stdin
	if file != "-" {
		if in, err = os.Open(file); err != nil {
			return r, err
		}
		defer func() { _ = in.Close() }()
	}
	if err := json.NewDecoder(in).Decode(&r); err != nil {
		return r, fmt.Errorf("report %s: %w", file, err)
	}
	return r, nil
}
