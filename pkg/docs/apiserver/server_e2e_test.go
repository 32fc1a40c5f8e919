//go:build e2e

package apiserver

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
)

// begin starts a server for a test, from the pinned programs.
func begin(t *testing.T, o Options) *Server {
	t.Helper()
	t.Setenv(AssetsVariable, "")
	before := time.Now()
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	t.Logf("%s was ready after %s", s.Version(), time.Since(before).Round(time.Millisecond))
	return s
}

// user is a client as a caller of the package has it.
type user struct {
	t *testing.T
	api
}

func newUser(t *testing.T, s *Server) user { return user{t: t, api: s.state.epoch.api} }

// try gives the answer's code and the object of the answer.
func (u user) try(method, path, body string) (int, map[string]any) {
	u.t.Helper()
	kind := "application/json"
	if method == http.MethodPatch {
		kind = "application/merge-patch+json"
	}
	b, _, err := u.do(u.t.Context(), method, path, kind, body)
	var status *statusError
	if errors.As(err, &status) {
		return status.code, map[string]any{"message": status.Error()}
	}
	if err != nil {
		u.t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(b, &out); err != nil {
		u.t.Fatal(err)
	}
	return http.StatusOK, out
}

// must is try that has to succeed.
func (u user) must(method, path, body string) map[string]any {
	u.t.Helper()
	code, out := u.try(method, path, body)
	if code != http.StatusOK {
		u.t.Fatalf("%s %s: %v", method, path, out["message"])
	}
	return out
}

// fails is try that has to fail with a code and with words.
func (u user) fails(method, path, body string, want int, words string) {
	u.t.Helper()
	code, out := u.try(method, path, body)
	if code != want || !strings.Contains(fmt.Sprint(out["message"]), words) {
		u.t.Fatalf("%s %s: %d %v; want %d with %q", method, path, code, out["message"], want, words)
	}
}

func does(t *testing.T, f func(context.Context) error) {
	t.Helper()
	if err := f(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// pinned are the versions that there are.
func pinned(t *testing.T) []string {
	t.Helper()
	versions, err := Versions()
	if err != nil {
		t.Fatal(err)
	}
	if len(versions) < 2 {
		t.Fatalf("%v: want two minor versions", versions)
	}
	return versions
}

func TestVersions(t *testing.T) {
	for _, v := range pinned(t) {
		t.Run(v, func(t *testing.T) {
			s := begin(t, Options{Version: v})
			if s.Minor() != v {
				t.Errorf("%s, want %s", s.Version(), v)
			}
			u := newUser(t, s)
			does(t, s.Base)
			does(t, func(ctx context.Context) error { return s.Namespace(ctx, "demo") })
			u.fails(http.MethodPost, "/api/v1/namespaces/demo/pods?dryRun=All&fieldValidation=Strict",
				`{"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "a", "imagePolicy": "Always"}]}}`,
				http.StatusBadRequest, `unknown field "spec.containers[0].imagePolicy"`)
			u.must(http.MethodPost, "/api/v1/namespaces/demo/pods?dryRun=All&fieldValidation=Strict",
				`{"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "a", "imagePullPolicy": "Always"}]}}`)
			does(t, s.Reset)
			u.fails(http.MethodGet, "/api/v1/namespaces/demo", "", http.StatusNotFound, "not found")
		})
	}
}

const (
	crds    = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	widgets = "/apis/example.org/v1/namespaces/demo/widgets"
)

// widgetCRD has a schema with one field.
func widgetCRD(field string) string {
	return `{"metadata": {"name": "widgets.example.org"}, "spec": {"group": "example.org", "scope": "Namespaced",
		"names": {"plural": "widgets", "kind": "Widget"}, "versions": [{"name": "v1", "served": true, "storage": true,
		"schema": {"openAPIV3Schema": {"type": "object", "properties": {"` + field + `": {"type": "string"}}}}}]}}`
}

// TestReset: what one document makes the next one doesn't see, again and
// again, and at once.
func TestReset(t *testing.T) {
	for _, v := range pinned(t) {
		t.Run(v, func(t *testing.T) { testReset(t, begin(t, Options{Version: v})) })
	}
}

func testReset(t *testing.T, s *Server) {
	u := newUser(t, s)
	does(t, s.Base)
	var settle, reset []time.Duration
	lap := func(to *[]time.Duration, f func(context.Context) error) {
		before := time.Now()
		does(t, f)
		*to = append(*to, time.Since(before))
	}
	for i := range 10 {
		// A field of its own each time: a handler of an earlier CRD would drop it.
		field := "field" + strconv.Itoa(i)
		does(t, func(ctx context.Context) error { return s.Namespace(ctx, "demo") })
		u.must(http.MethodPost, crds, widgetCRD(field))
		u.must(http.MethodPost, "/apis/node.k8s.io/v1/runtimeclasses", `{"metadata": {"name": "sandbox"}, "handler": "sandbox", "overhead": {"podFixed": {"cpu": "`+strconv.Itoa(i+1)+`"}}}`)
		u.must(http.MethodPost, "/api/v1/namespaces/demo/limitranges", `{"metadata": {"name": "limits"}, "spec": {"limits": [{"type": "Container", "max": {"memory": "`+strconv.Itoa(i+1)+`Gi"}}]}}`)
		u.must(http.MethodPost, "/api/v1/namespaces/demo/resourcequotas", `{"metadata": {"name": "quota"}, "spec": {"hard": {"configmaps": "0"}}}`)
		u.must(http.MethodPost, "/apis/scheduling.k8s.io/v1/priorityclasses", `{"metadata": {"name": "high"}, "value": `+strconv.Itoa(i+1)+`}`)
		u.must(http.MethodPost, "/api/v1/namespaces/demo/services", `{"metadata": {"name": "web"}, "spec": {"type": "NodePort", "clusterIP": "10.96.0.77",
			"ports": [{"port": 80, "nodePort": 30080}]}}`)
		lap(&settle, s.Settle)
		// At once in force:
		u.must(http.MethodPost, widgets+"?fieldValidation=Strict", `{"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w"}, "`+field+`": "x"}`)
		u.fails(http.MethodPost, "/api/v1/namespaces/demo/configmaps?dryRun=All", `{"metadata": {"name": "a"}}`, http.StatusForbidden, "exceeded quota")
		u.fails(http.MethodPost, "/api/v1/namespaces/demo/pods?dryRun=All", pod("", strconv.Itoa(i+2)+"Gi"), http.StatusForbidden, "maximum memory usage per Container is "+strconv.Itoa(i+1)+"Gi")
		p := u.must(http.MethodPost, "/api/v1/namespaces/demo/pods?dryRun=All", pod(`"runtimeClassName": "sandbox", "priorityClassName": "high", `, strconv.Itoa(i+1)+"Gi"))
		if got := p["spec"].(map[string]any)["overhead"].(map[string]any)["cpu"]; got != strconv.Itoa(i+1) {
			t.Errorf("overhead %v of the RuntimeClass of round %d", got, i)
		}
		if got := p["spec"].(map[string]any)["priority"]; got != float64(i+1) {
			t.Errorf("priority %v of the PriorityClass of round %d", got, i)
		}
		lap(&reset, s.Reset)
		// At once gone:
		u.fails(http.MethodGet, widgets, "", http.StatusNotFound, "")
		u.fails(http.MethodGet, crds+"/widgets.example.org", "", http.StatusNotFound, "")
		u.fails(http.MethodPost, "/api/v1/namespaces/demo/configmaps?dryRun=All", `{"metadata": {"name": "a"}}`, http.StatusNotFound, `namespaces "demo" not found`)
		u.fails(http.MethodPost, "/api/v1/namespaces/default/pods?dryRun=All", pod(`"runtimeClassName": "sandbox", `, "1Gi"), http.StatusForbidden, `RuntimeClass "sandbox" not found`)
		u.fails(http.MethodPost, "/api/v1/namespaces/default/pods?dryRun=All", pod(`"priorityClassName": "high", `, "1Gi"), http.StatusForbidden, "no PriorityClass with name high")
		does(t, func(ctx context.Context) error { return s.Namespace(ctx, "demo") })
		u.must(http.MethodPost, "/api/v1/namespaces/demo/configmaps?dryRun=All", `{"metadata": {"name": "a"}}`)
		u.must(http.MethodPost, "/api/v1/namespaces/demo/pods?dryRun=All", pod("", "100Gi"))
		does(t, s.Reset)
		if left := u.must(http.MethodGet, "/apis", ""); strings.Contains(fmt.Sprint(left), "example.org") {
			t.Error("discovery has example.org")
		}
	}
	slices.Sort(settle)
	slices.Sort(reset)
	t.Logf("median of %d: settle %s, reset %s", len(reset), settle[len(settle)/2], reset[len(reset)/2])
}

// pod is one with more fields and a limit.
func pod(fields, memory string) string {
	return `{"metadata": {"name": "a"}, "spec": {` + fields + `"containers": [{"name": "a", "image": "a", "resources": {"limits": {"memory": "` + memory + `"}}}]}}`
}

// TestResetRestores: what belongs to the base state is put back.
func TestResetRestores(t *testing.T) {
	for _, v := range pinned(t) {
		t.Run(v, func(t *testing.T) { testResetRestores(t, begin(t, Options{Version: v})) })
	}
}

func testResetRestores(t *testing.T, s *Server) {
	u := newUser(t, s)
	does(t, s.Base)
	does(t, func(ctx context.Context) error { return s.Namespace(ctx, "demo") })
	u.must(http.MethodPost, crds, widgetCRD("colour"))
	does(t, s.Settle)
	u.must(http.MethodPost, widgets, `{"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w"}, "colour": "red"}`)
	u.must(http.MethodPost, "/api/v1/namespaces/demo/configmaps", `{"metadata": {"name": "a"}, "data": {"k": "base"}}`)
	does(t, s.Base) // the new base state
	for i := range 5 {
		u.must(http.MethodPatch, "/api/v1/namespaces/demo/configmaps/a", `{"data": {"k": "changed"}}`)
		u.must(http.MethodDelete, widgets+"/w", "")
		// The CRD in its turn: changed, gone, gone and created anew.
		switch i % 3 {
		case 0:
			u.must(http.MethodPatch, crds+"/widgets.example.org", widgetCRD("size"))
		case 1, 2:
			u.must(http.MethodDelete, crds+"/widgets.example.org", "")
		}
		if i%3 == 2 {
			does(t, s.Settle)
			for {
				if code, _ := u.try(http.MethodPost, crds, widgetCRD("size")); code == http.StatusOK {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
		does(t, s.Settle)
		if i%3 != 1 {
			u.must(http.MethodPost, widgets+"?fieldValidation=Strict&dryRun=All", `{"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "x"}, "size": "5"}`)
		}
		does(t, s.Reset)
		if got := u.must(http.MethodGet, "/api/v1/namespaces/demo/configmaps/a", "")["data"].(map[string]any)["k"]; got != "base" {
			t.Errorf("%v", got)
		}
		if got := u.must(http.MethodGet, widgets+"/w", "")["colour"]; got != "red" {
			t.Errorf("round %d: a widget whose colour is %v", i, got)
		}
		u.fails(http.MethodPost, widgets+"?fieldValidation=Strict&dryRun=All", `{"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "x"}, "size": "5"}`, http.StatusBadRequest, `unknown field "size"`)
		if list := u.must(http.MethodGet, widgets, "")["items"].([]any); len(list) != 1 {
			t.Errorf("%d widgets", len(list))
		}
	}
}

// TestInstall: a definition that labctl installs is as one of the API.
func TestInstall(t *testing.T) {
	for _, v := range pinned(t) {
		t.Run(v, func(t *testing.T) {
			s := begin(t, Options{Version: v})
			u := newUser(t, s)
			var definition map[string]any
			if err := json.Unmarshal([]byte(`{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", `+widgetCRD("colour")[1:]), &definition); err != nil {
				t.Fatal(err)
			}
			definitions := []*unstructured.Unstructured{{Object: definition}}
			does(t, func(ctx context.Context) error { return s.Install(ctx, definitions) })
			does(t, s.Base)
			before := time.Now()
			for range 2 {
				does(t, func(ctx context.Context) error { return s.Namespace(ctx, "demo") })
				u.must(http.MethodPost, widgets+"?fieldValidation=Strict", `{"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w"}, "colour": "red"}`)
				u.fails(http.MethodPost, widgets+"?fieldValidation=Strict", `{"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "x"}, "size": "1"}`, http.StatusBadRequest, `unknown field "size"`)
				u.fails(http.MethodPost, widgets, `{"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "x"}, "colour": 1}`, http.StatusUnprocessableEntity, "must be of type string")
				does(t, s.Reset)
				u.fails(http.MethodGet, "/api/v1/namespaces/demo", "", http.StatusNotFound, "")
			}
			// The API server itself makes nothing else of it, and lets it change.
			names := u.must(http.MethodGet, crds+"/widgets.example.org", "")["status"].(map[string]any)["acceptedNames"]
			if got := fmt.Sprint(names); got != "map[kind:Widget listKind:WidgetList plural:widgets singular:widget]" {
				t.Error(got)
			}
			u.must(http.MethodPatch, crds+"/widgets.example.org", widgetCRD("size"))
			does(t, s.Settle)
			does(t, func(ctx context.Context) error { return s.Namespace(ctx, "demo") })
			u.must(http.MethodPost, widgets+"?fieldValidation=Strict", `{"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w"}, "size": "1"}`)
			does(t, s.Reset)
			t.Logf("took %s", time.Since(before))
		})
	}
}

// TestTwoAtOnce: servers of one machine know nothing of each other.
func TestTwoAtOnce(t *testing.T) {
	t.Setenv(AssetsVariable, "")
	var wg sync.WaitGroup
	servers, errs := make([]*Server, 2), make([]error, 2)
	for i := range servers {
		wg.Go(func() { servers[i], errs[i] = Start(t.Context(), Options{}) })
	}
	wg.Wait()
	for i, s := range servers {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		t.Cleanup(func() { _ = s.Stop() })
		does(t, s.Base)
	}
	does(t, func(ctx context.Context) error { return servers[0].Namespace(ctx, "demo") })
	newUser(t, servers[1]).fails(http.MethodGet, "/api/v1/namespaces/demo", "", http.StatusNotFound, "")
	// No other program can listen on a server's port.
	host, err := url.Parse(servers[0].Config().Host)
	if err != nil {
		t.Fatal(err)
	}
	if l, err := net.Listen("tcp", host.Host); err == nil {
		_ = l.Close()
		t.Errorf("%s can be listened on", host.Host)
	}
	if strings.Split(host.Host, ":")[0] != "127.0.0.1" {
		t.Errorf("%s isn't loopback", host.Host)
	}
	// And nobody gets in without a certificate.
	c := servers[0].Config()
	c.CertData, c.KeyData = nil, nil
	client, err := rest.HTTPClientFor(c)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = api{client: client, host: c.Host}.do(t.Context(), http.MethodGet, "/api/v1/namespaces", "", "")
	if !hasCode(err, http.StatusForbidden) && !hasCode(err, http.StatusUnauthorized) {
		t.Errorf("without a certificate: %v", err)
	}
	// The end of one is not that of the other.
	if err := servers[0].Stop(); err != nil {
		t.Error(err)
	}
	newUser(t, servers[1]).must(http.MethodGet, "/version", "")
}

// TestInterrupted: a start that is ended leaves nothing.
func TestInterrupted(t *testing.T) {
	t.Setenv(AssetsVariable, "")
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := Start(ctx, Options{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%v", err)
	}
	if left := folders(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestKilled: of a labctl that is killed no process stays, and no folder after
// the next start.
func TestKilled(t *testing.T) {
	if os.Getenv("LABCTL_TEST_VICTIM") != "" {
		s, err := Start(context.Background(), Options{})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("ready", s.api.pid, s.etcd.pid)
		select {}
	}
	t.Setenv(AssetsVariable, "")
	t.Setenv("TMPDIR", t.TempDir())
	victim := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	victim.Env = append(os.Environ(), "LABCTL_TEST_VICTIM=1")
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	fields := strings.Fields(line)
	if err != nil || len(fields) != 3 || fields[0] != "ready" {
		_ = victim.Process.Kill()
		t.Fatalf("%q %v", line, err)
	}
	if n := len(folders(t)); n != 1 {
		t.Errorf("%d folders", n)
	}
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = victim.Wait() // killed
	for _, f := range fields[1:] {
		pid, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); alive(pid); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("process %d lives on", pid)
			}
		}
	}
	s, err := Start(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(folders(t)); n != 1 {
		t.Errorf("%d folders beside the new server's", n-1)
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if left := folders(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestEnded: an API server that ends by itself is named.
func TestEnded(t *testing.T) {
	s := begin(t, Options{})
	if err := syscall.Kill(s.api.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-s.api.ended
	err := s.Namespace(t.Context(), "demo")
	if err == nil || !strings.Contains(err.Error(), "kube-apiserver ended (signal: killed)") {
		t.Errorf("%v", err)
	}
}

// alive says that the process runs; one that has ended and that nobody has
// waited for doesn't.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}

func folders(t *testing.T) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}
