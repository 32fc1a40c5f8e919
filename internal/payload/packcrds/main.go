// Command packcrds writes the CustomResourceDefinitions that images/crds names
// as one archive of the payload: a tar in a Zstandard frame, whose entries are
// MODULE@VERSION/NAME.json, sorted. It takes them out of Go modules, which it
// downloads and verifies by go.sum, or has controller-gen make them of a
// module's types, and drops what judging an object doesn't need. The same pins
// give the same bytes; an archive that was made from them is left as it is,
// and nothing is downloaded.
package main

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

// source is what decides, beside the pins, what the archive holds.
//
//go:embed archive.go definitions.go main.go modules.go
var source embed.FS

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: go run ./internal/payload/packcrds PINS ARCHIVE, in labctl's main folder")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1], os.Args[2])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "packcrds:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, pins, archive string) error {
	digest, err := digestOf(source, os.DirFS(pins))
	if err != nil {
		return err
	}
	if made, err := madeFrom(archive); err == nil && made == digest {
		return nil
	}
	modules, err := readPins(os.DirFS(pins))
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "Taking CustomResourceDefinitions out of %d Go modules (once for these pins)\n", len(modules))
	folders, err := download(ctx, os.DirFS(pins), slices.DeleteFunc(slices.Clone(modules), func(m module) bool { return m.Types }))
	if err != nil {
		return err
	}
	var all []entry
	for _, m := range modules {
		var found []entry
		if m.Types {
			found, err = generate(ctx, pins, m)
		} else {
			found, err = take(os.DirFS(folders[m.at()]), m)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", m.at(), err)
		}
		all = append(all, found...)
	}
	return write(archive, digest, all)
}

// digestOf is the SHA-256 of the names and contents of the files of some
// folders, in hexadecimal.
func digestOf(folders ...fs.FS) (string, error) {
	h := sha256.New()
	for _, f := range folders {
		err := fs.WalkDir(f, ".", func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			content, err := fs.ReadFile(f, p)
			fmt.Fprintf(h, "%s %d\n%s", p, len(content), content)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
