package gateway

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFind(t *testing.T) {
	list := func(ipam string) string {
		return `{"name": "n", "plugins": [{"type": "ptp", "ipam": ` + ipam + `}, {"type": "portmap"}]}`
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"ranges", map[string]string{"a.conflist": list(`{"type": "host-local", "ranges": [[{"subnet": "10.244.1.0/24"}]]}`)}, "10.244.1.1"},
		{"both families", map[string]string{"a.conflist": list(`{"type": "host-local", "ranges": [[{"subnet": "fd00::/64"}], [{"subnet": "10.0.2.0/24"}]]}`)}, "10.0.2.1"},
		{"a gateway of its own", map[string]string{"a.conflist": list(`{"type": "host-local", "ranges": [[{"subnet": "10.0.2.0/24", "gateway": "10.0.2.254"}]]}`)}, "10.0.2.254"},
		{"one subnet", map[string]string{"a.conflist": list(`{"type": "host-local", "subnet": "10.0.3.128/25"}`)}, "10.0.3.129"},
		{"the first that has one", map[string]string{"a.conflist": "no JSON", "b.conflist": list(`{"type": "dhcp"}`), "c.conflist": list(`{"type": "host-local", "subnet": "10.0.4.0/24"}`)}, "10.0.4.1"},
		{"none", map[string]string{"a.conflist": list(`{"type": "host-local"}`)}, "invalid IP"},
		{"no network", nil, "invalid IP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range c.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := Find(dir).String(); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}
