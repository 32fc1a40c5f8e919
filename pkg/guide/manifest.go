package guide

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/verify/cluster"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// Manifest fills in the ${…} of a manifest for people (docs/scenarios.md), and
// gives its objects the Labels.
func Manifest(manifest string, in probe.Cluster) ([]byte, error) {
	text, err := cluster.Surroundings(&probe.Environment{Cluster: in}, lab.PeopleNamespace).Text(manifest)
	if err != nil {
		return nil, err
	}
	return Labelled([]byte(text))
}

// Labelled gives every object of a manifest the Labels, by which Reset finds
// it wherever it is. Comments and the order of fields stay as they are.
func Labelled(manifest []byte) ([]byte, error) {
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	decoder := yaml.NewDecoder(bytes.NewReader(manifest))
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		root := document.Content[0]
		if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
			continue // nothing between two ---
		}
		labels, err := entry(root, "metadata")
		if err == nil {
			labels, err = entry(labels, "labels")
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", root.Line, err)
		}
		all := Labels()
		for _, name := range slices.Sorted(maps.Keys(all)) {
			value, err := field(labels, name, yaml.ScalarNode)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", root.Line, err)
			}
			value.SetString(all[name])
		}
		if err := encoder.Encode(&document); err != nil {
			return nil, err
		}
	}
	if err := encoder.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// entry is the mapping under a name in a mapping; it is made where it isn't there.
func entry(in *yaml.Node, name string) (*yaml.Node, error) { return field(in, name, yaml.MappingNode) }

func field(in *yaml.Node, name string, kind yaml.Kind) (*yaml.Node, error) {
	if in.Kind != yaml.MappingNode {
		return nil, errors.New("is no object of the Kubernetes API")
	}
	for i := 0; i+1 < len(in.Content); i += 2 {
		if in.Content[i].Value == name {
			if in.Content[i+1].Kind != kind {
				return nil, fmt.Errorf("%s is of another kind than in the Kubernetes API", name)
			}
			return in.Content[i+1], nil
		}
	}
	key := &yaml.Node{}
	key.SetString(name)
	value := &yaml.Node{Kind: kind}
	in.Content = append(in.Content, key, value)
	return value, nil
}
