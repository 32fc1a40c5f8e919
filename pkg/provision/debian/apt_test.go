package debian

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
)

// TestOpenRefuses: an archive that doesn't serve the suite, or whose index
// nobody has signed, must never become a source of packages.
func TestOpenRefuses(t *testing.T) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("needs apt-get, which is on Debian and Ubuntu only")
	}
	const release = "Origin: Debian\nSuite: stable\nCodename: trixie\nDate: Sat, 01 Jan 2028 00:00:00 UTC\nComponents: main\nArchitectures: amd64\nSHA256:\n"
	tests := []struct {
		name  string
		files map[string]string
	}{
		{"nothing there", nil},
		{"no signature", map[string]string{"/dists/trixie/Release": release}},
		{"a signature of nobody's", map[string]string{"/dists/trixie/InRelease": "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n" + release +
			"-----BEGIN PGP SIGNATURE-----\n\niHUEARYKAB0WIQ==\n=AAAA\n-----END PGP SIGNATURE-----\n"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				text, ok := tt.files[r.URL.Path]
				if !ok {
					http.NotFound(w, r)
					return
				}
				_, _ = w.Write([]byte(text)) // apt tells when it is cut off
			}))
			defer server.Close()
			a, err := Open(context.Background(), Options{Dir: t.TempDir(), Suite: "trixie", Mirror: server.URL})
			if err == nil {
				t.Fatalf("accepted: %v", a.Mirror())
			}
			for _, want := range []string{server.URL, "--debian-mirror"} {
				if !strings.Contains(err.Error(), want) && !strings.Contains(err.Error(), "debian-archive-keyring") {
					t.Errorf("error %q does not mention %s", err, want)
				}
			}
		})
	}
}

func TestSourceURIs(t *testing.T) {
	out := `Reading package lists...
Need to get 3276 kB of source archives.
'http://a.example.org/x_1%7e2-4.dsc' x_1~2-4.dsc 2727 SHA256:976cb7336627c7e30d8416939dcb684ba75f5a2103e86f3d58a685fae5f2675f
'http://a.example.org/x_1%7e2-4.debian.tar.xz' x_1~2-4.debian.tar.xz 8692 SHA256:4c6943f04cb36010aeb0c001fc5fdbf0d2dec895eabeefd6c38e59febc2da472
'http://a.example.org/x_1%7e2.orig.tar.gz' x_1~2.orig.tar.gz 3264488 SHA256:8677fe60daa0519bb77139c58fec6c9e4ea1ee12f9f673007c6c0e3545ef69d2
'http://a.example.org/x_1%7e2.orig.tar.gz.asc' x_1~2.orig.tar.gz.asc 833 SHA256:8677fe60daa0519bb77139c58fec6c9e4ea1ee12f9f673007c6c0e3545ef69d2
'http://a.example.org/weak.tar.gz' weak.tar.gz 1 MD5Sum:8677fe60daa0519bb77139c58fec6c9e
`
	var names []string
	for _, f := range tarballs(out) {
		names = append(names, f.name)
	}
	if got, want := strings.Join(names, " "), "x_1~2.orig.tar.gz x_1~2-4.debian.tar.xz"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
