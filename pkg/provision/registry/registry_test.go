package registry

import (
	"net/http"
	"testing"
)

// Plain HTTP leaves this machine in no case.
func TestPlainHTTP(t *testing.T) {
	reached := ""
	c := careful{roundTrip(func(r *http.Request) { reached = r.URL.String() })}
	for url, allowed := range map[string]bool{
		"http://127.0.0.1:5000/v2/": true, "http://localhost/v2/": true, "http://[::1]:5000/v2/": true, "https://registry.example/v2/": true,
		"http://10.0.0.1:5000/v2/": false, "http://registry.local/v2/": false, "http://127.0.0.1.example/v2/": false,
	} {
		reached = ""
		r, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.RoundTrip(r) //nolint:bodyclose // there is no body
		if allowed != (err == nil) || allowed != (reached != "") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

type roundTrip func(*http.Request)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) {
	f(r)
	return &http.Response{Body: http.NoBody}, nil
}
