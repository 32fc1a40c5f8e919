package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/pkg/docs"
)

const scanned = "# Page\n\n```yaml\napiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  namespace: shop\n```\n\n" +
	"```bash\nls\n```\n\n```yaml\nservices:\n  web:\n    image: nginx:1.29\n```\n"

func scan(t *testing.T, args ...string) (out, status string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := newDocsScan(&global{streams: streams{nil, &stdout, &stderr}})
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	cmd.SetContext(t.Context())
	err = cmd.Execute()
	return stdout.String(), stderr.String(), err
}

func TestDocsScan(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "a\n\x1b[31mb"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"page.md", "a\n\x1b[31mb/page.md"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(scanned), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, status, err := scan(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 7 || strings.ContainsRune(out, '\x1b') {
		t.Errorf("the table is %q", out)
	}
	if got := strings.Fields(lines[4]); strings.Join(got[:4], " ") != "page.md:3 kubernetes - yaml" || strings.Join(got[5:], " ") != "Pod shop/web" {
		t.Errorf("the row of a Pod is %q", got)
	}
	if want := "6 examples in 2 documents: 2 kubernetes, 2 config, 2 code\n"; status != want {
		t.Errorf("stderr has %q, want %q", status, want)
	}

	out, _, err = scan(t, dir, "-o", "json", "--class", "config")
	if err != nil {
		t.Fatal(err)
	}
	var got docsScan
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Documents) != 2 || len(got.Documents[1].Examples) != 1 || got.Examples[docs.Config] != 2 {
		t.Fatalf("the JSON is %s", out)
	}
	if e := got.Documents[1].Examples[0]; e.Format != "compose" || e.Line != 15 || len(e.SHA256) != 64 {
		t.Errorf("the example is %+v", e)
	}

	for _, args := range [][]string{{filepath.Join(dir, "none")}, {dir, "--class", "poem"}, {dir, "-o", "xml"}, {dir, dir}} {
		if out, _, err := scan(t, args...); err == nil {
			t.Errorf("%q gives %s", args, out)
		}
	}
}

// TestDocsScanCorpus counts what is in a large tree.
func TestDocsScanCorpus(t *testing.T) {
	root := os.Getenv("LABCTL_DOCS")
	if root == "" {
		root = "../../../shared/corpus"
	}
	if _, err := os.Stat(root); err != nil {
		t.Skip("LABCTL_DOCS names no tree of documents:", err)
	}
	_, status, err := scan(t, root)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(status, "0 examples") {
		t.Error(status)
	}
	t.Log(status)
}
