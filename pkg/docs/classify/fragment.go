package classify

import (
	"encoding/json"
	"reflect"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
	"k8s.io/client-go/kubernetes/scheme"
)

// partOfObject says whether a value is a part of a Kubernetes object: its
// keys are fields of one type of the API with values of their kinds, or it is
// an object's metadata or spec.
func partOfObject(n *yaml.Node) bool {
	if isList(n) && len(n.Content) > 0 {
		first := target(n.Content[0])
		for _, t := range typesWith(first) {
			if b := budget(maxCompared); b.fits(n, reflect.SliceOf(t)) {
				return true
			}
		}
		return false
	}
	if !isMapping(n) {
		return false
	}
	top := true
	for _, key := range keys(n) {
		top = top && (key == "metadata" || key == "spec" || key == "status" || key == "kind" || key == "apiVersion" || key == "template")
	}
	if top && (isMapping(field(n, "metadata")) || isMapping(field(n, "spec")) || isMapping(field(n, "status"))) {
		return true
	}
	for _, t := range typesWith(n) {
		if b := budget(maxCompared); b.fits(n, t) {
			return true
		}
	}
	return false
}

// maxCompared is how many values of a document are compared with the fields
// of one type.
const maxCompared = 2000

type budget int

// fits says whether a value could be read as a type of the API, strictly.
func (b *budget) fits(n *yaml.Node, t reflect.Type) bool {
	if *b--; *b < 0 {
		return false
	}
	n = target(n)
	if n.Kind == yaml.AliasNode || isNull(n) {
		return true
	}
	if reflect.PointerTo(t).Implements(unmarshaler) { // quantities, times, ports
		return true
	}
	switch t.Kind() {
	case reflect.Pointer:
		return b.fits(n, t.Elem())
	case reflect.Struct:
		names := fieldsOf(t)
		for i, key := range keys(n) {
			field, ok := names[key]
			if !ok || !b.fits(n.Content[2*i+1], field) {
				return false
			}
		}
		return isMapping(n)
	case reflect.Map:
		for _, v := range values(n) {
			if !b.fits(v, t.Elem()) {
				return false
			}
		}
		return isMapping(n)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return isScalar(n)
		}
		for _, v := range values(n) {
			if !b.fits(v, t.Elem()) {
				return false
			}
		}
		return isList(n)
	case reflect.Bool:
		return isBool(n)
	case reflect.String:
		return isScalar(n)
	}
	return isNumber(n)
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// typesWith are the types of the API that have all the keys of a mapping.
func typesWith(n *yaml.Node) []reflect.Type {
	all := keys(n)
	if len(all) == 0 || len(all) > 50 {
		return nil
	}
	var found []reflect.Type
	for _, t := range apiTypes()[all[0]] {
		names, ok := fieldsOf(t), true
		for _, key := range all {
			_, has := names[key]
			ok = ok && has
		}
		if ok {
			found = append(found, t)
		}
	}
	return found
}

// apiTypes are the types of the built-in API by the names of their fields.
var apiTypes = sync.OnceValue(func() map[string][]reflect.Type {
	index := map[string][]reflect.Type{}
	seen := map[reflect.Type]bool{}
	var add func(reflect.Type)
	add = func(t reflect.Type) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			add(t.Elem())
		case reflect.Struct:
			if seen[t] {
				return
			}
			seen[t] = true
			for name, f := range fieldsOf(t) {
				index[name] = append(index[name], t)
				add(f)
			}
		}
	}
	for gvk, t := range scheme.Scheme.AllKnownTypes() {
		if gvk.Version == "v1" || gvk.Version == "v2" {
			add(t)
		}
	}
	return index
})

var typeFields sync.Map // reflect.Type → map[string]reflect.Type

// fieldsOf are the fields of a struct by their names in JSON.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	if known, ok := typeFields.Load(t); ok {
		return known.(map[string]reflect.Type)
	}
	names := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case name == "" && (f.Anonymous || strings.Contains(options, "inline")):
			embedded := f.Type
			if embedded.Kind() == reflect.Pointer {
				embedded = embedded.Elem()
			}
			if embedded.Kind() == reflect.Struct {
				for inner, typ := range fieldsOf(embedded) {
					names[inner] = typ
				}
			}
		case name != "":
			names[name] = f.Type
		}
	}
	typeFields.Store(t, names)
	return names
}
