package kubecontext

import (
	"reflect"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// TestFromREST wants a client of the kubeconfig to be what it was made from.
func TestFromREST(t *testing.T) {
	for name, want := range map[string]*rest.Config{
		"certificates": {Host: "https://127.0.0.1:6443", TLSClientConfig: rest.TLSClientConfig{CAData: []byte("ca"), CertData: []byte("cert"), KeyData: []byte("key")}},
		"a token":      {Host: "https://10.0.0.1", BearerToken: "t", TLSClientConfig: rest.TLSClientConfig{Insecure: true, ServerName: "k8s"}},
		"another user": {Host: "https://10.0.0.1", Username: "u", Password: "p", Impersonate: rest.ImpersonationConfig{UserName: "v", Groups: []string{"g"}, Extra: map[string][]string{"a": {"b"}}}},
	} {
		config := FromREST(want, "kind-x", "lab")
		got, err := clientcmd.NewDefaultClientConfig(*config, nil).ClientConfig()
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got\n%#v\nwant\n%#v", name, got, want)
		}
		if c := config.Contexts["kind-x"]; config.CurrentContext != "kind-x" || c.Namespace != "lab" {
			t.Errorf("%s: context %+v", name, c)
		}
	}
}
