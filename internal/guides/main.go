// Command guides writes the guides of the labs, guide.md and guide.zh.md,
// beside their specs.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/report"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: guides FOLDER (of the labs)")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "guides:", err)
		os.Exit(1)
	}
}

// write writes the guides of every lab below dir that has steps, also where
// other labs have mistakes.
func write(dir string) error {
	labs, problems := lab.Catalogue(os.DirFS(dir))
	for _, l := range labs {
		for path, b := range report.GuideFiles(l) {
			if err := os.WriteFile(filepath.Join(dir, path), b, 0o644); err != nil {
				return err
			}
		}
	}
	return problems.Err()
}
