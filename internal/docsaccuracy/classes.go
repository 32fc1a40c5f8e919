package main

import (
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/classify"
	"github.com/isolation-stack/labctl/pkg/docs/extract"
)

// aim is the share of blocks whose class has to be right.
const aim = 0.98

// right are the classes that agree with one of the map.
var right = map[string][]docs.Class{
	"k8s-core":     {docs.Kubernetes},
	"k8s-core-bug": {docs.Kubernetes},
	"crd":          {docs.Custom},
	"config":       {docs.Config},
	"notes":        {docs.Prose, docs.Fragment},
}

// missing is the class of a block that wasn't found as an example.
const missing docs.Class = "missing"

type classes struct {
	total, agree int
	matrix       map[string]map[docs.Class]int
	disagree     []string
}

func compareClasses(tree fs.FS, blocks []block) (*classes, error) {
	c := &classes{matrix: map[string]map[docs.Class]int{}}
	documents := map[string]docs.Document{}
	for _, b := range blocks {
		d, ok := documents[b.File]
		if !ok {
			text, err := fs.ReadFile(tree, b.File)
			if err != nil {
				return nil, err
			}
			d = extract.Markdown(b.File, text)
			for i := range d.Examples {
				e := &d.Examples[i]
				classify.Classify(e, classify.Parse(*e))
			}
			documents[b.File] = d
		}
		c.add(b, d)
	}
	return c, nil
}

func (c *classes) add(b block, d docs.Document) {
	e := docs.Example{Class: missing}
	if i := slices.IndexFunc(d.Examples, func(e docs.Example) bool { return e.Line == b.Line }); i >= 0 {
		e = d.Examples[i]
	}
	if c.matrix[b.Class] == nil {
		c.matrix[b.Class] = map[docs.Class]int{}
	}
	c.total++
	c.matrix[b.Class][e.Class]++
	if slices.Contains(right[b.Class], e.Class) {
		c.agree++
		return
	}
	c.disagree = append(c.disagree, fmt.Sprintf("%s:%d: %s in the map (%s), here %s %s", b.File, b.Line, b.Class, b.Remark, e.Class, e.Format))
}

func (c *classes) good() bool { return float64(c.agree) >= aim*float64(c.total) }

func (c *classes) print(w io.Writer) {
	columns := []docs.Class{docs.Kubernetes, docs.Custom, docs.Config, docs.Fragment, docs.Prose, docs.Code, missing}
	fmt.Fprintf(w, "%-14s", "map \\ labctl")
	for _, class := range columns {
		fmt.Fprintf(w, "%11s", class)
	}
	fmt.Fprintln(w)
	for _, row := range []string{"k8s-core", "k8s-core-bug", "crd", "config", "notes"} {
		fmt.Fprintf(w, "%-14s", row)
		for _, class := range columns {
			fmt.Fprintf(w, "%11d", c.matrix[row][class])
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "\n%d of %d blocks agree: %.1f %% (aim: %.0f %%)\n", c.agree, c.total, 100*float64(c.agree)/float64(c.total), 100*aim)
	for _, d := range c.disagree {
		fmt.Fprintln(w, " ", d)
	}
}
