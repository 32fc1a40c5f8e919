package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// kubeconfig is the text of a kubeconfig whose names are all "default", as
// K3s writes it; values that start with a slash are paths, else data.
func kubeconfig(server string, ca, cert, key string) ([]byte, error) {
	value := func(name, file string, inline bool) (string, error) {
		if !inline {
			return name + ": " + file, nil
		}
		b, err := os.ReadFile(file)
		return name + "-data: " + base64.StdEncoding.EncodeToString(b), err
	}
	inline := strings.HasSuffix(cert, "client-admin.crt")
	var parts []any
	for _, p := range [][2]string{{"certificate-authority", ca}, {"client-certificate", cert}, {"client-key", key}} {
		v, err := value(p[0], p[1], inline)
		if err != nil {
			return nil, err
		}
		parts = append(parts, v)
	}
	return fmt.Appendf(nil, `apiVersion: v1
clusters:
- cluster:
    %s
    server: `+server+`
  name: default
contexts:
- context:
    cluster: default
    user: default
  name: default
current-context: default
kind: Config
users:
- name: default
  user:
    %s
    %s
`, parts...), nil
}

// kubeconfigs writes those of the parts, and the user's own.
func (s *supervisor) kubeconfigs() error {
	server := fmt.Sprintf("https://127.0.0.1:%d", s.port)
	mode, err := strconv.ParseUint(s.kubeconfigMode, 8, 32)
	if err != nil {
		return fmt.Errorf("write-kubeconfig-mode: %w", err)
	}
	tls, agent := s.path("server/tls"), s.path("agent")
	for _, c := range []struct {
		file, dir, client string
		mode              fs.FileMode
	}{
		{s.kubeconfig, tls, "client-admin", fs.FileMode(mode)},
		{s.path("server/cred/admin.kubeconfig"), tls, "client-supervisor", 0o600},
		{s.path("server/cred/controller.kubeconfig"), tls, "client-controller", 0o600},
		{s.path("server/cred/scheduler.kubeconfig"), tls, "client-scheduler", 0o600},
		{s.path("agent/kubelet.kubeconfig"), agent, "client-kubelet", 0o600},
		{s.path("agent/kubeproxy.kubeconfig"), agent, "client-kube-proxy", 0o600},
	} {
		b, err := kubeconfig(server, tls+"/server-ca.crt", c.dir+"/"+c.client+".crt", c.dir+"/"+c.client+".key")
		if err != nil {
			return err
		}
		if old, err := os.ReadFile(c.file); err == nil && bytes.Equal(old, b) {
			if err := os.Chmod(c.file, c.mode); err != nil {
				return err
			}
			continue
		}
		if err := replaceFile(c.file, b, c.mode); err != nil {
			return err
		}
	}
	return nil
}
