package installer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/machine"
)

const text = "#!/bin/sh\necho installed\n"

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFetch(t *testing.T) {
	served := text
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, served) // the client tells when it is cut off
	}))
	defer server.Close()
	file := write(t, "install.sh", text)
	for name, c := range map[string]struct {
		src Source
		err string
	}{
		"a file":                        {Source{Location: file}, ""},
		"a file with its digest":        {Source{Location: file, SHA256: strings.ToUpper(hash(text))}, ""},
		"a file with another digest":    {Source{Location: file, SHA256: hash("x")}, "not " + hash("x")},
		"no digest":                     {Source{Location: file, SHA256: "abc"}, "64 hex digits"},
		"half a digest":                 {Source{Location: file, SHA256: hash(text)[:32]}, "64 hex digits"},
		"no file":                       {Source{Location: file + "x"}, "--installer FILE"},
		"a folder":                      {Source{Location: t.TempDir()}, "is a directory"},
		"no script":                     {Source{Location: write(t, "page", "<html>")}, "is no script"},
		"too long":                      {Source{Location: write(t, "long", "#!"+strings.Repeat("x", maxScript))}, "no install script"},
		"an address with its digest":    {Source{Location: server.URL, SHA256: hash(text)}, ""},
		"an address with another":       {Source{Location: server.URL, SHA256: hash("x")}, "not the one that was meant"},
		"an address without a digest":   {Source{Location: server.URL}, "--installer-sha256 " + hash(text)},
		"an address that isn't there":   {Source{Location: server.URL + "/no", SHA256: hash(text)}, "404 Not Found"},
		"an address that doesn't exist": {Source{Location: "http://127.0.0.1:1/", SHA256: hash(text)}, "--airgap DIR"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			s, err := Fetch(context.Background(), c.src, dir, progress.Discard)
			stored := filepath.Join(dir, "k3s-install-"+hash(text)+".sh")
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v, want it to say %q", err, c.err)
				}
				if info, err := os.Stat(stored); err == nil && info.Mode()&0o111 != 0 {
					t.Error("a script that was refused can be executed")
				}
				if errors.Is(err, ErrUnpinned) != (name == "an address without a digest") {
					t.Errorf("ErrUnpinned: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(stored)
			if err != nil || info.Mode() != 0o755 || s.Path != stored || s.SHA256 != hash(text) || string(s.Text) != text {
				t.Errorf("stored %v %v, %+v", info, err, s)
			}
			if left, _ := filepath.Glob(dir + "/*" + partial); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// The script that was read because its address had no digest runs once the
// digest is given.
func TestFetchAfterReading(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, text) // the client tells when it is cut off
	}))
	defer server.Close()
	dir := t.TempDir()
	if _, err := Fetch(context.Background(), Source{Location: server.URL}, dir, progress.Discard); !errors.Is(err, ErrUnpinned) {
		t.Fatalf("got %v", err)
	}
	s, err := Fetch(context.Background(), Source{Location: server.URL, SHA256: hash(text)}, dir, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(s.Path); err != nil || info.Mode() != 0o755 {
		t.Errorf("%v, %v", info, err)
	}
}

// console keeps what is shown.
type console struct {
	progress.Log
	status []string
	log    bytes.Buffer
}

func (c *console) Info(format string, args ...any) {
	for _, a := range args {
		if s, ok := a.(string); ok {
			c.status = append(c.status, s)
		}
	}
	c.status = append(c.status, format)
}
func (c *console) Output() io.Writer { return &c.log }

func TestShow(t *testing.T) {
	c := &console{Log: progress.Discard}
	if err := (Script{Path: "/x/install.sh", SHA256: "abc", Text: []byte(text)}).Show(c); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(c.status, "/x/install.sh") || !slices.Contains(c.status, "abc") || !strings.Contains(c.log.String(), text) {
		t.Errorf("%q, %q", c.status, c.log.String())
	}
}

func TestEnvironment(t *testing.T) {
	base := []string{"PATH=" + path, "HOME=/root", "LC_ALL=C"}
	for name, c := range map[string]struct {
		s       Settings
		environ []string
		want    []string
	}{
		"nothing": {Settings{}, nil, nil},
		"nothing of the caller's but proxies": {Settings{},
			[]string{"K3S_TOKEN=secret", "K3S_URL=https://x", "INSTALL_K3S_EXEC=agent", "PATH=/evil", "https_proxy=http://p", "NO_PROXY=10.0.0.0/8", "GITHUB_URL=http://evil"},
			[]string{"https_proxy=http://p", "NO_PROXY=10.0.0.0/8"}},
		"a version": {Settings{Version: "v1.34.1+k3s1"}, nil, []string{"INSTALL_K3S_VERSION=v1.34.1+k3s1"}},
		"a channel": {Settings{Channel: "latest"}, nil, []string{"INSTALL_K3S_CHANNEL=latest"}},
		"a binary downloads nothing": {Settings{Binary: "/k3s", Version: "v1", Channel: "stable"}, nil,
			[]string{"INSTALL_K3S_SKIP_DOWNLOAD=true", "INSTALL_K3S_SKIP_SELINUX_RPM=true"}},
		"everything else": {Settings{Exec: "server --disable=traefik", Service: "two", BinDir: "/opt/bin", SystemdDir: "/run/systemd/system", SkipStart: true, SkipEnable: true}, nil,
			[]string{"INSTALL_K3S_BIN_DIR=/opt/bin", "INSTALL_K3S_SYSTEMD_DIR=/run/systemd/system", "INSTALL_K3S_EXEC=server --disable=traefik", "INSTALL_K3S_NAME=two", "INSTALL_K3S_SKIP_ENABLE=true", "INSTALL_K3S_SKIP_START=true"}},
		"the service k3s needs no name": {Settings{Service: "k3s"}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got, want := c.s.Environment(c.environ), append(slices.Clone(base), c.want...); !slices.Equal(got, want) {
				t.Errorf("got %q\nwant %q", got, want)
			}
		})
	}
}

func TestServiceName(t *testing.T) {
	for name, want := range map[string]string{"": "k3s", "k3s": "k3s", "edge": "k3s-edge"} {
		if got := ServiceName(name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
}

// script stores an install script as Fetch does.
func script(t *testing.T, body string) Script {
	t.Helper()
	s, err := Fetch(context.Background(), Source{Location: write(t, "install.sh", "#!/bin/sh\n"+body+"\n")}, t.TempDir(), progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The script runs as a file, with exactly the environment of its contract,
// after the binary is in its place.
func TestRun(t *testing.T) {
	t.Setenv("K3S_TOKEN", "secret")
	t.Setenv("INSTALL_K3S_EXEC", "agent")
	dir := filepath.Join(t.TempDir(), "bin")
	s := script(t, `set -e
test -x "$INSTALL_K3S_BIN_DIR/k3s"
env > "$INSTALL_K3S_BIN_DIR/environment"
echo "$0" > "$INSTALL_K3S_BIN_DIR/name"`)
	binary := write(t, "k3s", "#!/bin/sh\n")
	settings := Settings{Binary: binary, BinarySHA256: hash("#!/bin/sh\n"), BinDir: dir, SkipStart: true}
	for range 2 {
		if err := Run(context.Background(), machine.Machine{}, s, settings, progress.Discard); err != nil {
			t.Fatal(err)
		}
	}
	env, err := os.ReadFile(filepath.Join(dir, "environment"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"INSTALL_K3S_SKIP_DOWNLOAD=true", "INSTALL_K3S_SKIP_START=true", "INSTALL_K3S_BIN_DIR=" + dir} {
		if !strings.Contains(string(env), line+"\n") {
			t.Errorf("no %s in %q", line, env)
		}
	}
	for _, leak := range []string{"K3S_TOKEN", "INSTALL_K3S_EXEC"} {
		if strings.Contains(string(env), leak) {
			t.Errorf("%s of the caller reaches the script", leak)
		}
	}
	if name, err := os.ReadFile(filepath.Join(dir, "name")); err != nil || strings.TrimSpace(string(name)) != s.Path {
		t.Errorf("it ran as %q, %v", name, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "k3s")); err != nil || info.Mode() != 0o755 {
		t.Errorf("binary: %v, %v", info, err)
	}
}

func TestRunFails(t *testing.T) {
	binary := write(t, "k3s", "#!/bin/sh\n")
	for name, c := range map[string]struct {
		body     string
		settings Settings
		want     []string
	}{
		"midway": {"echo '[INFO]  Creating service'; echo '[ERROR]  no space' >&2; exit 1", Settings{},
			[]string{"ended with 1", "[INFO]  Creating service", "[ERROR]  no space", "labctl down --provider k3s"}},
		"no network":    {"echo '[ERROR]  Download failed' >&2; exit 1", Settings{}, []string{"--k3s-binary FILE", "--airgap DIR"}},
		"killed":        {"kill -9 $$", Settings{}, []string{"run K3s's installer", "killed"}},
		"wrong digest":  {"exit 0", Settings{Binary: binary, BinarySHA256: hash("x")}, []string{hash("x"), "sha256sum"}},
		"no binary":     {"exit 0", Settings{Binary: binary + "x"}, []string{"no such file"}},
		"long output":   {"for i in $(seq 100); do echo line-$i; done; exit 2", Settings{}, []string{"line-89\n", "line-100"}},
		"another's CPU": {"exit 0", Settings{Binary: write(t, "k3s", foreignELF)}, []string{"is built for S390"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.settings.BinDir = t.TempDir()
			err := Run(context.Background(), machine.Machine{}, script(t, c.body), c.settings, progress.Discard)
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want it to say %q", err, want)
				}
			}
			if name == "long output" && strings.Contains(err.Error(), "line-88\n") {
				t.Errorf("too much of it: %v", err)
			}
			if c.settings.Binary == "" {
				return
			}
			if left, _ := filepath.Glob(c.settings.BinDir + "/*"); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// foreignELF begins as a big-endian 64-bit program for s390x does.
var foreignELF = "\x7fELF\x02\x02\x01" + strings.Repeat("\x00", 9) + "\x00\x02\x00\x16"

// A script that was changed after it was shown doesn't run.
func TestRunChangedScript(t *testing.T) {
	s := script(t, "exit 0")
	if err := os.WriteFile(s.Path, []byte("#!/bin/sh\nexit 0 # changed\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := Run(context.Background(), machine.Machine{}, s, Settings{}, progress.Discard)
	if err == nil || !strings.Contains(err.Error(), "was changed") {
		t.Errorf("got %v", err)
	}
}

func TestRunInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := Run(ctx, machine.Machine{}, script(t, "exit 0"), Settings{}, progress.Discard)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
