package kind

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// kubeconfig is one of the user's files. Entries that labctl writes carry an
// extension; entries without it are never touched.
type kubeconfig struct{ path string }

// extension is the name of the mark in an entry.
const extension = "labctl.dev"

// mark is the extension's content.
type mark struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Previous is the current context before, to go back to.
	Previous string `json:"previousContext,omitempty"`
	// Created says that there was no file before.
	Created bool `json:"createdFile,omitempty"`
}

// kubeconfigFor is the file at path, or by kubectl's rules if it is "".
func kubeconfigFor(path string) kubeconfig {
	if path == "" {
		path = clientcmd.NewDefaultPathOptions().GetDefaultFilename()
	}
	return kubeconfig{path: path}
}

// check refuses, before anything slow, a file that can't be written or whose
// entries of that name are somebody else's.
func (k kubeconfig) check(ctx context.Context, cluster string) error {
	return k.edit(ctx, func(c *clientcmdapi.Config, _ bool) (bool, error) {
		return false, foreign(c, k.path, contextOf(cluster))
	})
}

// add writes the cluster's entries and makes its context the current one.
func (k kubeconfig) add(ctx context.Context, cluster string, from *clientcmdapi.Config) error {
	key := contextOf(cluster)
	return k.edit(ctx, func(c *clientcmdapi.Config, exists bool) (bool, error) {
		if err := foreign(c, k.path, key); err != nil {
			return false, err
		}
		m := mark{APIVersion: "labctl.dev/v1alpha1", Kind: "KubeconfigEntry", Created: !exists}
		if old, ok := readMark(c, key); ok {
			m = old
		}
		if c.CurrentContext != key {
			m.Previous = c.CurrentContext
		}
		raw, err := json.Marshal(m)
		if err != nil {
			return false, err
		}
		marked := map[string]runtime.Object{extension: &runtime.Unknown{Raw: raw, ContentType: runtime.ContentTypeJSON}}
		server, user, context := from.Clusters[key].DeepCopy(), from.AuthInfos[key].DeepCopy(), from.Contexts[key].DeepCopy()
		server.Extensions, user.Extensions, context.Extensions = marked, marked, marked
		if old := c.Contexts[key]; old != nil {
			context.Namespace = old.Namespace // the user's choice
		}
		c.Clusters[key], c.AuthInfos[key], c.Contexts[key] = server, user, context
		c.CurrentContext = key
		return true, nil
	})
}

// remove takes labctl's entries out and goes back to the context before; a
// file that labctl made and that is empty then goes too.
func (k kubeconfig) remove(ctx context.Context, cluster string) error {
	key := contextOf(cluster)
	if _, err := os.Stat(k.path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return k.edit(ctx, func(c *clientcmdapi.Config, _ bool) (bool, error) {
		m, ok := readMark(c, key)
		if !ok {
			return false, nil
		}
		delete(c.Clusters, key)
		delete(c.AuthInfos, key)
		delete(c.Contexts, key)
		if c.CurrentContext == key {
			c.CurrentContext = ""
			if _, there := c.Contexts[m.Previous]; there {
				c.CurrentContext = m.Previous
			}
		}
		if m.Created && len(c.Clusters)+len(c.AuthInfos)+len(c.Contexts) == 0 {
			return false, os.Remove(k.path)
		}
		return true, nil
	})
}

// foreign is an error if the file has entries of that name without the mark.
func foreign(c *clientcmdapi.Config, path, key string) error {
	what := ""
	if e := c.Clusters[key]; e != nil && e.Extensions[extension] == nil {
		what = "cluster"
	}
	if e := c.AuthInfos[key]; e != nil && e.Extensions[extension] == nil {
		what = "user"
	}
	if e := c.Contexts[key]; e != nil && e.Extensions[extension] == nil {
		what = "context"
	}
	if what == "" {
		return nil
	}
	return fmt.Errorf("%s has a %s %s that labctl didn't write, and labctl doesn't overwrite it; use another --name or --kubeconfig", path, what, key)
}

// readMark finds the mark in the entries of that name; any of them will do,
// since a person may have removed the others.
func readMark(c *clientcmdapi.Config, key string) (mark, bool) {
	var found []map[string]runtime.Object
	if e := c.Clusters[key]; e != nil {
		found = append(found, e.Extensions)
	}
	if e := c.AuthInfos[key]; e != nil {
		found = append(found, e.Extensions)
	}
	if e := c.Contexts[key]; e != nil {
		found = append(found, e.Extensions)
	}
	for _, extensions := range found {
		if u, ok := extensions[extension].(*runtime.Unknown); ok {
			var m mark
			// A mark that somebody edited still is one.
			_ = json.Unmarshal(u.Raw, &m)
			return m, true
		}
	}
	return mark{}, false
}

// edit changes the file under kubectl's lock, in one step: a full disk or a
// kill leaves the old file.
func (k kubeconfig) edit(ctx context.Context, change func(c *clientcmdapi.Config, exists bool) (write bool, err error)) error {
	path := k.path
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return k.explain(err)
	}
	unlock, err := lockKubeconfig(ctx, path+".lock")
	if err != nil {
		return k.explain(err)
	}
	defer unlock()
	exists := true
	mode := fs.FileMode(0o600)
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	c, err := clientcmd.LoadFromFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		c, exists, err = clientcmdapi.NewConfig(), false, nil
	}
	if err != nil {
		return k.explain(err)
	}
	write, err := change(c, exists)
	if err != nil || !write {
		return err
	}
	b, err := clientcmd.Write(*c)
	if err != nil {
		return k.explain(err)
	}
	if err := replace(path, b, mode); err != nil {
		return k.explain(err)
	}
	return nil
}

func (k kubeconfig) explain(err error) error {
	return fmt.Errorf("kubeconfig %s: %w; --kubeconfig FILE or the variable KUBECONFIG names another file", k.path, err)
}

// lockKubeconfig takes the lock that client-go and kind take: a file made
// with O_EXCL (client-go, tools/clientcmd/config.go).
func lockKubeconfig(ctx context.Context, path string) (unlock func(), err error) {
	for wait := time.After(2 * time.Second); ; {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0)
		if err == nil {
			_ = f.Close()                              // nothing was written
			return func() { _ = os.Remove(path) }, nil // there is nothing else to do about it
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-wait:
			return nil, fmt.Errorf("%w: another program is writing the kubeconfig, or one was killed while it did; remove %s if none runs", err, path)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// replace writes the file beside and renames it.
func replace(path string, content []byte, mode fs.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".labctl-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(content)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}
