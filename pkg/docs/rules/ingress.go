package rules

import (
	"regexp"
	"slices"

	"github.com/isolation-stack/labctl/pkg/docs"
)

var ingressRules = []rule{
	{docs.Rule{
		ID: "ingress-backend-unmatched", Severity: docs.Warning,
		Title: "an Ingress leads to a Service or a port that isn't there",
		Help:  "The example shows the Ingress with its Services, but none has the name, or the one that has it has no such port: requests get 503. The port of a backend is the Service's port, not the container's.",
	}, findIngressBackend},
	{docs.Rule{
		ID: "ingress-path-regex", Severity: docs.Warning,
		Title: "a regular expression in a path that is taken as it is",
		Help:  "With pathType Exact or Prefix a path is compared character by character, so /api/(.*) matches only itself; ingress-nginx refuses it. Use pathType ImplementationSpecific and the controller's own setting for regular expressions (nginx.ingress.kubernetes.io/use-regex), or a plain prefix.",
	}, findIngressRegex},
}

const networkingGroup = "networking.k8s.io"

// paths are those of an Ingress.
func paths(o *object) []field {
	var found []field
	for _, r := range o.get("spec", "rules").items() {
		found = append(found, r.get("http", "paths").items()...)
	}
	return found
}

func findIngressBackend(p *page, s *sink) {
	services := p.of("", "Service")
	for _, o := range p.of(networkingGroup, "Ingress") {
		backends := []field{o.get("spec", "defaultBackend", "service")}
		for _, path := range paths(o) {
			backends = append(backends, path.get("backend", "service"))
		}
		if !slices.ContainsFunc(services, func(service *object) bool { return service.index == o.index && service.near(o) }) {
			continue
		}
		for _, b := range backends {
			name := b.get("name")
			// The AWS load balancer controller takes such a name from an annotation.
			if name.text() == "" || open.MatchString(name.text()) || b.get("port", "name").text() == "use-annotation" {
				continue
			}
			var named []*object
			for _, service := range services {
				if service.Name == name.text() && service.near(o) {
					named = append(named, service)
				}
			}
			port := b.get("port")
			switch {
			case len(named) == 0:
				s.field(o, name, "the Services of the document have other names than %s", quote(name.text()))
			case !slices.ContainsFunc(named, func(service *object) bool { return hasPort(service, port) }):
				s.field(o, port, "Service %s has no such port; a backend's port is the Service's, not the container's", quote(name.text()))
			}
		}
	}
}

// hasPort says whether a Service has the port that a backend names; true if
// none is named, or none can be read.
func hasPort(service *object, port field) bool {
	number, isNumber := port.get("number").number()
	name := port.get("name").text()
	if !isNumber && name == "" {
		return true
	}
	ports := service.get("spec", "ports").items()
	return len(ports) == 0 || slices.ContainsFunc(ports, func(f field) bool {
		n, _ := f.get("port").number()
		return isNumber && n == number || name != "" && f.get("name").text() == name
	})
}

// regexSyntax is what a path that means itself hardly has.
var regexSyntax = regexp.MustCompile(`\(.*\)|\.\*|\.\+|\[.*\]|\\[dws.]|\$$`)

func findIngressRegex(p *page, s *sink) {
	for _, o := range p.of(networkingGroup, "Ingress") {
		for _, path := range paths(o) {
			f, kind := path.get("path"), path.get("pathType").text()
			if (kind == "Prefix" || kind == "Exact") && regexSyntax.MatchString(f.text()) && !open.MatchString(f.text()) {
				s.field(o, f, "%s is a regular expression, and pathType %s compares character by character", quote(f.text()), kind)
			}
		}
	}
}
