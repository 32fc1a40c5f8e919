package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

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
		return fmt.Errorf("namespace %s: %w", name, err)
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

// served waits until a CRD is established, gone, or refused for its names,
// which the API server's own controllers decide.
func (a api) served(ctx context.Context, name string) error {
	return retry(ctx, func() (bool, error) {
		b, _, err := a.do(ctx, http.MethodGet, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"+name, "", "")
		if hasCode(err, http.StatusNotFound) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		var crd struct {
			Status struct {
				Conditions []metav1.Condition `json:"conditions"`
			} `json:"status"`
		}
		if err := json.Unmarshal(b, &crd); err != nil {
			return false, err
		}
		return decided(crd.Status.Conditions), nil
	})
}

func decided(conditions []metav1.Condition) bool {
	return slices.ContainsFunc(conditions, func(c metav1.Condition) bool {
		return c.Type == "Established" && c.Status == metav1.ConditionTrue || c.Type == "NamesAccepted" && c.Status == metav1.ConditionFalse
	})
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

// Settle does what controllers would do about what was written since Base or
// Reset, and returns when the API server has seen all of it: admission of a
// Pod then finds a new RuntimeClass, a LimitRange or a namespace's labels, and
// a new CRD is served. It takes some milliseconds. Admission policies and
// webhooks take effect up to a second later: they are better created dry.
func (s *Server) Settle(ctx context.Context) error {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	if s.state.base == 0 {
		return errNoBase
	}
	if err := s.state.collect(ctx); err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, settling)
	defer cancel()
	crds := false
	api := s.state.epoch.api
	for _, key := range slices.Sorted(maps.Keys(s.state.changed)) {
		var err error
		if name, ok := strings.CutPrefix(key, namespaceKeys); ok {
			err = api.account(ctx, name)
		}
		if name, ok := strings.CutPrefix(key, quotaKeys); ok {
			namespace, name, _ := strings.Cut(name, "/")
			err = api.quota(ctx, namespace, name)
		}
		if name, ok := strings.CutPrefix(key, crdKeys); ok {
			crds = true
			err = api.served(waiting, name)
		}
		if err != nil {
			return fmt.Errorf("settle %s: %w", strings.TrimPrefix(key, registry), err)
		}
	}
	return s.state.epoch.next(ctx, s.state.store, nil, crds)
}

var errNoBase = errors.New("the API server has no base state yet")

// Base makes the present state the one that Reset goes back to. It may be
// called again.
func (s *Server) Base(ctx context.Context) error {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	if err := s.state.quiet(ctx); err != nil {
		return err
	}
	// Not only etcd has the base state, but all that look at it.
	return s.state.epoch.next(ctx, s.state.store, nil, true)
}

// quiet makes a base state that nothing has changed for a while: what was
// created before, such as a CRD, makes the API server write more.
func (s *state) quiet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settling)
	defer cancel()
	for {
		if err := s.begin(ctx); err != nil {
			return err
		}
		select {
		case <-time.After(quietTime):
		case <-ctx.Done():
			return fmt.Errorf("the API server's state doesn't come to rest: %w", ctx.Err())
		}
		if err := s.collect(ctx); err != nil {
			return err
		}
		if len(s.changed) == 0 {
			return nil
		}
	}
}

// quietTime is more than kube-apiserver's own controllers take to answer a
// change.
const quietTime = 100 * time.Millisecond

// Reset brings the state of Base back: what came since is deleted, what changed
// or went is put back. It returns when the API server has seen it, after some
// milliseconds.
func (s *Server) Reset(ctx context.Context) error {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	if s.state.base == 0 {
		return errNoBase
	}
	if err := s.state.collect(ctx); err != nil {
		return err
	}
	if len(s.state.changed) == 0 {
		return nil
	}
	ops, wait, err := s.state.undo(ctx)
	if err != nil {
		return err
	}
	var crds []string
	for key := range s.state.changed {
		if name, ok := strings.CutPrefix(key, crdKeys); ok {
			crds = append(crds, name)
		}
	}
	if err := s.state.epoch.next(ctx, s.state.store, ops, len(crds) > 0); err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, settling)
	defer cancel()
	if err := s.state.appear(waiting, wait); err != nil {
		return err
	}
	clear(s.state.changed)
	return nil
}
