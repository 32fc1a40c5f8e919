package gomodule

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/pkg/progress"
)

func tarOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestUnpack(t *testing.T) {
	tests := []struct {
		name    string
		files   map[string]string
		want    []string
		wantErr string
	}{
		{"one module of two", map[string]string{"etcd/go.mod": "1", "etcd/sub/a.go": "2", "etcd2/go.mod": "3"}, []string{"go.mod", "sub/a.go"}, ""},
		{"out of the folder", map[string]string{"etcd/../../evil": "1"}, nil, "outside"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := ReadSources(tarOf(t, tt.files))
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			err = s.Unpack("etcd", dir)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("error %v, want one with %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			_ = filepath.Walk(dir, func(p string, i os.FileInfo, err error) error {
				if err == nil && i.Mode().IsRegular() {
					rel, _ := filepath.Rel(dir, p)
					got = append(got, rel)
				}
				return err
			})
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if _, err := ReadSources([]byte("no tar archive, but long enough to be taken for a broken header" + strings.Repeat("x", 600))); err == nil {
		t.Error("garbage is taken for an archive")
	}
}

type recorder struct{ updates []string }

func (r *recorder) Update(done, total int, detail string) {
	r.updates = append(r.updates, strings.TrimSpace(detail))
	if done > total {
		r.updates = append(r.updates, "more than there is")
	}
}
func (*recorder) End(error) {}

var _ progress.Step = (*recorder)(nil)

func TestPackageCounter(t *testing.T) {
	r := &recorder{}
	c := &packageCounter{step: r, total: 2}
	for _, p := range []string{"+ go build -v\n", "go: downloading example.org/m v1.0.0\n", "internal/abi\nexample.org/m/a\n", "example.org/m/b\n"} {
		if n, err := c.Write([]byte(p)); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
	}
	if want := []string{"internal/abi", "example.org/m/a", "example.org/m/b"}; !slices.Equal(r.updates, want) {
		t.Errorf("got %q, want %q", r.updates, want)
	}
}
