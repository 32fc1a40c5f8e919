package judge

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes/scheme"
)

// applyPatch is the patch that kubectl apply sends: it takes away what was in
// the manifest before, adds what is in it now, and leaves what the API server
// has set. before is nil if the object wasn't applied.
func applyPatch(gvk schema.GroupVersionKind, before, now, live map[string]any) (types.PatchType, []byte, error) {
	original, err := jsonOf(before)
	if before == nil {
		original, err = nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	modified, err := jsonOf(now)
	if err != nil {
		return "", nil, err
	}
	current, err := jsonOf(live)
	if err != nil {
		return "", nil, err
	}
	if typed, err := scheme.Scheme.New(gvk); err == nil {
		meta, err := strategicpatch.NewPatchMetaFromStruct(typed)
		if err != nil {
			return "", nil, err
		}
		patch, err := strategicpatch.CreateThreeWayMergePatch(original, modified, current, meta, true)
		return types.StrategicMergePatchType, patch, err
	}
	patch, err := jsonmergepatch.CreateThreeWayJSONMergePatch(original, modified, current)
	return types.MergePatchType, patch, err
}

func jsonOf(v any) ([]byte, error) { return json.Marshal(v) }

func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, item := range v {
			m[k] = clone(item)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, item := range v {
			l[i] = clone(item)
		}
		return l
	}
	return v
}
