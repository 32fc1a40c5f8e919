package adopt

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// kept is what libcni keeps of a Pod's sandbox behind ptp and portmap.
const kept = `{
  "kind": "cniCacheV1", "containerId": "345", "ifName": "eth0", "networkName": "podnetwork",
  "cniArgs": [["K8S_POD_UID", "a55"], ["IgnoreUnknown", "1"], ["K8S_POD_NAMESPACE", "kube-system"], ["K8S_POD_NAME", "coredns-1"]],
  "result": {"cniVersion": "0.3.1",
    "interfaces": [
      {"name": "veth1", "mac": "aa:00:00:00:00:01"},
      {"name": "eth0", "mac": "aa:00:00:00:00:02", "sandbox": "/var/run/netns/cni-1"}],
    "ips": [{"version": "4", "address": "10.244.0.3/24", "interface": 1}]}}`

func TestEndpoint(t *testing.T) {
	there := func(name string) (int, string, error) {
		if name != "veth1" {
			return 0, "", errors.New("no such interface")
		}
		return 7, "AA:00:00:00:00:01", nil
	}
	for _, c := range []struct {
		name     string
		old, new string // what is different in the file
		err      string
	}{
		{name: "a Pod"},
		{name: "its interface has gone", old: "veth1", new: "veth2", err: "no such interface"},
		{name: "its interface's name is another's", old: "aa:00:00:00:00:01", new: "aa:00:00:00:00:09", err: "another Pod's"},
		{name: "no Pod", old: "K8S_POD_NAME\"", new: "NAME\"", err: "no veth pair of a Pod"},
		{name: "the loopback", old: `{"name": "veth1", "mac": "aa:00:00:00:00:01"},`, err: "no veth pair of a Pod"},
		{name: "no IPv4", old: "10.244.0.3/24", new: "fd00::3/64", err: "no veth pair of a Pod"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := kept
			if c.old != "" {
				text = strings.Replace(kept, c.old, c.new, 1)
			}
			var f cached
			if err := json.Unmarshal([]byte(text), &f); err != nil {
				t.Fatal(err)
			}
			ep, err := f.endpoint(there)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want one that contains %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if ep.ContainerID != "345" || ep.K8sNamespace != "kube-system" || ep.K8sPodName != "coredns-1" || ep.K8sUID != "a55" ||
				ep.InterfaceName != "veth1" || ep.InterfaceIndex != 7 || ep.Mac != "aa:00:00:00:00:02" || ep.Addressing.IPV4 != "10.244.0.3" ||
				!ep.DatapathConfiguration.ExternalIpam || *ep.DatapathConfiguration.RequireRouting {
				t.Errorf("endpoint %+v", ep)
			}
		})
	}
}
