package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// serve starts everything in K3s's order: database and API, beside it
// containerd with its images; ready; then what needs the API.
func (s *supervisor) serve(ctx context.Context) error {
	if err := s.defaults(); err != nil {
		return err
	}
	if err := errors.Join(s.certificates(), s.kubeconfigs(), s.writeToken()); err != nil {
		return fmt.Errorf("starting kubernetes: %w", err)
	}
	if err := s.startAPI(ctx); err != nil {
		return fmt.Errorf("starting kubernetes: %w", err)
	}
	if err := s.startContainerd(ctx); err != nil {
		return err
	}
	if err := s.await(ctx, "kube-apiserver", s.apiReady); err != nil {
		return err
	}
	logf("info", "Kube API server is now running")
	if err := s.startControllers(); err != nil {
		return err
	}
	manifests := s.deploy(ctx)
	logf("info", "k3s is up and running")
	if err := notify("READY=1\n"); err != nil {
		return err
	}
	if err := s.startNode(ctx); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-s.ended:
			return c.failure()
		case err := <-manifests:
			return err
		}
	}
}

// defaults fills in what depends on the machine.
func (s *supervisor) defaults() error {
	if s.nodeName == "" {
		name, err := os.Hostname()
		if err != nil {
			return err
		}
		s.nodeName = strings.ToLower(name)
	}
	if s.nodeIP == "" {
		// No packet is sent: this asks the routing table.
		conn, err := net.Dial("udp", "192.0.2.1:9")
		if err != nil {
			return fmt.Errorf("no default routes found: %w", err)
		}
		s.nodeIP = conn.LocalAddr().(*net.UDPAddr).IP.String()
		_ = conn.Close() // nothing was sent
	}
	if s.advertise == "" {
		s.advertise = s.nodeIP
	}
	if s.localStorage == "" {
		s.localStorage = s.path("storage")
	}
	return nil
}

func (s *supervisor) startAPI(ctx context.Context) error {
	address := net.JoinHostPort(s.bindAddress, strconv.Itoa(s.port))
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("preparing server: %w", err)
	}
	if err := l.Close(); err != nil {
		return err
	}
	if err := os.MkdirAll(s.path("server/db"), 0o700); err != nil {
		return err
	}
	socket := s.path("server/kine.sock")
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := s.start(nil, "kine", "--listen-address=unix://"+socket, "--metrics-bind-address=0",
		"--endpoint=sqlite://"+s.path("server/db/state.db")+"?_journal=WAL&cache=shared&_busy_timeout=30000&_txlock=immediate"); err != nil {
		return err
	}
	if err := s.await(ctx, "kine", func(ctx context.Context) error { return dial(ctx, socket) }); err != nil {
		return err
	}
	tls := s.path("server/tls")
	return s.start(nil, extend(s.apiArgs, "kube-apiserver",
		"--advertise-address="+s.advertise,
		"--allow-privileged=true",
		"--anonymous-auth=false",
		"--api-audiences=https://kubernetes.default.svc."+s.domain+",k3s",
		"--authorization-mode=Node,RBAC",
		"--bind-address="+s.bindAddress,
		"--cert-dir="+tls+"/temporary-certs",
		"--client-ca-file="+tls+"/client-ca.crt",
		"--enable-admission-plugins=NodeRestriction",
		"--enable-aggregator-routing=true",
		"--etcd-servers=unix://"+socket,
		"--kubelet-certificate-authority="+tls+"/server-ca.crt",
		"--kubelet-client-certificate="+tls+"/client-kube-apiserver.crt",
		"--kubelet-client-key="+tls+"/client-kube-apiserver.key",
		"--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname",
		"--profiling=false",
		"--proxy-client-cert-file="+tls+"/client-auth-proxy.crt",
		"--proxy-client-key-file="+tls+"/client-auth-proxy.key",
		"--requestheader-allowed-names=system:auth-proxy",
		"--requestheader-client-ca-file="+tls+"/request-header-ca.crt",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--secure-port="+strconv.Itoa(s.port),
		"--service-account-issuer=https://kubernetes.default.svc."+s.domain,
		"--service-account-key-file="+tls+"/service.key",
		"--service-account-signing-key-file="+tls+"/service.key",
		"--service-cluster-ip-range="+s.serviceCIDR,
		"--service-node-port-range="+s.nodePorts,
		"--storage-backend=etcd3",
		"--tls-cert-file="+tls+"/serving-kube-apiserver.crt",
		"--tls-private-key-file="+tls+"/serving-kube-apiserver.key",
	)...)
}

// extend adds the user's arguments, of the form KEY=VALUE, to a part's own.
func extend(more []string, argv ...string) []string {
	for _, a := range more {
		argv = append(argv, "--"+strings.TrimLeft(a, "-"))
	}
	return argv
}

func dial(ctx context.Context, socket string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	return conn.Close()
}

func (s *supervisor) apiReady(ctx context.Context) error {
	dir := s.path("server/tls/")
	cert, err := tls.LoadX509KeyPair(dir+"/client-supervisor.crt", dir+"/client-supervisor.key")
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(dir + "/server-ca.crt")
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d/readyz", s.port), nil)
	if err != nil {
		return err
	}
	r, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	_ = r.Body.Close() // the status says it all
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz: %s", r.Status)
	}
	return nil
}

func (s *supervisor) startContainerd(ctx context.Context) error {
	data, err := s.containerdData()
	if err != nil {
		return err
	}
	c := data.NodeConfig.Containerd
	config, err := renderContainerd(c.Template, s.version.Generation, data)
	if err != nil {
		return err
	}
	if err := replaceFile(c.Config, []byte(config), 0o600); err != nil {
		return err
	}
	if err := os.MkdirAll(c.Root, 0o711); err != nil {
		return err
	}
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	logf("info", "Logging containerd to %s", c.Log)
	err = s.start(log, "containerd", "-c", c.Config, "-a", c.Address, "--state", c.State, "--root", c.Root)
	if err = errors.Join(err, log.Close()); err != nil { // the child has it
		return err
	}
	if err := s.await(ctx, "containerd", func(ctx context.Context) error {
		_, err := s.output(ctx, nil, "ctr", "-a", c.Address, "version")
		return err
	}); err != nil {
		return err
	}
	logf("info", "containerd is now running")
	return s.importImages(ctx, c.Address)
}

func (s *supervisor) startControllers() error {
	tls, cred := s.path("server/tls"), s.path("server/cred")
	err := s.start(nil, extend(s.cmArgs, "kube-controller-manager",
		"--allocate-node-cidrs=true",
		"--authentication-kubeconfig="+cred+"/controller.kubeconfig",
		"--authorization-kubeconfig="+cred+"/controller.kubeconfig",
		"--bind-address=127.0.0.1",
		"--cluster-cidr="+s.clusterCIDR,
		"--cluster-signing-kube-apiserver-client-cert-file="+tls+"/client-ca.crt",
		"--cluster-signing-kube-apiserver-client-key-file="+tls+"/client-ca.key",
		"--cluster-signing-kubelet-client-cert-file="+tls+"/client-ca.crt",
		"--cluster-signing-kubelet-client-key-file="+tls+"/client-ca.key",
		"--cluster-signing-kubelet-serving-cert-file="+tls+"/server-ca.crt",
		"--cluster-signing-kubelet-serving-key-file="+tls+"/server-ca.key",
		"--cluster-signing-legacy-unknown-cert-file="+tls+"/server-ca.crt",
		"--cluster-signing-legacy-unknown-key-file="+tls+"/server-ca.key",
		"--controllers=*,tokencleaner",
		"--kubeconfig="+cred+"/controller.kubeconfig",
		"--leader-elect=false",
		"--profiling=false",
		"--root-ca-file="+tls+"/server-ca.crt",
		"--service-account-private-key-file="+tls+"/service.key",
		"--service-cluster-ip-range="+s.serviceCIDR,
		"--use-service-account-credentials=true",
	)...)
	if err != nil {
		return err
	}
	return s.start(nil, extend(s.schedulerArgs, "kube-scheduler",
		"--authentication-kubeconfig="+cred+"/scheduler.kubeconfig",
		"--authorization-kubeconfig="+cred+"/scheduler.kubeconfig",
		"--bind-address=127.0.0.1",
		"--kubeconfig="+cred+"/scheduler.kubeconfig",
		"--leader-elect=false",
		"--profiling=false",
	)...)
}

// startNode starts the kubelet and kube-proxy, and gives the node its labels
// and its Pods a network.
func (s *supervisor) startNode(ctx context.Context) error {
	if err := s.startKubelet(); err != nil {
		return err
	}
	if !s.disableProxy {
		if err := s.start(nil, extend(s.prx, "kube-proxy",
			"--cluster-cidr="+s.clusterCIDR,
			"--conntrack-max-per-core=0",
			"--conntrack-tcp-timeout-close-wait=0s",
			"--conntrack-tcp-timeout-established=0s",
			"--healthz-bind-address=127.0.0.1",
			"--hostname-override="+s.nodeName,
			"--kubeconfig="+s.path("agent/kubeproxy.kubeconfig"),
			"--proxy-mode=iptables",
		)...); err != nil {
			return err
		}
	}
	var cidr string
	if err := s.await(ctx, "node "+s.nodeName, func(ctx context.Context) (err error) {
		cidr, err = s.kubectl(ctx, "get", "node", s.nodeName, "-o", "jsonpath={.spec.podCIDR}")
		if err == nil && cidr == "" {
			err = errors.New("it has no Pod range yet")
		}
		return err
	}); err != nil {
		return err
	}
	if s.flannel != "none" {
		if err := s.writeCNI(cidr); err != nil {
			return err
		}
	}
	// The kubelet may not give itself these (NodeRestriction). K3s too tries
	// again: an API server that has just started may refuse a request.
	return s.await(ctx, "labels of node "+s.nodeName, func(ctx context.Context) error {
		_, err := s.kubectl(ctx, "label", "node", s.nodeName, "--overwrite",
			"node-role.kubernetes.io/control-plane=true", "node.kubernetes.io/instance-type=k3s")
		return err
	})
}

// pause is a wait that a signal ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
