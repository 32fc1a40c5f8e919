package addon

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/isolation-stack/labctl/pkg/provision"
)

const (
	snapshotter  = "github.com/kubernetes-csi/external-snapshotter/v8"
	snapshotAPI  = "github.com/kubernetes-csi/external-snapshotter/client/v8"
	hostpathName = "hostpath.csi.labctl.dev"
)

var csiHostpath = Addon{
	Name:  "csi-hostpath",
	Doc:   "volumes, clones and VolumeSnapshots through CSI: StorageClass csi-hostpath, on one node",
	Quiet: true,
	Images: []Image{
		{Name: "csi-hostpath", Module: "csi", Requires: snapshotter, Program: "csi-hostpath"},
		{Name: "csi-provisioner", Module: "csi", Requires: "github.com/kubernetes-csi/external-provisioner/v6", Program: "csi-provisioner"},
		{Name: "csi-snapshotter", Module: "csi", Requires: snapshotter, Program: "csi-snapshotter"},
		{Name: "snapshot-controller", Module: "csi", Requires: snapshotter, Program: "snapshot-controller"},
	},
	Upstream: []Upstream{{
		Module: "csi", Requires: snapshotAPI, Files: []string{"config/crd/snapshot.storage.k8s.io_*.yaml"},
	}},
	Manifests: true,
	Sign:      Object{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition", Name: "volumesnapshots.snapshot.storage.k8s.io"},
	NodeDown: func(ctx context.Context, n Node) error {
		exit, err := n.Run(ctx, nil, "rm", "-rf", "/var/lib/labctl-csi-hostpath",
			"/var/lib/kubelet/plugins/"+hostpathName, "/var/lib/kubelet/plugins_registry/"+hostpathName+"-reg.sock")
		if err == nil && exit.Code != 0 {
			err = fmt.Errorf("removing its folders: %s", exit.Stderr)
		}
		return err
	},
	Ready: func(ctx context.Context, cluster provision.Cluster) error {
		client, err := kubernetes.NewForConfig(cluster.RESTConfig())
		if err != nil {
			return err
		}
		nodes, err := client.StorageV1().CSINodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, n := range nodes.Items {
			for _, d := range n.Spec.Drivers {
				if d.Name == hostpathName {
					return provisions(ctx, client)
				}
			}
		}
		return errors.New("no kubelet knows its driver yet")
	},
}

// provisions claims a volume and sees it bound.
func provisions(ctx context.Context, client kubernetes.Interface) (err error) {
	class := "csi-hostpath"
	claims := client.CoreV1().PersistentVolumeClaims("labctl-csi-hostpath")
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "ready", Labels: map[string]string{ManagedByLabel: ManagedBy, Label: "csi-hostpath"}},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Mi")}},
		},
	}
	if _, err := claims.Create(ctx, claim, metav1.CreateOptions{FieldManager: fieldManager}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if gone := claims.Delete(ctx, claim.Name, metav1.DeleteOptions{}); gone != nil && !apierrors.IsNotFound(gone) && err == nil {
			err = gone
		}
	}()
	for {
		c, err := claims.Get(ctx, claim.Name, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("a claim of class %s: %w", class, err)
		}
		if c.Status.Phase == corev1.ClaimBound {
			return nil
		}
		if err := pause(ctx, poll); err != nil {
			return fmt.Errorf("a claim of class %s isn't bound: %w", class, err)
		}
	}
}
