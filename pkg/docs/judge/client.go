package judge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// manager is the field manager of what labctl creates.
const manager = "labctl"

// patience is how long an API server's answer, or what follows from a
// creation (a CRD's resources, the caches of admission), is waited for.
const (
	answerTime = 30 * time.Second
	patience   = 10 * time.Second
)

// client sends objects as JSON and hears warnings.
type client struct{ rest rest.Interface }

func newClient(cfg *rest.Config) (client, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1 // one process asks, one answer after the other
	cfg.WarningHandler = nil
	cfg.WarningHandlerWithContext = listener{}
	cfg.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	cfg.Timeout = answerTime
	r, err := rest.UnversionedRESTClientFor(cfg)
	if err != nil {
		return client{}, fmt.Errorf("a client of the API server: %w", err)
	}
	return client{r}, nil
}

// warnings of one request are collected in its context.
type warningsKey struct{}

type listener struct{}

// HandleWarningHeaderWithContext keeps a warning for whoever sent the request.
func (listener) HandleWarningHeaderWithContext(ctx context.Context, _ int, _, text string) {
	if list, ok := ctx.Value(warningsKey{}).(*[]string); ok && !slices.Contains(*list, text) {
		*list = append(*list, text)
	}
}

func listening(ctx context.Context) (context.Context, *[]string) {
	var list []string
	return context.WithValue(ctx, warningsKey{}, &list), &list
}

// resource is where objects of a kind are.
type resource struct {
	gvk        schema.GroupVersionKind
	plural     string
	namespaced bool
	// made says that a CRD of the document defines it.
	made bool
}

func (r resource) path(namespace string) string {
	path := "/apis/" + r.gvk.Group + "/" + r.gvk.Version
	if r.gvk.Group == "" {
		path = "/api/" + r.gvk.Version
	}
	if r.namespaced {
		path += "/namespaces/" + url.PathEscape(namespace)
	}
	return path + "/" + r.plural
}

// create sends an object; strictly means that unknown fields are refused. The
// error is an API status if the server answered.
func (c client) create(ctx context.Context, r resource, namespace string, object any, strictly, dry bool) error {
	body, err := json.Marshal(object)
	if err != nil {
		return err
	}
	return c.send(ctx, c.rest.Post().AbsPath(r.path(namespace)), body, "application/json", strictly, dry)
}

// patch changes an object. Strictness doesn't matter: it was created strictly.
func (c client) patch(ctx context.Context, r resource, namespace, name string, kind types.PatchType, body []byte, dry bool) error {
	return c.send(ctx, c.rest.Patch(kind).AbsPath(r.path(namespace), name), body, string(kind), kind == types.ApplyYAMLPatchType, dry)
}

func (c client) send(ctx context.Context, request *rest.Request, body []byte, mediaType string, strictly, dry bool) error {
	validation := "Ignore"
	if strictly {
		validation = "Strict"
	}
	request = request.Param("fieldManager", manager).Param("fieldValidation", validation).
		SetHeader("Content-Type", mediaType).SetHeader("Accept", "application/json")
	if mediaType == string(types.ApplyYAMLPatchType) {
		request = request.Param("force", "true")
	}
	if dry {
		request = request.Param("dryRun", "All")
	}
	return answered(ctx, request.Body(body).Do(ctx).Error())
}

// get reads an object.
func (c client) get(ctx context.Context, r resource, namespace, name string) (map[string]any, error) {
	data, err := c.rest.Get().AbsPath(r.path(namespace), name).SetHeader("Accept", "application/json").DoRaw(ctx)
	if err := answered(ctx, err); err != nil {
		return nil, err
	}
	var object map[string]any
	return object, json.Unmarshal(data, &object)
}

// remove deletes an object at once.
func (c client) remove(ctx context.Context, r resource, namespace, name string) error {
	return answered(ctx, c.rest.Delete().AbsPath(r.path(namespace), name).Param("gracePeriodSeconds", "0").Do(ctx).Error())
}

// broken is an error that isn't an API server's judgement of an object.
type broken struct{ error }

func (b broken) Unwrap() error { return b.error }

// silent are answers of an API server that is ending or overloaded.
var silent = regexp.MustCompile(`(?i)etcdserver|storage is \(re\)initializing|apiserver is shutting down|connection refused`)

// answered tells an API server's judgement from no judgement.
func answered(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return broken{context.Cause(ctx)}
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return broken{fmt.Errorf("the API server doesn't answer: %w", err)}
	}
	s := status.Status()
	switch {
	case s.Code == http.StatusUnauthorized, s.Code == http.StatusTooManyRequests, s.Code == http.StatusServiceUnavailable,
		s.Code == http.StatusGatewayTimeout, s.Code >= 500 && silent.MatchString(s.Message):
		return broken{fmt.Errorf("the API server doesn't judge: %w", err)}
	}
	return err
}

func isBroken(err error) bool {
	var b broken
	return errors.As(err, &b)
}
