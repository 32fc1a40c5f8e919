package apiserver

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	apidiscovery "k8s.io/api/apidiscovery/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// No controller runs beside the API server. What admission waits for, labctl
// does in their place.

// Namespace creates a namespace, unless there is one, with its ServiceAccount
// "default", and settles.
func (s *Server) Namespace(ctx context.Context, name string) error {
	object, err := json.Marshal(map[string]any{"metadata": map[string]any{"name": name}})
	if err != nil {
		return err
	}
	if err := s.state.epoch.api.post(ctx, "/api/v1/namespaces", string(object)); err != nil {
		return s.explain(fmt.Errorf("namespace %s: %w", name, err))
	}
	return s.Settle(ctx)
}

// account creates the ServiceAccount "default" of a namespace. One that is
// gone meanwhile needs none.
func (a api) account(ctx context.Context, namespace string) error {
	err := a.post(ctx, "/api/v1/namespaces/"+namespace+"/serviceaccounts", `{"metadata": {"name": "default"}}`)
	if hasCode(err, http.StatusNotFound) {
		return nil
	}
	return err
}

// quota says that nothing of a new ResourceQuota is used: admission refuses
// all as long as it doesn't know.
func (a api) quota(ctx context.Context, namespace, name string) error {
	path := "/api/v1/namespaces/" + namespace + "/resourcequotas/" + name
	b, _, err := a.do(ctx, http.MethodGet, path, "", "")
	if hasCode(err, http.StatusNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var q corev1.ResourceQuota
	if err := json.Unmarshal(b, &q); err != nil {
		return err
	}
	if maps.EqualFunc(q.Status.Hard, q.Spec.Hard, func(x, y resource.Quantity) bool { return x.Cmp(y) == 0 }) {
		return nil
	}
	used := corev1.ResourceList{}
	for name := range q.Spec.Hard {
		used[name] = q.Status.Used[name]
	}
	patch, err := json.Marshal(map[string]any{"status": corev1.ResourceQuotaStatus{Hard: q.Spec.Hard, Used: used}})
	if err != nil {
		return err
	}
	_, _, err = a.do(ctx, http.MethodPatch, path+"/status", "application/merge-patch+json", string(patch))
	return err
}

// served waits until the API server's own controllers have decided on a CRD,
// and says whether it is served: not one that is gone, that is refused for its
// names or that wants to serve no version.
func (a api) served(ctx context.Context, name string) (served bool, err error) {
	err = retry(ctx, func() (bool, error) {
		b, _, err := a.do(ctx, http.MethodGet, crdPath+name, "", "")
		if hasCode(err, http.StatusNotFound) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		c, err := readCRD(b)
		if err != nil {
			return false, err
		}
		if c.Metadata.DeletionTimestamp != nil {
			return false, nil // soon gone, with its custom resources
		}
		if !c.served() || c.is("NamesAccepted", metav1.ConditionFalse) {
			return true, nil
		}
		if served = c.is("Established", metav1.ConditionTrue); !served {
			return false, nil
		}
		return a.backdate(ctx, name, c)
	})
	return served, err
}

// backdate makes a CRD look established for long. In the first two seconds the
// API server lets the creation of each custom resource wait for two seconds,
// for the sake of other API servers (k8s.io/apiextensions-apiserver, crdHandler,
// justCreated), of which there are none here.
func (a api) backdate(ctx context.Context, name string, c crd) (done bool, err error) {
	i := slices.IndexFunc(c.Status.Conditions, func(x metav1.Condition) bool { return x.Type == "Established" })
	if time.Since(c.Status.Conditions[i].LastTransitionTime.Time) > time.Minute {
		return true, nil
	}
	condition := "/status/conditions/" + strconv.Itoa(i)
	patch, err := json.Marshal([]map[string]string{
		{"op": "test", "path": condition + "/type", "value": "Established"},
		{"op": "replace", "path": condition + "/lastTransitionTime", "value": time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)},
	})
	if err != nil {
		return false, err
	}
	_, _, err = a.do(ctx, http.MethodPatch, crdPath+name+"/status", "application/json-patch+json", string(patch))
	// A condition that moved is looked for again.
	if hasCode(err, http.StatusUnprocessableEntity) || hasCode(err, http.StatusConflict) || hasCode(err, http.StatusNotFound) {
		return false, nil
	}
	return err == nil, err
}

const crdPath = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"

// crd is what has to be known of a CustomResourceDefinition.
type crd struct {
	Metadata struct {
		UID               string       `json:"uid"`
		DeletionTimestamp *metav1.Time `json:"deletionTimestamp"`
	} `json:"metadata"`
	Spec struct {
		Versions []struct {
			Served bool `json:"served"`
		} `json:"versions"`
	} `json:"spec"`
	Status struct {
		Conditions []metav1.Condition `json:"conditions"`
	} `json:"status"`
}

func readCRD(b []byte) (c crd, err error) {
	err = json.Unmarshal(b, &c)
	return c, err
}

func (c crd) is(kind string, status metav1.ConditionStatus) bool {
	return slices.ContainsFunc(c.Status.Conditions, func(x metav1.Condition) bool { return x.Type == kind && x.Status == status })
}

// served says that at least one version is.
func (c crd) served() bool {
	for _, v := range c.Spec.Versions {
		if v.Served {
			return true
		}
	}
	return false
}

// systemNamespaces are those that kube-apiserver makes by itself.
var systemNamespaces = []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease}

// accounts waits for the namespaces that kube-apiserver makes soon after it is
// ready, and gives them their ServiceAccounts.
func (a api) accounts(ctx context.Context) error {
	for _, ns := range systemNamespaces {
		err := retry(ctx, func() (bool, error) {
			err := a.post(ctx, "/api/v1/namespaces/"+ns+"/serviceaccounts", `{"metadata": {"name": "default"}}`)
			if hasCode(err, http.StatusNotFound) {
				return false, nil
			}
			return err == nil, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// discovers waits until discovery has those CRDs (PLURAL.GROUP) whose value is
// true, and none of the others.
func (a api) discovers(ctx context.Context, crds map[string]bool) error {
	return retry(ctx, func() (bool, error) {
		b, _, err := a.do(ctx, http.MethodGet, "/apis", "", "")
		if err != nil {
			return false, err
		}
		var groups apidiscovery.APIGroupDiscoveryList
		if err := json.Unmarshal(b, &groups); err != nil {
			return false, err
		}
		there := map[string]bool{}
		for _, g := range groups.Items {
			for _, v := range g.Versions {
				for _, r := range v.Resources {
					there[r.Resource+"."+g.Name] = true
				}
			}
		}
		for name, want := range crds {
			if there[name] != want {
				return false, nil
			}
		}
		return true, nil
	})
}
