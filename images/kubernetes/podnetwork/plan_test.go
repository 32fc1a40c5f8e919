package podnetwork

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func node(name string, cidrs []string, ips ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	n.Spec.PodCIDRs = cidrs
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}}
	for _, ip := range ips {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
	}
	return n
}

func TestMakePlan(t *testing.T) {
	a := node("a", []string{"10.244.0.0/24", "fd00:10:244::/64"}, "172.18.0.2", "fc00::2")
	b := node("b", []string{"10.244.1.0/24", "fd00:10:244:1::/64"}, "172.18.0.3", "fc00::3")
	tests := []struct {
		name   string
		nodes  []*corev1.Node
		own    int
		routes map[string]string
	}{
		{"alone", []*corev1.Node{a}, 2, map[string]string{}},
		{"two nodes", []*corev1.Node{a, b}, 2, map[string]string{"10.244.1.0/24": "172.18.0.3", "fd00:10:244:1::/64": "fc00::3"}},
		{"a node without range yet", []*corev1.Node{a, node("c", nil, "172.18.0.4")}, 2, map[string]string{}},
		{"a node without address yet", []*corev1.Node{a, node("c", []string{"10.244.2.0/24"})}, 2, map[string]string{}},
		{"addresses of the other family only", []*corev1.Node{a, node("c", []string{"10.244.2.0/24"}, "fc00::4")}, 2, map[string]string{}},
		{"garbage", []*corev1.Node{a, node("c", []string{"nonsense"}, "worse")}, 2, map[string]string{}},
		{"self is not there", []*corev1.Node{b}, 0, map[string]string{"10.244.1.0/24": "172.18.0.3", "fd00:10:244:1::/64": "fc00::3"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := makePlan("a", tt.nodes)
			got := map[string]string{}
			for dst, via := range p.routes {
				got[dst.String()] = via.String()
			}
			if !reflect.DeepEqual(got, tt.routes) || len(p.own) != tt.own {
				t.Errorf("own %v, routes %v; want %d and %v", p.own, got, tt.own, tt.routes)
			}
		})
	}
}

func TestMasquerade(t *testing.T) {
	pods := []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:10:244::/56")}
	nodes := []netip.Addr{netip.MustParseAddr("172.18.0.2"), netip.MustParseAddr("fc00::2")}
	want := `*nat
:PODNETWORK-MASQ - [0:0]
-A PODNETWORK-MASQ -d 10.244.0.0/16 -j RETURN
-A PODNETWORK-MASQ -d 172.18.0.2 -j RETURN
-A PODNETWORK-MASQ -s 10.244.0.0/16 -j MASQUERADE
COMMIT
`
	if got := masquerade(pods, nodes, false); got != want {
		t.Errorf("IPv4: got\n%s, want\n%s", got, want)
	}
	six := masquerade(pods, nodes, true)
	if strings.Contains(six, "10.244") || !strings.Contains(six, "-s fd00:10:244::/56 -j MASQUERADE") {
		t.Errorf("IPv6: got\n%s", six)
	}
	// Nothing but what comes from Pods may lose its address.
	for _, line := range strings.Split(want+six, "\n") {
		if strings.HasSuffix(line, "MASQUERADE") && !strings.Contains(line, " -s ") {
			t.Errorf("rule without source: %s", line)
		}
	}
}

func TestConflist(t *testing.T) {
	b, err := conflist([]netip.Prefix{netip.MustParsePrefix("10.244.3.0/24"), netip.MustParsePrefix("fd00::/64")}, 1400)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Plugins []struct {
			Type   string `json:"type"`
			IPMasq bool   `json:"ipMasq"`
			MTU    int    `json:"mtu"`
			IPAM   struct {
				Ranges [][]struct{ Subnet string } `json:"ranges"`
				Routes []struct{ Dst string }      `json:"routes"`
			} `json:"ipam"`
		} `json:"plugins"`
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	p := got.Plugins[0]
	if p.Type != "ptp" || p.IPMasq || p.MTU != 1400 || len(p.IPAM.Ranges) != 2 ||
		p.IPAM.Ranges[0][0].Subnet != "10.244.3.0/24" || p.IPAM.Routes[1].Dst != "::/0" {
		t.Errorf("got %s", b)
	}
	if got.Plugins[1].Type != "portmap" {
		t.Errorf("no portmap in %s", b)
	}
}

func TestWriteIfChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "net.d", "x.conflist")
	for _, content := range []string{"one", "one", "two"} {
		before, _ := os.Stat(path)
		old, _ := os.ReadFile(path)
		if err := writeIfChanged(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		after, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if same := string(old) == content; same != os.SameFile(before, after) {
			t.Errorf("%q over %q: replaced is %v", content, old, !same)
		}
		if now, _ := os.ReadFile(path); string(now) != content {
			t.Errorf("got %q, want %q", now, content)
		}
	}
	if left, _ := filepath.Glob(path + ".*"); left != nil {
		t.Errorf("left behind: %v", left)
	}
}
