package formats

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	apiserver "k8s.io/apiserver/pkg/apis/apiserver/v1"
	audit "k8s.io/apiserver/pkg/apis/audit/v1"
	kubeproxy "k8s.io/kube-proxy/config/v1alpha1"
	kubescheduler "k8s.io/kube-scheduler/config/v1"
	kubelet "k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/json"
	kind "sigs.k8s.io/kind/pkg/apis/config/v1alpha4"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

var componentInvalid = docs.Rule{
	ID: "component-config-invalid", Severity: docs.Error,
	Title: "a component of Kubernetes, or kind, refuses its configuration file",
	Help: "The kubelet, kube-apiserver, kube-scheduler, kube-proxy and kind read their configuration strictly: a field that they don't know, or a value of another type, ends them. " +
		"The types are those of Kubernetes 1.37 and kind 0.33; a field that has been removed since an older version is unknown too.",
}

// components are the types of configuration files by apiVersion and kind.
var components = map[string]func() any{
	"kubelet.config.k8s.io/v1beta1 KubeletConfiguration":        func() any { return new(kubelet.KubeletConfiguration) },
	"kubelet.config.k8s.io/v1beta1 CredentialProviderConfig":    func() any { return new(kubelet.CredentialProviderConfig) },
	"kubeproxy.config.k8s.io/v1alpha1 KubeProxyConfiguration":   func() any { return new(kubeproxy.KubeProxyConfiguration) },
	"kubescheduler.config.k8s.io/v1 KubeSchedulerConfiguration": func() any { return new(kubescheduler.KubeSchedulerConfiguration) },
	"apiserver.config.k8s.io/v1 AdmissionConfiguration":         func() any { return new(apiserver.AdmissionConfiguration) },
	"apiserver.config.k8s.io/v1 EncryptionConfiguration":        func() any { return new(apiserver.EncryptionConfiguration) },
	"apiserver.config.k8s.io/v1 AuthenticationConfiguration":    func() any { return new(apiserver.AuthenticationConfiguration) },
	"apiserver.config.k8s.io/v1 AuthorizationConfiguration":     func() any { return new(apiserver.AuthorizationConfiguration) },
	"audit.k8s.io/v1 Policy":                                    func() any { return new(audit.Policy) },
	"kind.x-k8s.io/v1alpha4 Cluster":                            func() any { return new(kind.Cluster) },
}

func componentType(d yamldoc.Doc) func() any {
	o, ok := d.Object()
	if !ok {
		return nil
	}
	return components[o.APIVersion+" "+o.Kind]
}

var componentConfig = format{
	name: "component configuration", rules: []docs.Rule{componentInvalid},
	is: func(t text) bool {
		return slices.ContainsFunc(t.docs, func(d yamldoc.Doc) bool { return componentType(d) != nil })
	},
	check: func(t text) (found []docs.Finding) {
		for _, d := range t.docs {
			if into := componentType(d); into != nil {
				found = append(found, componentFile(t, d, into())...)
			}
		}
		return found
	},
}

var (
	unknownField = regexp.MustCompile(`^unknown field "([^"]+)"`)
	wrongType    = regexp.MustCompile(`cannot unmarshal (.+) into Go struct field [A-Za-z]*\.?([\w.]*) of type (\S+)`)
)

// componentFile decodes a file as its program does.
func componentFile(t text, d yamldoc.Doc, into any) (found []docs.Finding) {
	o, _ := d.Object()
	report := func(path, message string) {
		line, column, _ := d.FindKey(path)
		f := t.finding(componentInvalid, line, column, "%s: %s", o.Kind, message)
		f.Field = path
		found = append(found, f)
	}
	data, err := d.JSON()
	if err != nil {
		return []docs.Finding{t.finding(unchecked, d.Line, 0, "the document can't be judged as %s: %v", o.Kind, err)}
	}
	strict, err := json.UnmarshalStrict(data, into)
	if err != nil {
		message, path := err.Error(), ""
		if m := wrongType.FindStringSubmatch(message); m != nil {
			if o.Kind == "Cluster" && m[3] == "string" && (m[1] == "bool" || m[1] == "number") {
				return nil // kind reads YAML, where these are strings as well
			}
			path = m[2]
			message = fmt.Sprintf("%s can't be a %s, it is of type %s", path, m[1], strings.TrimPrefix(m[3], "*"))
		}
		report(path, message)
	}
	for _, err := range strict {
		if m := unknownField.FindStringSubmatch(err.Error()); m != nil {
			report(m[1], fmt.Sprintf("there is no field %s", m[1]))
		}
	}
	return found
}
