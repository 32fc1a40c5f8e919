package apiserver

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/internal/payload"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
	"github.com/isolation-stack/labctl/pkg/provision/nodeimage"
)

func TestChoose(t *testing.T) {
	pinned := []nodeimage.APIServer{{Version: "v1.37.2"}, {Version: "v1.30.14"}}
	tests := []struct{ version, want string }{
		{"", "v1.37.2"},
		{"1.37", "v1.37.2"},
		{"v1.30", "v1.30.14"},
		{"1.30.14", "v1.30.14"},
		{"1.30.13", ""},
		{"1.3", ""},
		{"1", ""},
		{"latest", ""},
	}
	for _, tt := range tests {
		got, err := choose(pinned, tt.version)
		if got.Version != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%q: %q %v, want %q", tt.version, got.Version, err, tt.want)
		}
		if err != nil && (!errors.Is(err, ErrUnknownVersion) || !strings.Contains(err.Error(), "1.37, 1.30")) {
			t.Errorf("%q: %v doesn't say what there is", tt.version, err)
		}
	}
}

// programsIn makes a folder with programs that are shell scripts.
func programsIn(t *testing.T, scripts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFind(t *testing.T) {
	if _, err := Versions(); errors.Is(err, payload.ErrMissing) {
		t.Skip("the versions are in labctl's payload, which make payload builds: ", err)
	}
	both := map[string]string{"etcd": "", "kube-apiserver": "echo Kubernetes v1.33.4"}
	empty := t.TempDir()
	tests := []struct {
		name, assets, path, version string
		want                        string // the folder of the programs
		wantErr                     []string
	}{
		{name: "assets", assets: programsIn(t, both), path: empty, want: "assets"},
		{name: "assets of the version", assets: programsIn(t, both), path: empty, version: "1.33", want: "assets"},
		{name: "assets of another version", assets: programsIn(t, both), path: empty, version: "1.37", wantErr: []string{AssetsVariable, "is v1.33.4, not 1.37"}},
		{name: "assets that aren't there", assets: empty, path: empty, wantErr: []string{AssetsVariable, "kube-apiserver"}},
		{name: "half of the assets", assets: programsIn(t, map[string]string{"kube-apiserver": ""}), path: empty, wantErr: []string{AssetsVariable, "etcd"}},
		{name: "no Go, on PATH", path: programsIn(t, both), want: "path"},
		{name: "no Go, on PATH, another version", path: programsIn(t, both), version: "1.37", wantErr: []string{"no go on PATH", "is v1.33.4, not 1.37"}},
		{name: "no Go, nothing on PATH", path: empty, wantErr: []string{"no go on PATH", AssetsVariable, "--kubeconfig"}},
		{name: "unknown version", path: programsIn(t, both), version: "1.2", wantErr: []string{"unknown Kubernetes version", "labctl has 1."}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(AssetsVariable, tt.assets)
			t.Setenv("PATH", tt.path)
			p, err := find(t.Context(), Options{Version: tt.version, Cache: artifact.Cache{Dir: t.TempDir()}, Log: progress.Discard})
			if (err == nil) != (tt.wantErr == nil) {
				t.Fatalf("%+v %v", p, err)
			}
			for _, w := range tt.wantErr {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%v: want %q in it", err, w)
				}
			}
			dir := map[string]string{"assets": tt.assets, "path": tt.path}[tt.want]
			if err == nil && (p.apiserver != filepath.Join(dir, "kube-apiserver") || p.etcd != filepath.Join(dir, "etcd")) {
				t.Errorf("%+v, want those of %s", p, dir)
			}
		})
	}
}

func TestVersionOf(t *testing.T) {
	for output, want := range map[string]string{
		"Kubernetes v1.37.2\n":        "v1.37.2",
		"Kubernetes v1.31.0-rc.1+abc": "v1.31.0-rc.1+abc",
		"":                            "",
		"Kubernetes 1":                "",
	} {
		if got := versionOf(output); got != want {
			t.Errorf("%q: %q, want %q", output, got, want)
		}
	}
}
