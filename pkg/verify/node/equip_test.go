package node

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// moved is a local place where Root is another folder, and which counts.
type moved struct {
	local
	root string
	puts *int
	cut  bool
}

func (m moved) Run(ctx context.Context, stdin io.Reader, argv ...string) (probe.Exit, error) {
	for i := range argv {
		argv[i] = strings.ReplaceAll(argv[i], Root, m.root)
	}
	if stdin != nil {
		b, err := io.ReadAll(stdin)
		if err != nil {
			return probe.Exit{}, err
		}
		text := strings.ReplaceAll(string(b), Root, m.root)
		if argv[0] == "sh" {
			*m.puts++
			if m.cut {
				text = text[:len(text)/2]
			}
		}
		stdin = strings.NewReader(text)
	}
	return m.local.Run(ctx, stdin, argv...)
}

func TestEquip(t *testing.T) {
	ctx := context.Background()
	place := moved{root: t.TempDir(), puts: new(int)}
	path := func(p probe.Place) string { return strings.Replace(p.Labprobe(), Root, place.root, 1) }

	first := Equip(place, []byte("#!/bin/sh\necho binary\n"), []byte("module"))
	for range 2 {
		exit, err := first.Run(ctx, nil, first.Labprobe())
		if err != nil || string(exit.Stdout) != "binary\n" {
			t.Fatalf("%q %v", exit.Stdout, err)
		}
	}
	if b, err := os.ReadFile(path(first) + ModuleSuffix); string(b) != "module" {
		t.Errorf("module %q %v", b, err)
	}
	if *place.puts != 2 {
		t.Errorf("%d copies for two files", *place.puts)
	}

	// Another run of labctl finds them there.
	again := Equip(place, []byte("#!/bin/sh\necho binary\n"), []byte("module"))
	if _, err := again.Run(ctx, nil, "true"); err != nil || *place.puts != 2 || again.Labprobe() != first.Labprobe() {
		t.Errorf("%d copies, %s, %v", *place.puts, again.Labprobe(), err)
	}

	// A damaged file is replaced, another version goes beside it.
	if err := os.WriteFile(path(first), []byte("half"), 0o755); err != nil {
		t.Fatal(err)
	}
	again = Equip(place, []byte("#!/bin/sh\necho binary\n"), []byte("module"))
	if exit, err := again.Run(ctx, nil, again.Labprobe()); err != nil || string(exit.Stdout) != "binary\n" {
		t.Errorf("%q %v", exit.Stdout, err)
	}
	if other := Equip(place, []byte("x"), []byte("module")); other.Labprobe() == first.Labprobe() {
		t.Error("another binary has the same path")
	}
}

// A copy that breaks off is an error and leaves nothing behind.
func TestEquipCutOff(t *testing.T) {
	place := moved{root: t.TempDir(), puts: new(int), cut: true}
	p := Equip(place, []byte("binary"), []byte("module"))
	_, err := p.Run(context.Background(), nil, "true")
	wantError(t, "put /opt/labctl", err)
	wantError(t, "damaged", err)
	left, err := filepath.Glob(filepath.Join(place.root, "*", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}
