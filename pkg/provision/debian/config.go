package debian

import (
	"regexp"
	"strings"
)

// inherited are the parts of apt's Acquire configuration (apt.conf(5)) that
// say how to reach an archive from this machine. What switches the check of
// signatures off (AllowInsecureRepositories and the like) is not among them.
var inherited = regexp.MustCompile(`^Acquire::(http|https|Retries|Check-Valid-Until|Check-Date|Max-ValidTime|Min-ValidTime|ForceIPv4|ForceIPv6|Queue-Mode|Send-URI-Encoded)(::[^ ]+)? "`)

// AcquireOptions picks from the output of `apt-config dump` the options that
// a private apt needs to reach archives as the machine's own apt does:
// proxies, certificates, retries, tolerance for old indexes.
func AcquireOptions(dump string) []string {
	var out []string
	for line := range strings.Lines(dump) {
		line = strings.TrimSpace(line)
		if inherited.MatchString(line) && !strings.HasSuffix(line, ` "";`) {
			out = append(out, line)
		}
	}
	return out
}
