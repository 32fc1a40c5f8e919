// Package tree finds the documents of a folder: its Markdown files, or those
// of them that a Git branch changes.
package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/extract"
)

// File is a document that wasn't read yet.
type File struct {
	// Path is relative to the root, with slashes, in valid UTF-8; the base name
	// if the root is a file itself.
	Path string
	// Read gives the file's bytes, of a large one only so many that
	// extract.Markdown sees that it is too large.
	Read func() ([]byte, error)
}

// Options say which documents are wanted.
type Options struct {
	// ChangedSince is a Git revision: only documents that differ from where
	// the checked-out branch left it, and such that Git doesn't know yet. ""
	// gives all.
	ChangedSince string
}

// Unreadable is the rule that a file or folder breaks that can't be read.
var Unreadable = docs.Rule{
	ID: "unreadable", Severity: docs.Error,
	Title: "a file or folder can't be read",
	Help:  "The examples of a file that can't be read aren't judged. Give read permission, or run labctl on the folders that can be read.",
}

// Rules are those of this package.
var Rules = []docs.Rule{Unreadable}

// Unread is the finding about a file that can't be read.
func Unread(file string, err error) docs.Finding {
	var place *fs.PathError // its path may be one of this machine
	if errors.As(err, &place) {
		err = place.Err
	}
	return docs.Finding{
		Rule: Unreadable.ID, Severity: Unreadable.Severity, Path: name(file), Position: docs.Position{Line: 1},
		Message: fmt.Sprintf("It can't be read: %v.", err),
	}
}

// endings are those of Markdown files.
var endings = []string{".md", ".markdown", ".mdx"}

// left are folders whose documents are others'; hidden ones are left out too.
var left = []string{"node_modules", "vendor"}

// Files gives the documents below a root, sorted by path; or the root alone, if
// it is a file, whatever its ending. Symbolic links below the root aren't
// followed: what they lead to is either found at its own place, or isn't part
// of the tree. Folders that can't be read are findings; the error tells that
// the root, the revision or Git isn't there.
func Files(ctx context.Context, root string, o Options) ([]File, []docs.Finding, error) {
	info, err := os.Stat(root)
	if err != nil {
		return nil, nil, fmt.Errorf("documents: %w; give a folder or a Markdown file", err)
	}
	dir, base := root, ""
	switch {
	case info.Mode().IsRegular():
		dir, base = filepath.Split(root)
		dir = filepath.Clean(dir)
	case !info.IsDir():
		return nil, nil, fmt.Errorf("documents: %s is neither a folder nor a regular file", root)
	}
	var paths []string
	var findings []docs.Finding
	if base != "" {
		paths = []string{base}
	} else if paths, findings, err = walk(ctx, dir); err != nil {
		return nil, nil, err
	}
	if o.ChangedSince != "" {
		changed, err := changedSince(ctx, dir, o.ChangedSince)
		if err != nil {
			return nil, nil, err
		}
		paths = slices.DeleteFunc(paths, func(p string) bool { return !changed[p] })
	}
	files := make([]File, len(paths))
	for i, p := range paths {
		files[i] = File{Path: name(p), Read: func() ([]byte, error) { return read(dir, p) }}
	}
	return files, findings, nil
}

// walk gives the paths of documents below a folder, with slashes, sorted.
func walk(ctx context.Context, dir string) ([]string, []docs.Finding, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("documents: %w", err)
	}
	defer func() { _ = root.Close() }()
	var paths []string
	var findings []docs.Finding
	err = fs.WalkDir(root.FS(), ".", func(p string, entry fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			if p == "." {
				return err
			}
			findings = append(findings, Unread(p, err))
			return nil
		}
		hidden := p != "." && strings.HasPrefix(entry.Name(), ".")
		switch {
		case entry.IsDir():
			if hidden || slices.Contains(left, entry.Name()) {
				return fs.SkipDir
			}
		case !hidden && entry.Type().IsRegular() && slices.Contains(endings, strings.ToLower(path.Ext(p))):
			paths = append(paths, p)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("documents: %w", err)
	}
	slices.Sort(paths)
	return paths, findings, nil
}

// read reads a file below a folder, without leaving it by a link that came
// since the walk.
func read(dir, p string) ([]byte, error) {
	f, err := os.OpenInRoot(dir, filepath.FromSlash(p))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, extract.MaxSize+1))
}

// name makes a path valid UTF-8, as reports need it.
func name(p string) string { return strings.ToValidUTF8(p, "\uFFFD") }
