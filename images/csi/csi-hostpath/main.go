// Command csi-hostpath is a CSI driver (Container Storage Interface 1.x) for
// labs: a volume is a folder of one node, a snapshot a copy of it. It registers
// itself with the kubelet, and serves the controller for the sidecars beside it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// name is the driver's, in StorageClasses and CSINodes.
const name = "hostpath.csi.labctl.dev"

func main() {
	node := flag.String("node", "", "name of the node")
	data := flag.String("data", "", "folder of the volumes and snapshots")
	kubelet := flag.String("kubelet", "/var/lib/kubelet", "the kubelet's folder, under the same path as on the node")
	flag.Parse()
	if *node == "" || *data == "" {
		log.Fatal("-node and -data are needed")
	}
	if err := run(*node, *data, *kubelet); err != nil {
		log.Fatal(err)
	}
}

func run(node, data, kubelet string) error {
	store, err := open(data)
	if err != nil {
		return err
	}
	socket := filepath.Join(kubelet, "plugins", name, "csi.sock")
	d := &driver{node: node, store: store}
	failed := make(chan error, 2)
	go func() {
		failed <- serve(socket, func(s *grpc.Server) {
			csi.RegisterIdentityServer(s, d)
			csi.RegisterControllerServer(s, d)
			csi.RegisterNodeServer(s, d)
		})
	}()
	go func() {
		failed <- serve(filepath.Join(kubelet, "plugins_registry", name+"-reg.sock"), func(s *grpc.Server) {
			registration.RegisterRegistrationServer(s, registrar{socket: socket})
		})
	}()
	return <-failed
}

// serve serves on a Unix socket; one that an earlier run left is replaced.
func serve(path string, register func(*grpc.Server)) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	s := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		answer, err := handler(ctx, req)
		if err != nil {
			log.Printf("%s: %v", info.FullMethod, err)
		}
		return answer, err
	}))
	register(s)
	return s.Serve(l)
}

// registrar tells the kubelet about the driver (plugin registration v1).
type registrar struct {
	registration.UnimplementedRegistrationServer
	socket string
}

func (r registrar) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type: registration.CSIPlugin, Name: name, Endpoint: r.socket, SupportedVersions: []string{"1.0.0"},
	}, nil
}

func (registrar) NotifyRegistrationStatus(_ context.Context, s *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	if !s.PluginRegistered {
		return nil, fmt.Errorf("the kubelet refuses the driver: %s", s.Error)
	}
	return &registration.RegistrationStatusResponse{}, nil
}
