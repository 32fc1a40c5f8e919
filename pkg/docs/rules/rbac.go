package rules

import (
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/isolation-stack/labctl/pkg/docs"
)

var rbacRules = []rule{
	{docs.Rule{
		ID: "rbac-api-group", Severity: docs.Error,
		Title: "apiGroups has something that is no API group",
		Help:  "apiGroups takes groups without a version: apps, not apps/v1. The group of Pods, Services and Secrets is the empty string \"\", not core or v1. A rule with a group that doesn't exist allows nothing.",
	}, findRBACGroup},
	{docs.Rule{
		ID: "rbac-resource-name", Severity: docs.Error,
		Title: "resources has a kind instead of a resource",
		Help:  "Resources are lower-case plurals, as kubectl api-resources shows them: pods, not Pod. A rule with a name that no resource has allows nothing.",
	}, findRBACResource},
	{docs.Rule{
		ID: "rbac-resource-group", Severity: docs.Error,
		Title: "a resource that is in none of the rule's API groups",
		Help:  "A rule of a Role allows its resources in its API groups only. The resource is in another group, so requests for it are still forbidden. Add the group, or a rule of its own.",
	}, findRBACResourceGroup},
}

// builtInGroups are the API groups of kube-apiserver and of metrics-server,
// with their resources.
var builtInGroups = func() map[string][]string {
	groups := map[string][]string{}
	for line := range strings.Lines(builtInResources) {
		group, resources, ok := strings.Cut(strings.TrimSpace(line), ":")
		if ok {
			groups[group] = strings.Fields(resources)
		}
	}
	return groups
}()

// builtInResources is kubectl api-resources of Kubernetes 1.37 with all APIs
// on. The group extensions, which has nothing left, is in many old roles beside
// the right one and isn't looked at.
const builtInResources = `
	: bindings componentstatuses configmaps endpoints events limitranges namespaces nodes persistentvolumeclaims persistentvolumes pods podtemplates replicationcontrollers resourcequotas secrets serviceaccounts services
	admissionregistration.k8s.io: mutatingadmissionpolicies mutatingadmissionpolicybindings mutatingwebhookconfigurations validatingadmissionpolicies validatingadmissionpolicybindings validatingwebhookconfigurations
	apiextensions.k8s.io: customresourcedefinitions
	apiregistration.k8s.io: apiservices
	apps: controllerrevisions daemonsets deployments replicasets statefulsets
	authentication.k8s.io: selfsubjectreviews tokenreviews
	authorization.k8s.io: localsubjectaccessreviews selfsubjectaccessreviews selfsubjectrulesreviews subjectaccessreviews
	autoscaling: horizontalpodautoscalers
	batch: cronjobs jobs
	certificates.k8s.io: certificatesigningrequests clustertrustbundles podcertificaterequests
	coordination.k8s.io: leasecandidates leases
	discovery.k8s.io: endpointslices
	events.k8s.io: events
	flowcontrol.apiserver.k8s.io: flowschemas prioritylevelconfigurations
	metrics.k8s.io: nodes pods
	networking.k8s.io: ingressclasses ingresses ipaddresses networkpolicies servicecidrs
	node.k8s.io: runtimeclasses
	policy: poddisruptionbudgets podsecuritypolicies
	rbac.authorization.k8s.io: clusterrolebindings clusterroles rolebindings roles
	resource.k8s.io: deviceclasses devicetaintrules resourceclaims resourceclaimtemplates resourceslices
	scheduling.k8s.io: priorityclasses
	storage.k8s.io: csidrivers csinodes csistoragecapacities storageclasses volumeattachments volumeattributesclasses
`

// groupsOf are the groups that have a resource.
var groupsOf = func() map[string][]string {
	found := map[string][]string{}
	for _, group := range sortedKeys(builtInGroups) {
		for _, resource := range builtInGroups[group] {
			found[resource] = append(found[resource], group)
		}
	}
	return found
}()

// roleRules calls do for each rule of the document's roles.
func (p *page) roleRules(do func(o *object, rule field)) {
	for _, kind := range []string{"Role", "ClusterRole"} {
		for _, o := range p.of("rbac.authorization.k8s.io", kind) {
			for _, rule := range o.get("rules").items() {
				do(o, rule)
			}
		}
	}
}

var noGroup = regexp.MustCompile(`^core$|/|^v[0-9]+((alpha|beta)[0-9]+)?$`)

func findRBACGroup(p *page, s *sink) {
	p.roleRules(func(o *object, rule field) {
		for _, f := range rule.get("apiGroups").items() {
			group := f.text()
			if !noGroup.MatchString(group) {
				continue
			}
			plain, _, _ := strings.Cut(group, "/")
			if noGroup.MatchString(plain) {
				plain = ""
			}
			s.field(o, f, "%s is no API group; write %s", quote(group), quote(plain))
		}
	})
}

func findRBACResource(p *page, s *sink) {
	p.roleRules(func(o *object, rule field) {
		for _, f := range rule.get("resources").items() {
			name, _, _ := strings.Cut(f.text(), "/")
			switch plural := plurals(strings.ToLower(name)); {
			case open.MatchString(name) || groupsOf[name] != nil:
			case plural != "" && inGroups(rule, groupsOf[plural]):
				s.field(o, f, "no resource is named %s; it is %s", quote(name), quote(plural))
			case strings.ContainsFunc(name, unicode.IsUpper):
				s.field(o, f, "no resource is named %s: names of resources are plurals in lower case", quote(name))
			}
		}
	})
}

// names says whether a rule is about a resource.
func names(rule field, resource string) bool {
	return slices.ContainsFunc(rule.get("resources").items(), func(f field) bool {
		name, _, _ := strings.Cut(f.text(), "/")
		return name == resource || name == "*"
	})
}

// plurals gives the built-in resource that a word means, "" if none.
func plurals(word string) string {
	for _, plural := range []string{word, word + "s", word + "es", strings.TrimSuffix(word, "y") + "ies"} {
		if groupsOf[plural] != nil {
			return plural
		}
	}
	return ""
}

// inGroups says whether a rule is about one of the groups.
func inGroups(rule field, groups []string) bool {
	return slices.ContainsFunc(rule.get("apiGroups").items(), func(f field) bool {
		return f.text() == "*" || slices.Contains(groups, f.text())
	})
}

func findRBACResourceGroup(p *page, s *sink) {
	p.roleRules(func(o *object, rule field) {
		groups := rule.get("apiGroups").items()
		for _, f := range groups {
			// A group that isn't built in may have a resource of any name, and
			// what is no group at all is the other rule's.
			if _, builtIn := builtInGroups[f.text()]; !builtIn {
				return
			}
		}
		for _, f := range rule.get("resources").items() {
			name, _, _ := strings.Cut(f.text(), "/")
			is := groupsOf[name]
			if len(groups) == 0 || is == nil || inGroups(rule, is) {
				continue
			}
			// Another rule of the role may have it right.
			if !slices.ContainsFunc(o.get("rules").items(), func(other field) bool { return inGroups(other, is) && names(other, name) }) {
				s.field(o, f, "%s are in the API group %s, which the rule doesn't name", name, list(is))
			}
		}
	})
}
