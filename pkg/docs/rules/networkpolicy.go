package rules

import (
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/isolation-stack/labctl/pkg/docs"
)

var networkPolicyRules = []rule{
	{docs.Rule{
		ID: "networkpolicy-allows-all", Severity: docs.Error,
		Title: "a NetworkPolicy allows what its comment or name forbids",
		Help:  "A rule without peers and ports ({}, to: [], from: []) allows all traffic of its direction. To deny it, name the direction in policyTypes and give no rule: egress: []. A direction that policyTypes doesn't name isn't restricted at all.",
	}, findPolicyAllows},
	{docs.Rule{
		ID: "networkpolicy-blocks-dns", Severity: docs.Warning,
		Title: "a NetworkPolicy restricts egress and leaves no way to DNS",
		Help:  "As soon as a policy restricts egress, name resolution is blocked as well, so the Pods don't find the Services that the policy lets them reach. Allow UDP and TCP port 53 to the namespace with the label kubernetes.io/metadata.name: kube-system.",
	}, findPolicyBlocksDNS},
	{docs.Rule{
		ID: "networkpolicy-denies-egress", Severity: docs.Note,
		Title: "policyTypes has Egress, but there is no egress rule",
		Help:  "The policy has rules for ingress and denies all egress, DNS included. If the Pods only answer that is right; say so with egress: []. Otherwise remove Egress from policyTypes, or add rules.",
	}, findPolicyDeniesEgress},
	{docs.Rule{
		ID: "networkpolicy-dns-udp-only", Severity: docs.Note,
		Title: "a NetworkPolicy allows DNS over UDP alone",
		Help:  "Answers that don't fit into a datagram come over TCP, which the policy blocks. Add TCP port 53 beside UDP.",
	}, findPolicyUDPOnly},
	{docs.Rule{
		ID: "networkpolicy-host-network", Severity: docs.Warning,
		Title: "a NetworkPolicy for Pods in the host's network",
		Help:  "Pods with hostNetwork: true share the node's address, so a NetworkPolicy doesn't restrict them (most network plug-ins ignore them, some treat them as the node). Guard them by a firewall of the node, or take them out of the host's network.",
	}, findPolicyHostNetwork},
	{docs.Rule{
		ID: "networkpolicy-peer-namespace", Severity: docs.Warning,
		Title: "a podSelector for Pods of kube-system without its namespaceSelector",
		Help:  "A podSelector by itself selects Pods of the policy's own namespace, and these Pods are in kube-system. Two entries of a list are alternatives; put namespaceSelector and podSelector into one entry, without a second dash.",
	}, findPolicyPeer},
	{docs.Rule{
		ID: "namespace-selector-label", Severity: docs.Warning,
		Title: "a namespaceSelector by a label that nothing sets",
		Help:  "Namespaces have no label \"name\" unless somebody sets one, so the selector matches none and the rule allows nothing. Every namespace has kubernetes.io/metadata.name with its name as value (since Kubernetes 1.21): use that.",
	}, findNamespaceLabel},
}

// directions of a NetworkPolicy: its rules, and the list of peers in a rule.
var directions = []struct{ policyType, rules, peers string }{
	{"Ingress", "ingress", "from"},
	{"Egress", "egress", "to"},
}

// restricts says whether a policy restricts a direction, by the default of
// policyTypes too.
func restricts(o *object, policyType string) bool {
	types := o.get("spec", "policyTypes")
	if types.empty() {
		return policyType == "Ingress" || !o.get("spec", "egress").empty()
	}
	return slices.ContainsFunc(types.items(), func(f field) bool { return f.text() == policyType })
}

// allowsAll says that a rule has neither peers nor ports.
func allowsAll(rule field, peers string) bool {
	return rule.get(peers).empty() && rule.get("ports").empty()
}

var (
	denies = regexp.MustCompile(`(?i)\b(deny|denies|denied|denying|forbid\w*|block(s|ed|ing)?|isolat\w*|reject\w*|disallow\w*|prohibit\w*|no (egress|ingress|outbound|inbound|traffic))\b|拒绝|禁止|阻止|隔离|不允许|阻断`)
	// A comment with one of these says more than that all is denied.
	allows = regexp.MustCompile(`(?i)\b(allow\w*|permit\w*|accept\w*|open|except|unless|not? (deny|den(y|ies)|block\w*|restrict\w*|isolat\w*))\b|(^|[^不])允许|放行|开放|除`)
)

func (p *page) policies() []*object { return p.of(networkingGroup, "NetworkPolicy") }

func findPolicyAllows(p *page, s *sink) {
	for _, o := range p.policies() {
		reported := false
		free := 0 // directions in which all is allowed
		var first field
		for _, d := range directions {
			if !restricts(o, d.policyType) {
				continue
			}
			free++
			restricted := true
			for _, r := range o.get("spec", d.rules).items() {
				if !allowsAll(r, d.peers) {
					continue
				}
				restricted = false
				if first.path == "" {
					first = r
				}
				if comment := p.comments(o, r); denies.MatchString(comment) && !allows.MatchString(comment) {
					reported = true
					s.field(o, r, "this rule allows all %s, and its comment says otherwise (%s); for none at all write %s: []", d.rules, quote(strings.TrimSpace(comment)), d.rules)
				}
			}
			if restricted {
				free = -2
			}
		}
		name := strings.ReplaceAll(o.Name, "-", " ")
		switch {
		case reported || !denies.MatchString(name) || allows.MatchString(name):
		case free > 0:
			s.field(o, first, "%s allows all traffic by this rule, and its name says otherwise", quote(o.String()))
		default:
			for _, d := range directions {
				if strings.Contains(name, d.rules) && !restricts(o, d.policyType) {
					s.field(o, o.get("spec", "policyTypes"), "policyTypes doesn't name %s, so %s restricts none of it, and its name says otherwise", d.policyType, quote(o.String()))
				}
			}
		}
	}
}

// comments are those in the text of a field and on the lines right above it.
func (p *page) comments(o *object, f field) string {
	node := o.doc.Value(f.path)
	if node == nil {
		return ""
	}
	lines := p.linesOf(o)
	first, _, _ := o.doc.Find(f.path)
	last := max(first, lastLine(node))
	for first > 1 && strings.HasPrefix(strings.TrimSpace(lines[first-2]), "#") {
		first--
	}
	var found strings.Builder
	for i := first; i <= last && i <= len(lines); i++ {
		if _, comment, ok := strings.Cut(" "+lines[i-1], " #"); ok {
			found.WriteString(comment + " ")
		}
	}
	return found.String()
}

func lastLine(n *yaml.Node) int {
	last := n.Line
	for _, c := range n.Content {
		last = max(last, lastLine(c))
	}
	return last
}

// allowsPort says whether a rule allows a port of a protocol ("" is any).
func allowsPort(rule field, port int, protocol string) bool {
	ports := rule.get("ports").items()
	return len(ports) == 0 || slices.ContainsFunc(ports, func(f field) bool {
		given := f.get("protocol").text()
		if given == "" {
			given = "TCP"
		}
		if protocol != "" && given != protocol {
			return false
		}
		if f.get("port").empty() {
			return true
		}
		low, isNumber := f.get("port").number()
		if !isNumber {
			return strings.HasPrefix(f.get("port").text(), "dns")
		}
		high := low
		if end, ok := f.get("endPort").number(); ok {
			high = end
		}
		return low <= port && port <= high
	})
}

// leadsToDNS says whether a rule of egress lets DNS through: to all, to a
// block of addresses or into another namespace; or it names port 53.
func leadsToDNS(o *object, rule field) bool {
	if !allowsPort(rule, 53, "") {
		return false
	}
	peers := rule.get("to").items()
	return len(peers) == 0 || !rule.get("ports").empty() || o.Namespace == "kube-system" ||
		slices.ContainsFunc(peers, func(f field) bool { return f.has("namespaceSelector") || f.has("ipBlock") })
}

func findPolicyBlocksDNS(p *page, s *sink) {
	var others []*object // that let DNS through
	for _, o := range p.policies() {
		if restricts(o, "Egress") && slices.ContainsFunc(o.get("spec", "egress").items(), func(r field) bool { return leadsToDNS(o, r) }) {
			others = append(others, o)
		}
	}
	for _, o := range p.policies() {
		egress := o.get("spec", "egress")
		byName := slices.ContainsFunc(egress.items(), func(r field) bool {
			return slices.ContainsFunc(r.get("to").items(), func(f field) bool { return f.has("podSelector") || f.has("namespaceSelector") })
		})
		if restricts(o, "Egress") && byName && !slices.ContainsFunc(others, o.near) {
			s.field(o, egress, "egress is restricted and no rule of the document allows DNS (port 53), so the Pods can't resolve the names of what they may reach")
		}
	}
}

func findPolicyDeniesEgress(p *page, s *sink) {
	for _, o := range p.policies() {
		if restricts(o, "Egress") && !o.get("spec").has("egress") && !o.get("spec", "ingress").empty() && !denies.MatchString(strings.ReplaceAll(o.Name, "-", " ")) {
			s.field(o, o.get("spec", "policyTypes"), "Egress without an egress rule denies all outgoing traffic, DNS included")
		}
	}
}

func findPolicyUDPOnly(p *page, s *sink) {
	for _, o := range p.policies() {
		rules := o.get("spec", "egress").items()
		if slices.ContainsFunc(rules, func(r field) bool { return allowsPort(r, 53, "TCP") }) {
			continue
		}
		for _, r := range rules {
			if allowsPort(r, 53, "UDP") {
				s.field(o, r.get("ports"), "DNS over TCP (port 53) stays blocked; long answers need it")
				break
			}
		}
	}
}

func findPolicyHostNetwork(p *page, s *sink) {
	for _, o := range p.policies() {
		by, f := selects(o)
		if !by.known || by.everything() {
			continue
		}
		pods := p.selected(o, by)
		inHost := func(w *workload) bool { on, _ := w.pod.get("hostNetwork").truth(); return on }
		if len(pods) > 0 && !slices.ContainsFunc(pods, func(w *workload) bool { return !inHost(w) }) {
			s.field(o, f, "the Pods of %s that it selects run in the host's network, which a NetworkPolicy doesn't restrict", pods[0].String())
		}
	}
}

// peers calls do for each peer of a policy's rules.
func peers(o *object, do func(field)) {
	for _, d := range directions {
		for _, r := range o.get("spec", d.rules).items() {
			for _, peer := range r.get(d.peers).items() {
				do(peer)
			}
		}
	}
}

// systemPods are labels of Pods that are in kube-system alone.
var systemPods = map[string][]string{
	"k8s-app":   {"kube-dns", "coredns", "kube-proxy", "kube-apiserver", "metrics-server"},
	"component": {"kube-apiserver", "kube-scheduler", "kube-controller-manager", "etcd"},
}

func findPolicyPeer(p *page, s *sink) {
	for _, o := range p.policies() {
		if o.Namespace == "kube-system" {
			continue
		}
		peers(o, func(peer field) {
			if peer.has("namespaceSelector") {
				return
			}
			labels, _ := peer.get("podSelector", "matchLabels").labels()
			for key, values := range systemPods {
				if slices.Contains(values, labels[key]) {
					s.field(o, peer.get("podSelector"), "Pods with %s: %s are in kube-system; without a namespaceSelector in the same entry only the policy's own namespace is searched", key, labels[key])
					return
				}
			}
		})
	}
}

func findNamespaceLabel(p *page, s *sink) {
	set := map[string]bool{}
	for _, o := range p.objects {
		if labels, _ := o.get("metadata", "labels").labels(); o.is("", "Namespace") && labels["name"] != "" {
			set[labels["name"]] = true
		}
	}
	for _, o := range p.policies() {
		peers(o, func(peer field) {
			f := peer.get("namespaceSelector", "matchLabels", "name")
			name := f.text()
			if name != "" && !set[name] && !p.words["name="+name] && !open.MatchString(name) {
				s.key(o, f, "nothing in the document gives a namespace the label name: %s; use kubernetes.io/metadata.name, which each has", name)
			}
		})
	}
}
