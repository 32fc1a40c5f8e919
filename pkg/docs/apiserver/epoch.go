package apiserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Admission and the handlers of custom resources look at caches that follow
// etcd some milliseconds behind, each kind by itself but in order. So labctl
// keeps an object of each such kind, its sentinel, and writes a growing number,
// the epoch, into all of them behind other changes. When what admission does
// to a dry-run Pod shows the epoch, it has seen all earlier changes as well.

const (
	sentinelName  = "labctl-epoch"     // of the sentinels and of their namespace
	sentinelGroup = "epoch.labctl.dev" // of the one that is a CRD
)

// sentinel is an object that carries the epoch.
type sentinel struct {
	kind string
	// path is where it is created; prefix is that of its kind's keys in etcd.
	path, prefix string
	// object is made by create, and changed by set.
	object string
	set    func(object map[string]any, n int64)
}

// name is that of the object.
func (s sentinel) name() string {
	if s.prefix == crdKeys {
		return "epochs." + sentinelGroup
	}
	return sentinelName
}

// key is where etcd has it.
func (s sentinel) key() string {
	if strings.Contains(s.path, "/namespaces/") {
		return s.prefix + sentinelName + "/" + s.name()
	}
	return s.prefix + s.name()
}

// sentinels are in the order in which they are created.
var sentinels = []sentinel{
	{
		kind: "Namespace", path: "/api/v1/namespaces", prefix: namespaceKeys,
		object: `{"metadata": {"name": "labctl-epoch", "labels": {"pod-security.kubernetes.io/warn": "restricted"}}}`,
		// Pod security names the version in its warning, also one to come.
		set: func(o map[string]any, n int64) {
			labels := o["metadata"].(map[string]any)["labels"].(map[string]any)
			labels["pod-security.kubernetes.io/warn-version"] = "v1." + strconv.FormatInt(n, 10)
		},
	},
	{
		kind: "ServiceAccount", path: "/api/v1/namespaces/labctl-epoch/serviceaccounts", prefix: registry + "serviceaccounts/",
		object: `{"metadata": {"name": "labctl-epoch"}}`,
		set: func(o map[string]any, n int64) {
			o["imagePullSecrets"] = []any{map[string]any{"name": "epoch-" + strconv.FormatInt(n, 10)}}
		},
	},
	{
		kind: "LimitRange", path: "/api/v1/namespaces/labctl-epoch/limitranges", prefix: registry + "limitranges/",
		object: `{"metadata": {"name": "labctl-epoch"}, "spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}}]}}`,
		set: func(o map[string]any, n int64) {
			limit := o["spec"].(map[string]any)["limits"].([]any)[0].(map[string]any)
			limit["default"] = map[string]any{"cpu": n}
			limit["defaultRequest"] = map[string]any{"cpu": n}
		},
	},
	{
		kind: "RuntimeClass", path: "/apis/node.k8s.io/v1/runtimeclasses", prefix: registry + "runtimeclasses/",
		object: `{"metadata": {"name": "labctl-epoch"}, "handler": "labctl-epoch"}`,
		set: func(o map[string]any, n int64) {
			o["overhead"] = map[string]any{"podFixed": map[string]any{"cpu": n}}
		},
	},
	{
		kind: "PriorityClass", path: "/apis/scheduling.k8s.io/v1/priorityclasses", prefix: registry + "priorityclasses/",
		object: `{"metadata": {"name": "labctl-epoch"}, "value": 0}`,
		set:    func(o map[string]any, n int64) { o["value"] = n },
	},
	{
		kind: "ResourceQuota", path: "/api/v1/namespaces/labctl-epoch/resourcequotas", prefix: quotaKeys,
		object: `{"metadata": {"name": "labctl-epoch"}, "spec": {"hard": {"configmaps": "0"}}}`,
		set: func(o map[string]any, n int64) {
			o["status"] = map[string]any{"hard": map[string]any{"configmaps": "0"}, "used": map[string]any{"configmaps": n}}
		},
	},
	{
		kind: "CustomResourceDefinition", path: "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", prefix: crdKeys,
		object: `{"metadata": {"name": "epochs.epoch.labctl.dev"}, "spec": {"group": "epoch.labctl.dev", "scope": "Cluster",
			"names": {"plural": "epochs", "singular": "epoch", "kind": "Epoch", "listKind": "EpochList", "categories": ["epoch-0"]},
			"versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}}`,
		set: func(o map[string]any, n int64) {
			categories := []any{"epoch-" + strconv.FormatInt(n, 10)}
			o["spec"].(map[string]any)["names"].(map[string]any)["categories"] = categories
			o["status"].(map[string]any)["acceptedNames"].(map[string]any)["categories"] = categories
		},
	},
}

// sentinelKeys are no part of a document's state.
var sentinelKeys = func() map[string]bool {
	out := map[string]bool{}
	for _, s := range sentinels {
		out[s.key()] = true
	}
	return out
}()

// cached says that admission looks at objects of the key's kind in a cache.
func cached(key string) bool {
	return slices.ContainsFunc(sentinels, func(s sentinel) bool { return strings.HasPrefix(key, s.prefix) })
}

// The requests that show the epoch; nothing of them is kept.
const (
	dryPod = `{"metadata": {"name": "labctl-epoch"}, "spec": {
		"runtimeClassName": "labctl-epoch", "priorityClassName": "labctl-epoch", "serviceAccountName": "labctl-epoch",
		"automountServiceAccountToken": false, "containers": [{"name": "epoch", "image": "epoch"}]}}`
	dryConfigMap = `{"metadata": {"name": "labctl-epoch"}}`
)

// epoch is the number that the sentinels carry, and the sentinels as etcd has
// them.
type epoch struct {
	api     api
	n       int64
	objects []map[string]any // of sentinels
}

// api is the API server for requests by path.
type api struct {
	client *http.Client
	host   string
}

// do gives the answer's body and its warnings; a code other than 2xx is a
// *statusError.
func (a api) do(ctx context.Context, method, path, contentType, body string) (answer []byte, warnings []string, err error) {
	req, err := http.NewRequestWithContext(ctx, method, a.host+path, strings.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Content-Type", contentType)
	// Discovery is one document in its aggregated form; all else is plain JSON.
	req.Header.Set("Accept", "application/json;v=v2;g=apidiscovery.k8s.io;as=APIGroupDiscoveryList,application/json")
	r, err := a.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = r.Body.Close() }() // it was read
	if answer, err = io.ReadAll(r.Body); err != nil {
		return nil, nil, err
	}
	if r.StatusCode/100 != 2 {
		return answer, nil, &statusError{request: method + " " + path, code: r.StatusCode, body: answer}
	}
	return answer, r.Header.Values("Warning"), nil
}

// post creates an object; one that is there already is not touched.
func (a api) post(ctx context.Context, path, object string) error {
	_, _, err := a.do(ctx, http.MethodPost, path, "application/json", object)
	if hasCode(err, http.StatusConflict) {
		return nil
	}
	return err
}

// statusError is an answer that the API server doesn't like a request.
type statusError struct {
	request string
	code    int
	body    []byte
}

func (e *statusError) Error() string {
	var status struct{ Message string }
	_ = json.Unmarshal(e.body, &status) // else there is no message
	return fmt.Sprintf("%s: %d %s: %s", e.request, e.code, http.StatusText(e.code), status.Message)
}

func hasCode(err error, code int) bool {
	var status *statusError
	return errors.As(err, &status) && status.code == code
}

// newEpoch makes the sentinels.
func newEpoch(ctx context.Context, a api) (*epoch, error) {
	e := &epoch{api: a}
	for _, s := range sentinels {
		if err := a.post(ctx, s.path, s.object); err != nil {
			return nil, err
		}
	}
	for _, s := range sentinels {
		var object map[string]any
		err := retry(ctx, func() (bool, error) {
			b, _, err := a.do(ctx, http.MethodGet, s.path+"/"+s.name(), "", "")
			if err != nil {
				return false, err
			}
			return s.prefix != crdKeys || bytes.Contains(b, []byte(`"type":"Established"`)), json.Unmarshal(b, &object)
		})
		if err != nil {
			return nil, err
		}
		delete(object["metadata"].(map[string]any), "resourceVersion")
		e.objects = append(e.objects, object)
	}
	return e, nil
}

// next starts a new epoch, behind the changes that ops are, and returns when
// the API server has seen all of them.
func (e *epoch) next(ctx context.Context, s *store, ops []clientv3.Op, crds bool) error {
	e.n++
	if err := s.commit(ctx, ops); err != nil {
		return err
	}
	ops = nil
	for i, sentinel := range sentinels {
		if sentinel.prefix == crdKeys && !crds {
			continue
		}
		sentinel.set(e.objects[i], e.n)
		value, err := json.Marshal(e.objects[i])
		if err != nil {
			return err
		}
		ops = append(ops, clientv3.OpPut(sentinel.key(), string(value)))
	}
	if err := s.commit(ctx, ops); err != nil {
		return err
	}
	checks := []func(context.Context) (behind string, err error){e.pod, e.quota}
	if crds {
		checks = append(checks, e.discovery)
	}
	for _, check := range checks {
		var last string
		err := retry(ctx, func() (bool, error) {
			behind, err := check(ctx)
			last = behind
			return behind == "", err
		})
		if err != nil {
			return fmt.Errorf("the API server doesn't follow etcd (%s): %w", last, err)
		}
	}
	return nil
}

// pod names a kind whose state is older than the epoch, as a dry-run Pod
// shows; "" is none.
func (e *epoch) pod(ctx context.Context) (behind string, err error) {
	b, warnings, err := e.api.do(ctx, http.MethodPost, "/api/v1/namespaces/labctl-epoch/pods?dryRun=All", "application/json", dryPod)
	// What isn't there yet is behind.
	if hasCode(err, http.StatusForbidden) || hasCode(err, http.StatusNotFound) {
		return err.Error(), nil
	}
	if err != nil {
		return "", err
	}
	var pod corev1.Pod
	if err := json.Unmarshal(b, &pod); err != nil {
		return "", err
	}
	return behindPod(pod, strings.Join(warnings, "\n"), e.n), nil
}

func behindPod(pod corev1.Pod, warnings string, n int64) string {
	number := strconv.FormatInt(n, 10)
	want := *resource.NewQuantity(n, resource.DecimalSI)
	switch {
	case !strings.Contains(warnings, `restricted:v1.`+number+`\"`):
		return "Namespace"
	case len(pod.Spec.ImagePullSecrets) != 1 || pod.Spec.ImagePullSecrets[0].Name != "epoch-"+number:
		return "ServiceAccount"
	case len(pod.Spec.Containers) != 1 || !pod.Spec.Containers[0].Resources.Limits.Cpu().Equal(want):
		return "LimitRange"
	case !pod.Spec.Overhead.Cpu().Equal(want):
		return "RuntimeClass"
	case pod.Spec.Priority == nil || int64(*pod.Spec.Priority) != n:
		return "PriorityClass"
	}
	return ""
}

// quota does so for ResourceQuota, whose refusal says what is used.
func (e *epoch) quota(ctx context.Context) (behind string, err error) {
	_, _, err = e.api.do(ctx, http.MethodPost, "/api/v1/namespaces/labctl-epoch/configmaps?dryRun=All", "application/json", dryConfigMap)
	switch {
	case err == nil:
		return "ResourceQuota", nil
	case !hasCode(err, http.StatusForbidden):
		return "", err
	case !strings.Contains(err.Error(), "used: configmaps="+resource.NewQuantity(e.n, resource.DecimalSI).String()+","):
		return "ResourceQuota: " + err.Error(), nil
	}
	return "", nil
}

// discovery does so for CustomResourceDefinition.
func (e *epoch) discovery(ctx context.Context) (behind string, err error) {
	b, _, err := e.api.do(ctx, http.MethodGet, "/apis/"+sentinelGroup+"/v1", "", "")
	if hasCode(err, http.StatusNotFound) {
		return "CustomResourceDefinition", nil
	}
	if err != nil {
		return "", err
	}
	if !bytes.Contains(b, []byte(`"epoch-`+strconv.FormatInt(e.n, 10)+`"`)) {
		return "CustomResourceDefinition", nil
	}
	return "", nil
}
