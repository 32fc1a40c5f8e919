package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// configFile is the configuration file that counts: of the environment, of
// --config, else the default one.
func configFile(args []string) string {
	if v := os.Getenv("K3S_CONFIG_FILE"); v != "" {
		return v
	}
	for i, a := range args {
		if (a == "--config" || a == "-c") && i+1 < len(args) {
			return args[i+1]
		}
		if v, ok := strings.CutPrefix(a, "--config="); ok {
			return v
		}
	}
	return configPath
}

// setting is a key of the configuration files with its value or values.
type setting struct {
	key    string
	values []string
}

// configured merges config.yaml and config.yaml.d/*.yaml by K3s's rules: files
// in the order of their names, a later value replaces an earlier one, `key+`
// appends to it.
func configured(path string) ([]setting, error) {
	files, err := configFiles(path)
	if err != nil {
		return nil, err
	}
	var order []string
	values := map[string][]string{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var doc yaml.Node
		if err := yaml.Unmarshal(b, &doc); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if len(doc.Content) == 0 {
			continue // an empty file
		}
		m := doc.Content[0]
		if m.Kind != yaml.MappingNode {
			return nil, fmt.Errorf("%s: the settings are no map", file)
		}
		for i := 0; i+1 < len(m.Content); i += 2 {
			key, more := strings.CutSuffix(m.Content[i].Value, "+")
			if _, seen := values[key]; !seen {
				order = append(order, key)
			}
			v := scalars(m.Content[i+1])
			if more {
				v = append(values[key], v...)
			}
			values[key] = v
		}
	}
	var out []setting
	for _, key := range order {
		out = append(out, setting{key, values[key]})
	}
	return out, nil
}

func configFiles(path string) ([]string, error) {
	var files []string
	if _, err := os.Stat(path); err == nil {
		files = append(files, path)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	entries, err := os.ReadDir(path + ".d") // sorted by name
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if ext := strings.ToLower(filepath.Ext(e.Name())); !e.IsDir() && (ext == ".yaml" || ext == ".yml") {
			files = append(files, filepath.Join(path+".d", e.Name()))
		}
	}
	return files, nil
}

// scalars are the values of a key: one, or those of a sequence.
func scalars(n *yaml.Node) []string {
	if n.Kind != yaml.SequenceNode {
		return []string{n.Value}
	}
	out := []string{}
	for _, c := range n.Content {
		out = append(out, c.Value)
	}
	return out
}
