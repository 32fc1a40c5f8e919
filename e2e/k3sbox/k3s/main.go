// Command k3s stands in for the k3s binary in labctl's end-to-end tests: it
// keeps K3s's outer contract (commands, flags, files, configuration of
// containerd) and runs real parts, which are appended to it as an archive.
// What it leaves out is in ../README.md. It is no K3s and goes into no release.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// defaultDataDir and configPath are where K3s keeps its state and reads its
// settings (docs.k3s.io, "Configuration Options").
const (
	defaultDataDir = "/var/lib/rancher/k3s"
	configPath     = "/etc/rancher/k3s/config.yaml"
	kubeconfigPath = "/etc/rancher/k3s/k3s.yaml"
	criSocket      = "/run/k3s/containerd/containerd.sock"
)

func main() {
	// Children die with the thread that started them (PR_SET_PDEATHSIG,
	// prctl(2)), so that thread has to live as long as the process.
	runtime.LockOSThread()
	if err := run(os.Args); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() > 0 {
			os.Exit(exit.ExitCode())
		}
		logf("fatal", "%v", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch name := filepath.Base(args[0]); name {
	case "kubectl", "ctr", "crictl":
		return tool(name, args[1:])
	}
	if len(args) < 2 {
		usage(os.Stdout)
		return nil
	}
	switch command := args[1]; command {
	case "--version", "-v":
		v, err := ownVersion()
		if err != nil {
			return err
		}
		fmt.Printf("k3s version %s (%.8s)\ngo version %s\n", v.k3s(), v.Hash, runtime.Version())
		return nil
	case "--help", "-h", "help":
		usage(os.Stdout)
		return nil
	case "kubectl", "ctr", "crictl":
		return tool(command, args[2:])
	case "check-config":
		return checkConfig(os.Stdout)
	case "server":
		return server(args)
	case "agent":
		return errors.New("this stand-in has no agent: it is a server with one node (e2e/k3sbox/README.md)")
	default:
		fmt.Fprintf(os.Stderr, "No help topic for '%s'\n", command)
		os.Exit(3)
		return nil
	}
}

func usage(out *os.File) {
	_, _ = fmt.Fprint(out, `NAME:
   k3s - a stand-in for K3s in labctl's tests

USAGE:
   k3s [global options] command [command options] [arguments...]

COMMANDS:
   server        Run management server
   agent         Run node agent (not in the stand-in)
   kubectl       Run kubectl
   crictl        Run crictl
   ctr           Run ctr
   check-config  Run config check

GLOBAL OPTIONS:
   --help, -h     show help
   --version, -v  print the version
`)
}

// tool becomes one of the programs in the archive, with the settings that
// K3s gives it.
func tool(name string, args []string) error {
	dataDir, err := dataDirOf(nil) // the arguments are the program's
	if err != nil {
		return err
	}
	dir, err := unpack(dataDir)
	if err != nil {
		return err
	}
	env := map[string]string{}
	switch name {
	case "kubectl":
		env["KUBECONFIG"] = kubeconfigPath
	case "ctr":
		env["CONTAINERD_ADDRESS"], env["CONTAINERD_NAMESPACE"] = criSocket, "k8s.io"
	}
	for key, value := range env {
		if os.Getenv(key) == "" {
			if err := os.Setenv(key, value); err != nil {
				return err
			}
		}
	}
	return become(dir, name, append([]string{name}, args...))
}

// server becomes the server of the unpacked program, so that the installed
// file isn't busy while K3s runs; that one is the supervisor.
func server(args []string) error {
	if _, err := openArchive(); errors.Is(err, errNoArchive) {
		return supervise(args[2:])
	} else if err != nil {
		return err
	}
	dataDir, err := dataDirOf(args[2:])
	if err != nil {
		return err
	}
	dir, err := unpack(dataDir)
	if err != nil {
		return err
	}
	return become(dir, "k3s-server", args)
}

func become(dir, name string, args []string) error {
	bin := filepath.Join(dir, "bin")
	path := bin + ":" + os.Getenv("PATH") + ":" + filepath.Join(bin, "aux")
	if err := errors.Join(os.Setenv("PATH", path), os.Setenv("K3S_DATA_DIR", dir)); err != nil {
		return err
	}
	program, err := exec.LookPath(name)
	if err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", program, syscall.Exec(program, args, os.Environ()))
}

// version is what this program knows of itself, from the archive's comment.
type version struct {
	Generation string `json:"generation"`
	Hash       string `json:"hash"`
	// FailCgroupV1 says that the kubelet refuses cgroup v1 unless it is told
	// not to, as it does since 1.35 (KEP-5573); K3s leaves that to its user.
	FailCgroupV1 bool `json:"failCgroupV1"`
	// Kubernetes is the version of the parts (parts.json).
	Kubernetes string
}

// The generations of containerd's configuration that K3s had.
const (
	genV2     = "v2"        // version 2 base
	genV3     = "v3"        // version 3 base without imports
	genDropIn = "v3-dropin" // version 3 base that imports config-v3.toml.d
)

// k3s is the version that a K3s with this configuration has. The parts inside
// are the same in each.
func (v version) k3s() string {
	switch v.Generation {
	case genV2:
		return "v1.30.14+k3s1"
	case genV3:
		return "v1.33.9+k3s1"
	default:
		return v.Kubernetes + "+k3s1"
	}
}

// ownVersion reads the archive's comment, or, in the unpacked program, the
// file beside it; K3SBOX_GENERATION goes before both.
func ownVersion() (version, error) {
	v, err := storedVersion()
	if err != nil {
		return v, err
	}
	if g := os.Getenv("K3SBOX_GENERATION"); g != "" {
		v.Generation = g
	}
	switch v.Generation {
	case genV2, genV3, genDropIn:
		return v, nil
	}
	return v, fmt.Errorf("unknown generation %q; known: %s", v.Generation, strings.Join([]string{genV2, genV3, genDropIn}, ", "))
}
