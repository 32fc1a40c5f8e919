//go:build e2e

package e2e

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/isolation-stack/labctl/e2e/k3sbox"
	"github.com/isolation-stack/labctl/pkg/provision/doctor"
)

// TestK3sDoctor looks at a box that could be a node but for its small disk,
// and at what is then put in K3s's way.
func TestK3sDoctor(t *testing.T) {
	b := &k3sBox{Box: k3sbox.Start(t, k3sbox.Options{DataSize: "600M"})}
	if err := b.Copy(t.Context(), suite.binary, boxLabctl); err != nil {
		t.Fatal(err)
	}
	missing := func(t *testing.T) map[string]doctor.Finding {
		t.Helper()
		r := b.try(t.Context(), "doctor", "--provider", "k3s", "-o", "json")
		var findings []doctor.Finding
		if err := json.Unmarshal([]byte(r.stdout), &findings); err != nil {
			t.Fatalf("exit code %d: %v\n%s%s", r.code, err, r.stdout, r.stderr)
		}
		found := map[string]doctor.Finding{}
		for _, f := range findings {
			t.Logf("%s %s: %s → %s", f.Level, f.ID, f.What, f.Remedy)
			if f.Level == doctor.Missing {
				found[f.ID] = f
			}
		}
		if (r.code == 4) != (len(found) > 0) {
			t.Errorf("exit code %d with %d things missing", r.code, len(found))
		}
		return found
	}

	if found := missing(t); len(found) != 1 || !strings.Contains(found["disk"].What, "0.6 GiB free") {
		t.Errorf("on a plain box: %v", found)
	}
	b.Must(t, "mkdir", "-p", "/var/lib/rancher/k3s/server/db")
	b.Must(t, "systemd-run", "--unit=taken", "systemd-socket-activate", "--listen=6443", "cat")
	b.Await(t, "the listener", time.Minute, "sh", "-c", "grep -q ':192B ' /proc/net/tcp /proc/net/tcp6")
	found := missing(t)
	if !strings.Contains(found["port-6443"].What, "systemd-socket") || !strings.Contains(found["k3s"].What, "/var/lib/rancher/k3s/server/db") || len(found) != 3 {
		t.Errorf("with a port taken and data left over: %v", found)
	}
}
