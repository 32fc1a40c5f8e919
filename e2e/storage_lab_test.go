//go:build e2e

package e2e

import (
	"context"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/isolation-stack/labctl/pkg/lab"
)

// defaultClassMark makes a StorageClass the one of claims that name none
// (https://kubernetes.io/docs/concepts/storage/storage-classes/#default-storageclass).
const defaultClassMark = "storageclass.kubernetes.io/is-default-class"

// TestStorageLabWithoutDefaultClass takes the mark off the default class: the
// claims about volumes that are made for a claim without a class turn, and no
// others.
func TestStorageLabWithoutDefaultClass(t *testing.T) {
	_, client := shared(t)
	noDefaultClass(t, client)
	turned := []string{"15-1", "15-6", "15-12"}
	others := []string{"15-5.again", "15-9", "15-10", "15-12.driver", "15-13", "15-15"}
	turn(t, slices.Concat([]string{"storage-stack"}, only(turned, others)), turned)
}

// noDefaultClass leaves the cluster without a default class until the test
// ends.
func noDefaultClass(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	classes := client.StorageV1().StorageClasses()
	list, err := classes.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mark := func(name, value string) {
		t.Helper()
		patch := []byte(`{"metadata":{"annotations":{"` + defaultClassMark + `":"` + value + `"}}}`)
		// t.Context() has ended when cleanup runs.
		if _, err := classes.Patch(context.Background(), name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	found := false
	for _, c := range list.Items {
		if c.Annotations[defaultClassMark] == "true" {
			found = true
			mark(c.Name, "false")
			t.Cleanup(func() { mark(c.Name, "true") })
		}
	}
	if !found {
		t.Fatal("the cluster has no default StorageClass")
	}
}

// TestStorageLabSabotage changes a manifest of the storage lab and wants
// exactly the claims that rest on it to turn.
func TestStorageLabSabotage(t *testing.T) {
	shared(t)
	// Without 15-9: of a volume that is deleted it depends on the moment whether
	// its release is seen.
	claims := []string{"15-5.again", "15-10", "15-12.driver", "15-13", "15-15"}
	for _, tt := range []struct {
		name, file, old, new string
		turn                 []string
	}{
		{
			name: "what should be kept is deleted", file: "retain.yaml", old: "reclaimPolicy: Retain", new: "reclaimPolicy: Delete",
			turn: []string{"15-10"},
		},
		{
			name: "a volume that is too small", file: "nfs-pv.yaml", old: "storage: 10Gi", new: "storage: 3Gi",
			turn: []string{"15-13"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := changed(t, "storage-stack/"+tt.file, tt.old, tt.new)
			turn(t, slices.Concat([]string{"storage-stack", "--catalogue", dir}, only(claims)), tt.turn)
		})
	}
}

// untestable verifies, and wants exactly the claims named to be untestable.
func untestable(t *testing.T, args, without []string) {
	t.Helper()
	got, _ := verify(t, args...)
	seen := 0
	for _, l := range got.Labs {
		for _, c := range l.Claims {
			want := slices.Contains(without, c.ID)
			if want {
				seen++
			}
			if (c.Verdict == lab.Untestable) != want || c.Error != "" {
				t.Errorf("%s: %s, want it untestable: %v %s\n%s", c.ID, c.Verdict, want, c.Error, shown(c))
			}
		}
	}
	if seen != len(without) {
		t.Errorf("%d of %d claims were verified", seen, len(without))
	}
}
