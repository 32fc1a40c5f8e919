// Package installer runs K3s's own installer by its documented contract
// (https://docs.k3s.io/reference/env-variables). The script is a file whose
// digest is known before it runs; it is stored and shown, and never piped into
// a shell.
package installer

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/isolation-stack/labctl/pkg/progress"
)

// PublicAddress is where the K3s project publishes its installer.
const PublicAddress = "https://get.k3s.io"

// Source says where an install script comes from.
type Source struct {
	// Location is a file or an http(s) address; "" is PublicAddress.
	Location string
	// SHA256 (hex) is what the script must have. A file needs none, an
	// address does: what an address serves can change between two reads.
	SHA256 string
	// Client fetches an address; nil is http.DefaultClient.
	Client *http.Client
}

// Script is an install script that is stored and was checked.
type Script struct {
	Path   string // absolute
	SHA256 string // hex
	Text   []byte
}

// Show lets a person read the script before it runs: its path, digest and
// length go to the status, its text to the log.
func (s Script) Show(log progress.Log) error {
	lines := strings.Count(string(s.Text), "\n")
	log.Info("K3s's installer: %s, %d lines, SHA-256 %s", s.Path, lines, s.SHA256)
	_, err := fmt.Fprintf(log.Output(), "--- %s (SHA-256 %s)\n%s--- end of %s\n", s.Path, s.SHA256, s.Text, s.Path)
	if err != nil {
		return fmt.Errorf("write the installer's text to the log: %w", err)
	}
	return nil
}

// Settings are the parts of the installer's contract that labctl uses. The
// zero value of each leaves it to the installer.
type Settings struct {
	// Binary is a K3s binary on this machine, which is put to BinDir/k3s in
	// place of a download; BinarySHA256 (hex) is checked if it is given.
	Binary, BinarySHA256 string
	// Version (v1.34.1+k3s1) or Channel (stable) is the release to download;
	// Version goes before Channel.
	Version, Channel string
	// Exec is the command with flags that the service runs; "" is server.
	Exec string
	// Service names the service: see ServiceName.
	Service string
	// BinDir and SystemdDir are where the binary with its scripts and the unit
	// go; "" are DefaultBinDir and /etc/systemd/system.
	BinDir, SystemdDir string
	// SkipStart doesn't start the service, SkipEnable neither enables nor
	// starts it.
	SkipStart, SkipEnable bool
}

// DefaultBinDir is where the installer puts K3s and its scripts.
const DefaultBinDir = "/usr/local/bin"

// ServiceName is the name of the service that the installer makes, to which
// it adds a prefix of its own: k3s-NAME, and k3s for "" or k3s itself.
func ServiceName(name string) string {
	if name == "" || name == "k3s" {
		return "k3s"
	}
	return "k3s-" + name
}

// path is where the installer looks for the programs that it uses.
const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Environment is exactly what the installer gets. It writes every K3S_*
// variable that it sees into the service's environment, so none of the
// caller's may reach it; the proxies in environ (as of os.Environ), which it
// hands to the service too, do.
func (s Settings) Environment(environ []string) []string {
	env := []string{"PATH=" + path, "HOME=/root", "LC_ALL=C"}
	for _, e := range environ {
		name, _, _ := strings.Cut(e, "=")
		switch strings.ToUpper(name) {
		case "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY":
			env = append(env, e)
		}
	}
	set := func(name, value string) {
		if value != "" {
			env = append(env, "INSTALL_K3S_"+name+"="+value)
		}
	}
	flag := func(name string, on bool) {
		if on {
			set(name, "true")
		}
	}
	set("BIN_DIR", s.BinDir)
	set("SYSTEMD_DIR", s.SystemdDir)
	set("EXEC", s.Exec)
	if service := ServiceName(s.Service); service != "k3s" {
		set("NAME", s.Service)
	}
	if s.Binary == "" {
		set("VERSION", s.Version)
		set("CHANNEL", s.Channel)
	}
	flag("SKIP_DOWNLOAD", s.Binary != "")
	flag("SKIP_SELINUX_RPM", s.Binary != "") // it would come from the network
	flag("SKIP_ENABLE", s.SkipEnable)
	flag("SKIP_START", s.SkipStart)
	return env
}
