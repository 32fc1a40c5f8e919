// Package apiserver runs a throw-away kube-apiserver with its etcd as ordinary
// processes on loopback, without root and without a container engine, to judge
// documents by. No controller runs beside it.
package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
)

// Options say which API server to start. The zero value is the default of each.
type Options struct {
	// Version is a minor version of Versions, "1.30"; "" is the first.
	Version string
	// Cache is labctl's cache; the zero value means artifact.Default.
	Cache artifact.Cache
	// Log hears of a build, if there is one; nil is progress.Discard.
	Log progress.Log
}

// Server is a kube-apiserver with its etcd.
type Server struct {
	dir     string
	remove  func() error
	release func() // of the port
	etcd    *child
	api     *child
	config  *rest.Config
	version string
	state   state
}

// patience is how long the API server may take to get ready: a few seconds on
// two cores, many more on a machine that does something else.
const patience = 2 * time.Minute

// Start starts an API server and returns when it is ready. It runs until Stop,
// or until this process ends, however that happens; the end of ctx ends the
// start only.
func Start(ctx context.Context, o Options) (s *Server, err error) {
	if o.Log == nil {
		o.Log = progress.Discard
	}
	p, err := find(ctx, o)
	if err != nil {
		return nil, err
	}
	step := o.Log.Start("Starting an API server")
	defer func() { step.End(err) }()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()

	s = &Server{release: func() {}}
	if s.dir, s.remove, err = newFolder(os.TempDir()); err != nil {
		return nil, err
	}
	if err := s.start(ctx, p); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, p programs) error {
	tls, err := certificates(s.dir)
	if err != nil {
		return err
	}
	socket, err := s.startEtcd(ctx, p.etcd)
	if err != nil {
		return err
	}
	port, release, err := reservePort()
	if err != nil {
		return err
	}
	s.release = release
	s.config = &rest.Config{
		Host:            "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		TLSClientConfig: tls,
		UserAgent:       "labctl",
		// One client that waits for each answer: nothing to hold back.
		QPS: -1,
	}
	if s.api, err = start(s.dir, "kube-apiserver", p.apiserver, apiArguments(socket, port)...); err != nil {
		return err
	}
	if err := s.ready(ctx); err != nil {
		return s.api.failure(fmt.Errorf("the API server didn't get ready: %w", err))
	}
	client, err := discovery.NewDiscoveryClientForConfig(s.config)
	if err != nil {
		return err
	}
	v, err := client.ServerVersion()
	if err != nil {
		return s.api.failure(fmt.Errorf("the API server doesn't say its version: %w", err))
	}
	s.version = v.GitVersion
	if s.state.store, err = open(socket); err != nil {
		return err
	}
	http, err := rest.HTTPClientFor(s.config)
	if err != nil {
		return err
	}
	a := api{client: http, host: s.config.Host}
	if err := a.accounts(ctx); err != nil {
		return s.api.failure(fmt.Errorf("the API server's namespaces: %w", err))
	}
	if s.state.epoch, err = newEpoch(ctx, a); err != nil {
		return err
	}
	return s.state.begin(ctx)
}

// startEtcd returns when etcd's socket is there. It is a socket in a folder
// that no other user can enter, and so needs no certificates.
func (s *Server) startEtcd(ctx context.Context, path string) (socket string, err error) {
	socket = filepath.Join(s.dir, "etcd.sock")
	// The kernel's limit for the name of a socket (unix(7)).
	if len(socket) > 107 {
		return "", fmt.Errorf("%s is too long for the name of a socket; set TMPDIR to a shorter path", socket)
	}
	url, peer := "unix://"+socket, "unix://"+filepath.Join(s.dir, "peer.sock")
	s.etcd, err = start(s.dir, "etcd", path,
		"--name=labctl", "--data-dir="+filepath.Join(s.dir, "data"),
		"--listen-client-urls="+url, "--advertise-client-urls="+url,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=labctl="+peer,
		// Nothing has to outlive a power cut.
		"--unsafe-no-fsync",
		// A reset is one transaction over all that a document has made.
		"--max-txn-ops="+strconv.Itoa(maxOps), "--max-request-bytes="+strconv.Itoa(maxRequest),
		"--log-level=warn",
	)
	if err != nil {
		return "", err
	}
	err = poll(ctx, s.etcd, func() bool {
		_, err := os.Stat(socket)
		return err == nil
	})
	if err != nil {
		return "", s.etcd.failure(fmt.Errorf("etcd didn't get ready: %w", err))
	}
	return socket, nil
}

const (
	// maxOps is the largest number of keys in a transaction.
	maxOps = 100_000
	// maxRequest is the largest transaction in bytes.
	maxRequest = 64 << 20
)

// apiArguments are kube-apiserver's: admission, feature gates and API groups
// are its defaults.
func apiArguments(etcd string, port int) []string {
	return []string{
		"--etcd-servers=unix://" + etcd,
		// The base state is read at its revision, however old.
		"--etcd-compaction-interval=0",
		"--bind-address=127.0.0.1", "--secure-port=" + strconv.Itoa(port), "--permit-port-sharing",
		"--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
		"--tls-cert-file=" + certFile, "--tls-private-key-file=" + keyFile, "--client-ca-file=" + caFile,
		"--service-account-key-file=" + accountFile, "--service-account-signing-key-file=" + accountFile,
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-cluster-ip-range=10.96.0.0/16",
		// As kubeadm has it; privileged Pods are a matter of Pod security.
		"--authorization-mode=Node,RBAC", "--allow-privileged",
		"--enable-admission-plugins=NodeRestriction",
		"--profiling=false", "--enable-priority-and-fairness=false",
	}
}

// ready waits until /readyz says ok.
func (s *Server) ready(ctx context.Context) error {
	client, err := rest.HTTPClientFor(s.config)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	last := "it doesn't answer"
	err = poll(ctx, s.api, func() bool {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.config.Host+"/readyz", nil)
		if err != nil {
			return false
		}
		r, err := client.Do(req)
		if err != nil {
			return false
		}
		_ = r.Body.Close() // the code says all
		last = "/readyz says " + r.Status
		return r.StatusCode == http.StatusOK
	})
	if err != nil {
		return fmt.Errorf("%w (%s)", err, last)
	}
	return nil
}

// poll asks again and again until done, until the program ends, or until ctx
// does.
func poll(ctx context.Context, c *child, done func() bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-c.ended:
			return errors.New("it ended")
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// Config is that of a client of the group system:masters.
func (s *Server) Config() *rest.Config { return rest.CopyConfig(s.config) }

// Version is what the API server says of itself, "v1.37.2".
func (s *Server) Version() string { return s.version }

// Minor is the minor version, "1.37".
func (s *Server) Minor() string {
	parts := strings.SplitN(strings.TrimPrefix(s.version, "v"), ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}

// Stop ends the server and removes all that it has. It may be called twice.
func (s *Server) Stop() error {
	if s.state.store != nil {
		_ = s.state.close() // all that it has is thrown away
	}
	for _, c := range []*child{s.api, s.etcd} {
		if c != nil {
			c.stop()
		}
	}
	s.release()
	s.release = func() {}
	return s.remove()
}
