package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/verify/apply"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// prefix begins the names of scenarios' namespaces.
const prefix = "labctl-s-"

// scenarioLabel marks the namespaces of scenarios, so that those that a killed
// run left are found.
const scenarioLabel = "labctl.dev/scenario"

const (
	// cleanLimit bounds the requests that clean up; they are made also after
	// ctx has ended.
	cleanLimit = 10 * time.Second
	// goneLimit bounds how long a scenario waits for its namespaces to be gone;
	// then the cluster goes on by itself.
	goneLimit = 60 * time.Second
)

// world is what the steps of one run share.
type world struct {
	env     probe.Environment
	params  Params
	config  *rest.Config
	applier *apply.Applier
	kube    kubernetes.Interface

	namespace string
	around    Names
	session   *apply.Session // nil until open

	step    step // that is being done
	left    evidence.Set
	watches []*watching
	undo    ledger
}

func newWorld(env probe.Environment, params Params) (*world, error) {
	w := &world{env: env, params: params, namespace: prefix + strings.ToLower(rand.Text()[:8])}
	w.around = surroundings(&env, w.namespace, params.Others)
	w.config = rest.CopyConfig(env.Cluster.RESTConfig())
	// A scenario asks more in a second than client-go's defaults allow.
	w.config.QPS, w.config.Burst = 50, 100
	w.config.WarningHandlerWithContext = rest.NoWarnings{}
	w.config.Wrap(func(next http.RoundTripper) http.RoundTripper { return noting{next} })
	var err error
	if w.applier, err = apply.New(w.config, env.Manifests); err != nil {
		return nil, err
	}
	if w.kube, err = kubernetes.NewForConfig(w.config); err != nil {
		return nil, fmt.Errorf("client of the cluster: %w", err)
	}
	return w, nil
}

// names are those that the step that is next may use.
func (w *world) names() Names { return values(w.left, w.around) }

// open removes what killed runs left, and makes the namespaces.
func (w *world) open(ctx context.Context) error {
	if err := w.sweep(ctx); err != nil {
		return err
	}
	labels := map[string]string{scenarioLabel: "true"}
	names := []string{w.namespace}
	for _, o := range w.params.Others {
		names = append(names, w.namespace+"-"+o)
	}
	var err error
	w.session, err = w.applier.Begin(ctx, names, labels, w.params.Namespace.Labels)
	return err
}

// in is the namespace that a step is in.
func (w *world) in(short string) string {
	switch {
	case short == "":
		return w.namespace
	case slices.Contains(w.params.Others, short):
		return w.namespace + "-" + short
	}
	return short
}

// ours says whether the namespace is the scenario's.
func (w *world) ours(namespace string) bool {
	return slices.Contains(w.session.Namespaces(), namespace)
}

// resource is the client of a target's objects. namespace is empty where
// they have none.
func (w *world) resource(ctx context.Context, t Target) (client dynamic.ResourceInterface, namespace string, err error) {
	mapping, err := w.applier.Find(ctx, t.APIVersion, t.Kind)
	if err != nil {
		return nil, "", fmt.Errorf("kind %s: %w", t.Kind, err)
	}
	all := w.applier.Objects().Resource(mapping.Resource)
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return all, "", nil
	}
	namespace = w.in(w.step.Namespace)
	return all.Namespace(namespace), namespace, nil
}

// clean ends the watches, puts back and removes what the steps made, also
// after ctx has ended, and sees to it that somebody waits until it is gone.
func (w *world) clean(ctx context.Context) error {
	interrupted := ctx.Err() != nil
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanLimit)
	defer cancel()
	for _, x := range w.watches {
		x.cancel()
	}
	err := w.putBack(limited)
	if w.session == nil {
		return err
	}
	if !interrupted {
		err = errors.Join(err, w.freeVolumes(limited))
	}
	err = errors.Join(err, w.session.Remove(limited))
	switch {
	case interrupted: // the cluster goes on by itself
	case w.env.Later != nil:
		w.env.Later(w.gone)
	default:
		_ = w.gone(ctx) // what is left after that goes later
	}
	return err
}

// gone waits until the namespaces are gone.
func (w *world) gone(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, goneLimit)
	defer cancel()
	if left, err := w.session.Gone(ctx); err != nil {
		return errors.New(left)
	}
	return nil
}

// answer is what the API server said beside an object: the HTTP status and
// the warnings of the last response.
type answer struct {
	code     int
	warnings []string
}

type answerKey struct{}

// noted returns a context whose requests note their answers.
func noted(ctx context.Context) (context.Context, *answer) {
	a := &answer{}
	return context.WithValue(ctx, answerKey{}, a), a
}

type noting struct{ next http.RoundTripper }

func (n noting) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := n.next.RoundTrip(r)
	if a, ok := r.Context().Value(answerKey{}).(*answer); ok && err == nil {
		a.code, a.warnings = response.StatusCode, nil
		headers, _ := utilnet.ParseWarningHeaders(response.Header.Values("Warning")) // what isn't one is passed over
		for _, h := range headers {
			a.warnings = append(a.warnings, h.Text)
		}
	}
	return response, err
}

// WrappedRoundTripper implements utilnet.RoundTripperWrapper.
func (n noting) WrappedRoundTripper() http.RoundTripper { return n.next }

// sleep waits, or returns why ctx ended.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
