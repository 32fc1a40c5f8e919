package debian

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
)

const bookworm822 = `# the archive
Types: deb deb-src
URIs: http://deb.example.org/debian
Suites: bookworm bookworm-updates
Components: main
# a comment inside a stanza
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://deb.example.org/debian-security/
Suites: bookworm-security
Components: main contrib
 non-free
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBGPL0BUBEADmW5NdOOHwPIJlgPu6JDcKw/NZJPR8lsD3K87ZM18gzyQZJD+w
 -----END PGP PUBLIC KEY BLOCK-----
`

func TestMirrors(t *testing.T) {
	tests := []struct {
		name    string
		oneLine string
		deb822  string
		want    []Mirror
	}{
		{"bookworm, deb822", "", bookworm822,
			[]Mirror{{"http://deb.example.org/debian", "http://deb.example.org/debian-security"}}},
		{"one line", "deb http://deb.example.org/debian bookworm main\n", "",
			[]Mirror{{"http://deb.example.org/debian", ""}}},
		{"one line with options and a comment",
			"deb [arch=amd64 signed-by=/k.gpg] https://m.example.org/debian/ trixie main contrib # note\n" +
				"deb [ arch=amd64 ] https://m.example.org/security trixie-security main\n", "",
			[]Mirror{{"https://m.example.org/debian", "https://m.example.org/security"}}},
		{"Ubuntu", "deb http://archive.example.org/ubuntu noble main universe\n",
			"Types: deb\nURIs: http://archive.example.org/ubuntu/\nSuites: noble noble-updates\nComponents: main\n", nil},
		{"disabled", "# deb http://a.example.org/debian trixie main\n",
			"Enabled: no\nTypes: deb\nURIs: http://b.example.org/debian\nSuites: trixie\nComponents: main\n", nil},
		{"sources only", "deb-src http://a.example.org/debian trixie main\n", "", nil},
		{"a mirror of another name comes after one that is named debian",
			"deb http://x.example.org/mirror bookworm main\ndeb http://y.example.org/debian bookworm main\n", "",
			[]Mirror{{"http://y.example.org/debian", ""}, {"http://x.example.org/mirror", ""}}},
		{"other archives",
			"deb https://docker.example.org/linux/debian bookworm stable\ndeb https://node.example.org/node_20.x nodistro main\n", "", nil},
		{"out of a container's reach", "deb cdrom:[Debian 12]/ bookworm main\ndeb file:/srv/debian bookworm main\n", "", nil},
		{"the same twice", "deb http://a.example.org/debian trixie main\ndeb http://a.example.org/debian/ bookworm main\n", "",
			[]Mirror{{"http://a.example.org/debian", ""}}},
		{"broken lines", "deb\ndeb [arch=amd64\ndeb http://a.example.org/debian\n", "Types deb\nTypes:\n\n no field\n", nil},
		{"windows line ends", "", "Types: deb\r\nURIs: http://a.example.org/debian\r\nSuites: sid\r\nComponents: main\r\n",
			[]Mirror{{"http://a.example.org/debian", ""}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Mirrors(append(ParseOneLine(tt.oneLine), ParseDeb822(tt.deb822)...))
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestMachineSources(t *testing.T) {
	root := t.TempDir()
	files := map[string]string{
		"etc/apt/sources.list":                  "deb http://one.example.org/debian trixie main\n",
		"etc/apt/sources.list.d/a.list":         "deb http://two.example.org/debian trixie main\n",
		"etc/apt/sources.list.d/debian.sources": "Types: deb\nURIs: mirror+file:///etc/apt/mirrors/debian.list\nSuites: trixie\nComponents: main\n",
		"etc/apt/sources.list.d/backup.save":    "deb http://never.example.org/debian trixie main\n",
		"etc/apt/mirrors/debian.list":           "# of a cloud image\nhttps://three.example.org/debian\tpriority:1\n\nhttps://four.example.org/debian\n",
	}
	for name, text := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sources, err := MachineSources(root)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range Mirrors(sources) {
		got = append(got, m.URI)
	}
	want := []string{
		"http://one.example.org/debian", "http://two.example.org/debian",
		"https://three.example.org/debian", "https://four.example.org/debian",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}

	if got, err := MachineSources(t.TempDir()); err != nil || got != nil {
		t.Errorf("a system without apt gives %v, %v; want nothing", got, err)
	}
	if err := os.Remove(filepath.Join(root, "etc/apt/mirrors/debian.list")); err != nil {
		t.Fatal(err)
	}
	if _, err := MachineSources(root); err == nil {
		t.Error("a mirror list that is not there gives no error")
	}
}

func TestAcquireOptions(t *testing.T) {
	dump := `APT "";
APT::Architecture "amd64";
Acquire "";
Acquire::AllowInsecureRepositories "1";
Acquire::http "";
Acquire::http::Proxy "http://127.0.0.1:3142";
Acquire::http::Proxy::internal.example.org "DIRECT";
Acquire::https::CaInfo "/etc/ssl/own.pem";
Acquire::https::Verify-Peer "true";
Acquire::Retries "3";
Acquire::Retries-Not::Known "3";
Acquire::Check-Valid-Until "false";
Acquire::IndexTargets::deb::Packages::MetaKey "x";
Acquire::GzipIndexes "true";
DPkg::Post-Invoke:: "rm -f /var/cache/apt/archives/*.deb || true";
`
	got := AcquireOptions(dump)
	want := []string{
		`Acquire::http::Proxy "http://127.0.0.1:3142";`,
		`Acquire::http::Proxy::internal.example.org "DIRECT";`,
		`Acquire::https::CaInfo "/etc/ssl/own.pem";`,
		`Acquire::https::Verify-Peer "true";`,
		`Acquire::Retries "3";`,
		`Acquire::Check-Valid-Until "false";`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
