package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/google/uuid"
	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// Install puts CustomResourceDefinitions that are known to be valid, and whose
// names don't clash, into etcd as the API server would have it in the end, and
// returns when they are served. By way of the API each costs the API server
// several times the CPU time: it is written four times, and what follows is
// done each time. Those that are there are replaced. Base then makes them a part
// of the base state.
func (s *Server) Install(ctx context.Context, definitions []*unstructured.Unstructured) error {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var ops []clientv3.Op
	served := map[string]bool{}
	for _, d := range definitions {
		object, err := established(d.Object, time.Now())
		if err != nil {
			return fmt.Errorf("CustomResourceDefinition %s: %w", d.GetName(), err)
		}
		value, err := json.Marshal(object)
		if err != nil {
			return fmt.Errorf("CustomResourceDefinition %s: %w", d.GetName(), err)
		}
		c, err := readCRD(value)
		if err != nil {
			return fmt.Errorf("CustomResourceDefinition %s: %w", d.GetName(), err)
		}
		served[d.GetName()] = c.served()
		ops = append(ops, clientv3.OpPut(crdKeys+d.GetName(), string(value)))
	}
	if err := s.state.follow(ctx, ops, served, nil); err != nil {
		return s.explain(fmt.Errorf("definitions of custom resources: %w", err))
	}
	return nil
}

// established gives a definition with what the API server and its controllers
// add to it (k8s.io/apiextensions-apiserver, SetDefaults, PrepareForCreate and
// pkg/controller/{status,establish}).
func established(definition map[string]any, now time.Time) (map[string]any, error) {
	object := runtime.DeepCopyJSON(definition)
	spec, _ := object["spec"].(map[string]any)
	names, _ := spec["names"].(map[string]any)
	kind, _ := names["kind"].(string)
	plural, _ := names["plural"].(string)
	group, _ := spec["group"].(string)
	metadata, _ := object["metadata"].(map[string]any)
	if object["apiVersion"] != "apiextensions.k8s.io/v1" || kind == "" || metadata["name"] != plural+"."+group {
		return nil, errors.New("it is none of apiextensions.k8s.io/v1 with a kind and the name PLURAL.GROUP")
	}
	if names["singular"] == nil {
		names["singular"] = strings.ToLower(kind)
	}
	if names["listKind"] == nil {
		names["listKind"] = kind + "List"
	}
	if spec["conversion"] == nil {
		spec["conversion"] = map[string]any{"strategy": "None"}
	}
	var stored []any
	versions, _ := spec["versions"].([]any)
	for _, v := range versions {
		if version, _ := v.(map[string]any); version["storage"] == true {
			stored = append(stored, version["name"])
		}
	}
	// An hour ago: see backdate.
	then := now.Add(-time.Hour).UTC().Format(time.RFC3339)
	condition := func(kind, reason string) any {
		return map[string]any{"type": kind, "status": "True", "reason": reason, "message": "installed by labctl", "lastTransitionTime": then}
	}
	object["status"] = map[string]any{
		"conditions":     []any{condition("NamesAccepted", "NoConflicts"), condition("Established", "InitialNamesAccepted")},
		"acceptedNames":  maps.Clone(names),
		"storedVersions": stored,
	}
	metadata["uid"], metadata["generation"], metadata["creationTimestamp"] = uuid.NewString(), int64(1), then
	delete(metadata, "resourceVersion")
	delete(metadata, "managedFields")
	return object, nil
}
