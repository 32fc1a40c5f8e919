package classify

import (
	"regexp"
	"strings"
)

// maxTOML is the size in bytes of a text that is read as TOML.
const maxTOML = 1 << 20

// containerdSection is the header of a plugin's section, in a file that isn't
// TOML otherwise.
var containerdSection = regexp.MustCompile(`(?m)^\s*\[+plugins\.["']?io\.containerd\.`)

// tomlFormats are files of TOML, the first that fits.
var tomlFormats = []struct {
	name string
	is   func(map[string]any) bool
}{
	{"containerd", func(root map[string]any) bool { // containerd-config.toml(5)
		for _, section := range []string{"plugins", "proxy_plugins", "stream_processors"} {
			for name := range table(root, section) {
				if section != "plugins" || strings.HasPrefix(name, "io.containerd.") || name == "cri" {
					return true
				}
			}
		}
		return false
	}},
	{"containerd-hosts", func(root map[string]any) bool { // docs/hosts.md of containerd
		for name, host := range table(root, "host") {
			if _, ok := host.(map[string]any); ok && strings.Contains(name, ".") || strings.Contains(name, "://") {
				return true
			}
		}
		return false
	}},
	{"crio", func(root map[string]any) bool { return table(root, "crio") != nil }}, // crio.conf(5)
	{"registries", func(root map[string]any) bool { // containers-registries.conf(5)
		return root["unqualified-search-registries"] != nil || root["registry"] != nil && len(root) <= 3
	}},
	{"containers", func(root map[string]any) bool { // containers.conf(5)
		return table(root, "containers") != nil && (table(root, "engine") != nil || table(root, "network") != nil || len(root) == 1)
	}},
	{"buildkitd", func(root map[string]any) bool {
		return table(root, "worker") != nil && (table(table(root, "worker"), "oci") != nil || table(table(root, "worker"), "containerd") != nil)
	}},
	{"runsc", func(root map[string]any) bool { return table(root, "runsc_config") != nil }},
	{"kata", func(root map[string]any) bool { return table(root, "hypervisor") != nil && len(root) > 1 }},
	{"spin", func(root map[string]any) bool {
		return root["spin_manifest_version"] != nil || root["spin_version"] != nil
	}},
	{"cargo", func(root map[string]any) bool {
		return table(root, "package")["name"] != nil || table(root, "dependencies") != nil || table(root, "workspace") != nil
	}},
	{"pyproject", func(root map[string]any) bool {
		return table(root, "project")["name"] != nil || table(root, "build-system") != nil
	}},
}

func table(t map[string]any, name string) map[string]any {
	found, _ := t[name].(map[string]any)
	return found
}
