package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

// maxExpanded is the size in bytes, about, to which aliases may expand an
// object: four times what etcd takes.
const maxExpanded = 6 << 20

// errMerge is a document that is read another, slower way.
var errMerge = errors.New("a merge key")

// value is a document as Kubernetes reads it, without the fields that are null:
// to an API server they are as if they weren't there.
func value(d yamldoc.Doc) (any, error) {
	if d.Expanded() > maxExpanded {
		return nil, errors.New("the document's aliases make it too large")
	}
	v, err := convert(d.Node)
	if !errors.Is(err, errMerge) {
		return v, err
	}
	content, err := d.JSON()
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber()
	if err := decoder.Decode(&v); err != nil {
		return nil, err
	}
	return withoutNull(v), nil
}

func convert(n *yaml.Node) (any, error) {
	switch n.Kind {
	case yaml.AliasNode:
		return convert(n.Alias)
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind == yaml.AliasNode {
				key = key.Alias
			}
			if key.Kind != yaml.ScalarNode {
				return nil, errors.New("a key that is no scalar")
			}
			if key.Value == "<<" && key.ShortTag() == "!!merge" {
				return nil, errMerge
			}
			v, err := convert(n.Content[i+1])
			if err != nil {
				return nil, err
			}
			if v == nil {
				delete(m, key.Value) // of duplicates the last one counts
				continue
			}
			m[key.Value] = v
		}
		return m, nil
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, e := range n.Content {
			v, err := convert(e)
			if err != nil {
				return nil, err
			}
			list[i] = v
		}
		return list, nil
	}
	return scalar(n)
}

// booleans are those of YAML 1.1, which Kubernetes' reader knows, beside those
// of YAML 1.2 (https://yaml.org/type/bool.html).
var booleans = map[string]bool{
	"y": true, "Y": true, "yes": true, "Yes": true, "YES": true, "on": true, "On": true, "ON": true,
	"n": false, "N": false, "no": false, "No": false, "NO": false, "off": false, "Off": false, "OFF": false,
}

func scalar(n *yaml.Node) (any, error) {
	switch n.ShortTag() {
	case "!!null":
		return nil, nil
	case "!!str":
		if n.Style == 0 && len(n.Value) <= len("false") {
			if b, ok := booleans[n.Value]; ok {
				return b, nil
			}
		}
		return n.Value, nil
	case "!!bool":
		return n.Value[0] == 't' || n.Value[0] == 'T', nil
	case "!!int":
		if i, err := strconv.ParseInt(n.Value, 10, 64); err == nil && (n.Value[0] != '0' || len(n.Value) == 1) {
			return i, nil
		}
	case "!!timestamp", "!!binary":
		return n.Value, nil
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return nil, err
	}
	if f, ok := v.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
		return n.Value, nil // JSON has no such number
	}
	switch v.(type) {
	case string, bool, int, int64, uint64, float64, nil:
		return v, nil
	}
	return n.Value, nil
}

// withoutNull takes the fields out that are null.
func withoutNull(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, e := range v {
			if e == nil {
				delete(v, key)
				continue
			}
			v[key] = withoutNull(e)
		}
	case []any:
		for i, e := range v {
			v[i] = withoutNull(e)
		}
	}
	return v
}
