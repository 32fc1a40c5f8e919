package nodeimage

import (
	"slices"
	"testing"

	"github.com/isolation-stack/labctl/pkg/provision/gomodule"
)

func TestAPIServers(t *testing.T) {
	module := func(name, version string) gomodule.File {
		return gomodule.File{Name: name + "/go.mod", Content: []byte("module m\ngo 1.26.0\nrequire k8s.io/kubernetes " + version + "\n")}
	}
	own := gomodule.Sources{Files: []gomodule.File{module("kubernetes", "v1.37.2")}}
	others := gomodule.Sources{Files: []gomodule.File{
		module("kubernetes-1.9", "v1.9.1"), module("kubernetes-1.30", "v1.30.14"), module("kwok", "v1.0.0"),
		{Name: "kubernetes-1.30/main.go"},
	}}
	list, err := apiServers(own, others)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range list {
		got = append(got, a.module+" "+a.Minor())
	}
	if want := []string{"kubernetes 1.37", "kubernetes-1.30 1.30", "kubernetes-1.9 1.9"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := apiServers(others, own); err == nil {
		t.Error("a payload without a Kubernetes is taken")
	}
}
