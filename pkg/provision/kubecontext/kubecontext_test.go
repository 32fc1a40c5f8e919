package kubecontext

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const usersConfig = `apiVersion: v1
kind: Config
clusters: [{name: prod, cluster: {server: "https://prod.example"}}]
users: [{name: me, user: {token: t}}]
contexts: [{name: prod, context: {cluster: prod, user: me}}]
current-context: prod
`

func labConfig(server string) *clientcmdapi.Config {
	c := clientcmdapi.NewConfig()
	c.Clusters["kind-lab"] = &clientcmdapi.Cluster{Server: server}
	c.AuthInfos["kind-lab"] = &clientcmdapi.AuthInfo{Token: "lab"}
	c.Contexts["kind-lab"] = &clientcmdapi.Context{Cluster: "kind-lab", AuthInfo: "kind-lab"}
	return c
}

func load(t *testing.T, path string) *clientcmdapi.Config {
	t.Helper()
	c, err := clientcmd.LoadFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestKubeconfigComesAndGoes(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "real", "config")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(usersConfig), 0o640); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	k := At(link)
	for _, server := range []string{"https://127.0.0.1:1", "https://127.0.0.1:2"} { // run twice
		if err := k.Check(t.Context(), "kind-lab"); err != nil {
			t.Fatal(err)
		}
		if err := k.Add(t.Context(), "kind-lab", labConfig(server)); err != nil {
			t.Fatal(err)
		}
	}
	c := load(t, path)
	if c.CurrentContext != "kind-lab" || c.Clusters["kind-lab"].Server != "https://127.0.0.1:2" || c.Clusters["prod"] == nil {
		t.Errorf("%+v", c)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Error("the link is gone")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Error("the mode changed")
	}
	if err := k.Remove(t.Context(), "kind-lab"); err != nil {
		t.Fatal(err)
	}
	if c = load(t, path); c.CurrentContext != "prod" || len(c.Clusters) != 1 || len(c.AuthInfos) != 1 || len(c.Contexts) != 1 {
		t.Errorf("not as before: %+v", c)
	}
	left, err := filepath.Glob(filepath.Join(dir, "real", "*"))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestKubeconfigThatLabctlMadeGoes(t *testing.T) {
	k := At(filepath.Join(t.TempDir(), "deep", "config"))
	if err := k.Add(t.Context(), "kind-lab", labConfig("https://127.0.0.1:1")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(k.Path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	for range 2 { // the second finds nothing
		if err := k.Remove(t.Context(), "kind-lab"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(k.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
}

func TestKubeconfigEntriesOfTheUsersAreRefused(t *testing.T) {
	for what, entry := range map[string]string{
		"cluster": `clusters: [{name: kind-lab, cluster: {server: "https://mine"}}]`,
		"user":    `users: [{name: kind-lab, user: {token: mine}}]`,
		"context": `contexts: [{name: kind-lab, context: {cluster: x, user: me}}]`,
	} {
		path := filepath.Join(t.TempDir(), "config")
		before := "apiVersion: v1\nkind: Config\n" + entry + "\n"
		if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		k := At(path)
		for _, err := range []error{k.Check(t.Context(), "kind-lab"), k.Add(t.Context(), "kind-lab", labConfig("https://127.0.0.1:1"))} {
			if err == nil || !strings.Contains(err.Error(), what+" kind-lab") || !strings.Contains(err.Error(), "--kubeconfig") {
				t.Errorf("%s: %v", what, err)
			}
		}
		if err := k.Remove(t.Context(), "kind-lab"); err != nil {
			t.Error(err)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != before {
			t.Errorf("%s: the file changed: %s, %v", what, after, err)
		}
	}
}

func TestKubeconfigThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	broken := filepath.Join(dir, "broken")
	locked := filepath.Join(dir, "locked")
	for path, content := range map[string]string{file: "", broken: "clusters: [", locked + ".lock": ""} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string][2]string{
		"its folder is a file":          {filepath.Join(file, "config"), "not a directory"},
		"it is no kubeconfig":           {broken, "broken"},
		"somebody's lock was left over": {locked, locked + ".lock"},
		"it is a folder":                {dir, "is a directory"},
	} {
		err := At(c[0]).Check(t.Context(), "kind-lab")
		if err == nil || !strings.Contains(err.Error(), c[1]) || !strings.Contains(err.Error(), "--kubeconfig") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if os.Geteuid() == 0 {
		return // nothing is denied to root
	}
	denied := filepath.Join(dir, "denied")
	if err := os.Mkdir(denied, 0o500); err != nil {
		t.Fatal(err)
	}
	if err := At(filepath.Join(denied, "config")).Check(t.Context(), "kind-lab"); !errors.Is(err, os.ErrPermission) {
		t.Errorf("no rights: %v", err)
	}
}
