package ociimage

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestLayer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "prog")
	if err := os.WriteFile(file, []byte("ELF"), 0o600); err != nil {
		t.Fatal(err)
	}
	entries := []Entry{Binary("/usr/bin", file), {Path: "/usr/bin/other", Link: "prog"}, {Path: "/etc/x", Mode: 0o640, Content: []byte("y")}}
	l, err := Layer(Packed, entries)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Layer(Packed, entries)
	if err != nil {
		t.Fatal(err)
	}
	if a, _ := l.Digest(); a.String() == "" {
		t.Error("no digest")
	} else if b, _ := again.Digest(); a != b {
		t.Errorf("the same entries give %s and %s", a, b)
	}
	r, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	var got []string
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, h.FileInfo().Mode().String()+" "+h.Name+" "+h.Linkname+string(content))
	}
	want := []string{"-rwxr-xr-x usr/bin/prog ELF", "Lrwxrwxrwx usr/bin/other prog", "-rw-r----- etc/x y"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := Layer(Packed, []Entry{{Path: "/x", From: filepath.Join(t.TempDir(), "missing")}}); err == nil {
		t.Error("a missing file gives no error")
	}
}
