// Package judge asks a real API server what it says of each object of a
// document, and puts every answer at the line and column of the very field.
//
// Objects are judged in the order of the document, strictly. On a throw-away
// API server (Options.State) what is accepted is really created, because later
// objects may need it; on any other one nothing is created, and all requests
// are dry runs.
package judge

import (
	"context"
	"fmt"
	"sync"

	apischema "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/schema"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

// State is that of a throw-away API server, which each document finds anew.
type State interface {
	// Reset takes away what was created since the base state.
	Reset(ctx context.Context) error
}

// Options of a Judge.
type Options struct {
	// State says that the API server is a throw-away one: objects are really
	// created, and Reset is called after each document that created any. nil
	// is a server of the user's own: only dry runs.
	State State
	// Sources says where the CRDs of a group are from (group → module@version),
	// for messages; may be nil.
	Sources map[string]string
}

// Judge judges documents by an API server, one at a time.
type Judge struct {
	Options
	client    client
	catalogue *catalogue
	// schemas judge instead of the client, if there are any; shapes are those of
	// custom resources.
	schemas *schema.Schemas
	shapes  map[apischema.GroupVersionKind]shape

	mu sync.Mutex
	// dirty says that the server holds objects of a document.
	dirty bool
}

// New asks an API server what it serves. CRDs that are installed later, other
// than by documents, aren't seen.
func New(ctx context.Context, cfg *rest.Config, o Options) (*Judge, error) {
	c, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	known, err := discover(ctx, cfg, c)
	if err != nil {
		return nil, err
	}
	return &Judge{Options: o, client: c, catalogue: known}, nil
}

// Document judges all objects of a document; parsed[i] are the YAML documents
// of its i-th example. Findings are in the order in which the objects were
// judged. An error means that the server couldn't judge, never that a document
// is wrong.
func (j *Judge) Document(ctx context.Context, d docs.Document, parsed [][]yamldoc.Doc) (found []docs.Finding, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := newSession(j, d, parsed)
	if s.count == 0 {
		return s.findings, nil
	}
	if err := j.reset(ctx); err != nil {
		return nil, err
	}
	if err := s.run(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", d.Path, err)
	}
	return s.findings, j.reset(ctx)
}

// reset puts the server's state back if a document has changed it.
func (j *Judge) reset(ctx context.Context) error {
	if !j.dirty || j.State == nil {
		return nil
	}
	if err := j.State.Reset(ctx); err != nil {
		return fmt.Errorf("the API server's state can't be put back: %w", err)
	}
	j.dirty = false
	return nil
}
