package payload

import (
	"errors"
	"testing"
	"testing/fstest"
)

func TestRead(t *testing.T) {
	before := files
	t.Cleanup(func() { files = before })
	tests := []struct {
		name string
		fs   fstest.MapFS
		want error
	}{
		{"there", fstest.MapFS{"labprobe": {Data: []byte("ELF")}}, nil},
		{"plain go build", fstest.MapFS{".gitkeep": {}}, ErrMissing},
		{"empty file", fstest.MapFS{"labprobe": {}}, ErrMissing},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files = tt.fs
			b, err := Labprobe()
			if !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if tt.want == nil && string(b) != "ELF" {
				t.Errorf("content %q", b)
			}
		})
	}
}
