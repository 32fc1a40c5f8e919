// Package adopt takes care of Pods that were there before Cilium was among the
// CNI plug-ins of a node: it asks the agent for their endpoints, as cilium-cni
// does for new ones.
package adopt

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cilium/cilium/api/v1/models"
	"github.com/cilium/cilium/pkg/client"
	"github.com/sirupsen/logrus"
)

// results is where libcni keeps what the plug-ins answered, a file for each
// interface of each Pod sandbox (containernetworking/cni, libcni/api.go).
const results = "/var/lib/cni/results"

// cached is one of these files.
type cached struct {
	ContainerID string      `json:"containerId"`
	IfName      string      `json:"ifName"`
	Args        [][2]string `json:"cniArgs"`
	Result      struct {
		Interfaces []struct {
			Name    string `json:"name"`
			MAC     string `json:"mac"`
			Sandbox string `json:"sandbox"`
		} `json:"interfaces"`
		IPs []struct {
			Address string `json:"address"`
		} `json:"ips"`
	} `json:"result"`
}

// Pods makes endpoints of Pods that have none, as often as one appears:
// policies are to hold for them as for others, and others' policies are to
// know them by their labels. It doesn't return.
func Pods() {
	log := logrus.WithField("subsys", "adopt")
	for ; ; time.Sleep(2 * time.Second) {
		c, err := client.NewDefaultClient()
		if err != nil {
			continue // no socket yet
		}
		known, err := c.EndpointList()
		if err != nil {
			continue // the agent doesn't answer yet
		}
		for _, ep := range orphans(known) {
			if err := c.EndpointCreate(ep); err != nil {
				log.WithError(err).Warnf("Pod %s/%s", ep.K8sNamespace, ep.K8sPodName)
			}
		}
	}
}

// orphans are the endpoints that should be and are not.
func orphans(known []*models.Endpoint) []*models.EndpointChangeRequest {
	have := map[string]bool{}
	for _, ep := range known {
		if ep.Status != nil && ep.Status.ExternalIdentifiers != nil {
			have[ep.Status.ExternalIdentifiers.ContainerID] = true
		}
	}
	files, _ := filepath.Glob(filepath.Join(results, "*")) // the pattern is a constant
	var out []*models.EndpointChangeRequest
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // the Pod has gone
		}
		var c cached
		if json.Unmarshal(b, &c) != nil || have[c.ContainerID] {
			continue // half written: the next time
		}
		if ep, err := c.endpoint(hostInterface); err == nil {
			out = append(out, ep)
		}
	}
	return out
}

// hostInterface gives index and MAC address of an interface of the node's.
func hostInterface(name string) (int, string, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return 0, "", err
	}
	return i.Index, i.HardwareAddr.String(), nil
}

// endpoint is what cilium-cni asks the agent for as the last plug-in of a
// chain. An error says why there is nothing to ask for.
func (c cached) endpoint(host func(string) (int, string, error)) (*models.EndpointChangeRequest, error) {
	disabled := false
	ep := &models.EndpointChangeRequest{
		ContainerID:            c.ContainerID,
		ContainerInterfaceName: c.IfName,
		Addressing:             &models.AddressPair{},
		State:                  models.EndpointStateWaitingDashForDashIdentity.Pointer(),
		DatapathConfiguration: &models.EndpointDatapathConfiguration{
			RequireArpPassthrough: true,
			RequireEgressProg:     true,
			ExternalIpam:          true,
			RequireRouting:        &disabled,
		},
	}
	for _, kv := range c.Args {
		switch kv[0] {
		case "K8S_POD_NAME":
			ep.K8sPodName = kv[1]
		case "K8S_POD_NAMESPACE":
			ep.K8sNamespace = kv[1]
		case "K8S_POD_UID":
			ep.K8sUID = kv[1]
		}
	}
	for _, i := range c.Result.Interfaces {
		switch {
		case i.Sandbox == "":
			index, mac, err := host(i.Name)
			if err != nil {
				return nil, err
			}
			if !strings.EqualFold(mac, i.MAC) {
				return nil, fmt.Errorf("interface %s is another Pod's by now", i.Name)
			}
			ep.InterfaceName, ep.InterfaceIndex, ep.HostMac = i.Name, int64(index), mac
		case i.Name == c.IfName:
			ep.Mac = i.MAC
		}
	}
	for _, a := range c.Result.IPs {
		if ip, _, err := net.ParseCIDR(a.Address); err == nil && ip.To4() != nil {
			ep.Addressing.IPV4 = ip.String()
		}
	}
	if ep.K8sPodName == "" || ep.InterfaceName == "" || ep.Mac == "" || ep.Addressing.IPV4 == "" {
		return nil, fmt.Errorf("sandbox %s has no veth pair of a Pod", c.ContainerID)
	}
	return ep, nil
}
