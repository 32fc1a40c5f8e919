package rules

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/isolation-stack/labctl/pkg/docs"
)

var serviceRules = []rule{
	{docs.Rule{
		ID: "selector-matches-nothing", Severity: docs.Warning,
		Title: "a selector that no Pod of the document matches",
		Help:  "The Service, NetworkPolicy or PodDisruptionBudget stands beside a workload whose Pods have nearly the same labels, or has its name, but selects none of the document's Pods: the Service has no endpoints, the policy and the budget guard nothing. Every label of the selector must be on the Pod template (not on the Deployment), with the same value, in the same namespace.",
	}, findSelectorNothing},
	{docs.Rule{
		ID: "selector-template-mismatch", Severity: docs.Error,
		Title: "a workload's selector doesn't match its own Pod template",
		Help:  "A controller never sees the Pods that it makes if its selector doesn't match them. The API server checks that for its own workloads; for a custom resource (Rollout, CloneSet) only its controller does. Give the template the labels of the selector.",
	}, findTemplateMismatch},
	{docs.Rule{
		ID: "service-port-unmatched", Severity: docs.Warning,
		Title: "a targetPort by a name that no container has",
		Help:  "A targetPort that is a name is looked up in the ports of each selected Pod's containers. A Pod that has no port of that name is left out, so the Service has no endpoints. Name the container's port, or give its number.",
	}, findServicePortName},
	{docs.Rule{
		ID: "service-port-undeclared", Severity: docs.Note,
		Title: "a targetPort that no selected container declares",
		Help:  "containerPort is only a declaration, so traffic may arrive, but where the Pods in the same example declare other ports, the number is often wrong. Without targetPort it is the Service's own port. Check what the program listens on.",
	}, findServicePortNumber},
	{docs.Rule{
		ID: "external-name-address", Severity: docs.Error,
		Title: "externalName is an IP address",
		Help:  "An ExternalName Service is a CNAME record: the address is taken as a domain name made of digits, which no DNS server resolves. Use a Service without selector and an EndpointSlice for an address.",
	}, findExternalName},
	{docs.Rule{
		ID: "external-name-cluster", Severity: docs.Warning,
		Title: "externalName of another cluster's Service by a name that only its own cluster resolves",
		Help:  "Names below svc.cluster.local are answered by each cluster's own DNS, with its own Services. For a Service of another cluster use an address that is reachable from outside (a load balancer's name), a ServiceImport (Multi-Cluster Services API), or a mesh's gateway.",
	}, findExternalCluster},
	{docs.Rule{
		ID: "statefulset-service-unmatched", Severity: docs.Note,
		Title: "serviceName names none of the Services beside the StatefulSet",
		Help:  "The Pods of a StatefulSet get their DNS names (web-0.NAME) from the headless Service that serviceName names. If there is none of that name, the Pods run and their names don't resolve.",
	}, findServiceName},
}

// selects gives the selector by which an object chooses Pods, and where it
// stands.
func selects(o *object) (selector, field) {
	switch {
	case o.is("", "Service") && o.get("spec", "type").text() != "ExternalName":
		f := o.get("spec", "selector")
		return plainSelector(f), f
	case o.is("networking.k8s.io", "NetworkPolicy"):
		f := o.get("spec", "podSelector")
		return labelSelector(f), f
	case o.is("policy", "PodDisruptionBudget"):
		f := o.get("spec", "selector")
		return labelSelector(f), f
	}
	return selector{}, field{}
}

func findSelectorNothing(p *page, s *sink) {
	type choice struct {
		*object
		selector
		field
	}
	var choices []choice
	chosen := map[*workload]bool{}
	for _, o := range p.objects {
		by, f := selects(o)
		if !by.known || by.everything() || len(choices) == maxCompared {
			continue
		}
		matched := p.selected(o, by)
		if len(matched) == 0 {
			choices = append(choices, choice{o, by, f})
		}
		if o.Kind == "Service" {
			for _, w := range matched {
				chosen[w] = true
			}
		}
	}
	for _, c := range choices {
		for _, w := range p.workloads {
			meant := w.Name == c.Name && c.Kind == "Service" || w.index == c.index && !chosen[w] && resembles(c.selector, w.labels)
			if meant && w.near(c.object) && len(w.labels) > 0 {
				s.field(c.object, c.field, "no Pod of the document has these labels; those of %s have %s", w.String(), labelList(w.labels))
				break
			}
		}
	}
}

// resembles says that labels are hardly others than those which a selector
// means: one of several is equal, or one value is a part of the other.
func resembles(s selector, labels map[string]string) bool {
	for k, want := range s.labels {
		got, ok := labels[k]
		if ok && want != "" && got != "" && (got == want || strings.Contains(got, want) || strings.Contains(want, got)) {
			return true
		}
	}
	return false
}

func labelList(labels map[string]string) string {
	var pairs []string
	for _, k := range sortedKeys(labels) {
		pairs = append(pairs, k+"="+labels[k])
	}
	return list(pairs)
}

func findTemplateMismatch(p *page, s *sink) {
	for _, w := range p.workloads {
		by := labelSelector(w.get("spec", "selector"))
		if w.custom && len(w.labels) > 0 && by.known && !by.everything() && !by.matches(w.labels) {
			s.field(w.object, w.get("spec", "selector"), "the selector doesn't match the labels of the Pod template below: %s", labelList(w.labels))
		}
	}
}

// servicePorts calls do for each port of a Service that selects Pods of the
// document.
func (p *page) servicePorts(do func(o *object, target field, pods []*workload)) {
	for _, o := range p.of("", "Service") {
		by, _ := selects(o)
		if !by.known || by.everything() {
			continue
		}
		pods := beside(o, p.selected(o, by))
		if len(pods) == 0 {
			continue
		}
		for _, port := range o.get("spec", "ports").items() {
			target := port.get("targetPort")
			if target.value == nil {
				target = port.get("port")
			}
			do(o, target, pods)
		}
	}
}

// declared gives the ports of workloads' containers by number and by name.
func declared(pods []*workload) (numbers map[int]bool, names map[string]bool) {
	numbers, names = map[int]bool{}, map[string]bool{}
	for _, w := range pods {
		for _, c := range w.containers {
			for _, port := range c.get("ports").items() {
				if n, ok := port.get("containerPort").number(); ok {
					numbers[n] = true
				}
				names[port.get("name").text()] = true
			}
		}
	}
	return numbers, names
}

func findServicePortName(p *page, s *sink) {
	p.servicePorts(func(o *object, target field, pods []*workload) {
		name := target.text()
		if _, err := strconv.Atoi(name); name == "" || err == nil || open.MatchString(name) {
			return
		}
		if _, names := declared(pods); !names[name] {
			s.field(o, target, "no container of %s has a port named %s", pods[0].String(), quote(name))
		}
	})
}

func findServicePortNumber(p *page, s *sink) {
	p.servicePorts(func(o *object, target field, pods []*workload) {
		number, ok := target.number()
		if !ok || pods[0].index != o.index {
			return
		}
		for _, w := range pods {
			if on, _ := w.pod.get("hostNetwork").truth(); on {
				return
			}
		}
		if numbers, _ := declared(pods); len(numbers) > 0 && !numbers[number] {
			s.field(o, target, "the containers of %s declare other ports than %d: %s", pods[0].String(), number, numberList(numbers))
		}
	})
}

func findExternalName(p *page, s *sink) {
	for _, o := range p.of("", "Service") {
		f := o.get("spec", "externalName")
		if _, err := netip.ParseAddr(f.text()); err == nil {
			s.field(o, f, "%s is an address, and externalName is the target of a CNAME record: it never resolves", quote(f.text()))
		}
	}
}

var (
	clusterDomain = regexp.MustCompile(`\.svc(\.cluster\.local)?\.?$`)
	otherCluster  = regexp.MustCompile(`(?i)(cross|multi|other|remote|another)[- ]?cluster|跨集群|远程集群|其他集群`)
)

func findExternalCluster(p *page, s *sink) {
	for _, o := range p.of("", "Service") {
		f := o.get("spec", "externalName")
		if clusterDomain.MatchString(f.text()) && otherCluster.MatchString(o.Name+"\n"+p.comments(o, o.field)) {
			s.field(o, f, "%s is resolved by this cluster's own DNS and never leads to another cluster", quote(f.text()))
		}
	}
}

func findServiceName(p *page, s *sink) {
	names := map[string]bool{}
	besides := map[int]bool{}
	for _, o := range p.objects {
		if o.is("", "Service") {
			names[o.Name], besides[o.index] = true, true
		}
	}
	for _, w := range p.workloads {
		f := w.get("spec", "serviceName")
		if w.is("apps", "StatefulSet") && f.text() != "" && besides[w.index] && !names[f.text()] && !open.MatchString(f.text()) {
			s.field(w.object, f, "none of the document's Services is named %s", quote(f.text()))
		}
	}
}
