//go:build e2e

package judge

import (
	"context"
	"os"
	"sync"
	"testing"

	"github.com/isolation-stack/labctl/pkg/docs/apiserver"
	"github.com/isolation-stack/labctl/pkg/docs/crds"
)

var server struct {
	sync.Once
	*apiserver.Server
	err error
}

// started gives a Judge by the API server that all tests of this package
// share, with the CRDs of some groups. LABCTL_KUBERNETES is the version of
// Kubernetes, the default one of apiserver if it isn't set.
func started(t *testing.T, groups ...string) *Judge {
	t.Helper()
	ctx := context.Background()
	server.Do(func() {
		server.Server, server.err = apiserver.Start(ctx, apiserver.Options{Version: os.Getenv("LABCTL_KUBERNETES")})
	})
	if server.err != nil {
		t.Fatal(server.err)
	}
	definitions, err := crds.ForGroups(groups)
	if err != nil {
		t.Fatal(err)
	}
	if err := crds.Install(ctx, server.Config(), definitions); err != nil {
		t.Fatal(err)
	}
	if err := server.Base(ctx); err != nil {
		t.Fatal(err)
	}
	j, err := New(ctx, server.Config(), Options{State: server.Server, Sources: crds.Groups()})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestMain(m *testing.M) {
	m.Run()
	if server.Server != nil {
		_ = server.Stop()
	}
}
