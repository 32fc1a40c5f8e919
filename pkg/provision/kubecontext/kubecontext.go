// Package kubecontext writes contexts of lab clusters into kubeconfig files of
// the user's, marks them, and takes them out again; it touches no entry that
// has no mark.
package kubecontext

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// File is a kubeconfig of the user's. Entries that labctl writes carry an
// extension; entries without it are never touched.
type File struct{ Path string }

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

// At is the file at path, or by kubectl's rules if it is "".
func At(path string) File {
	if path == "" {
		path = clientcmd.NewDefaultPathOptions().GetDefaultFilename()
	}
	return File{Path: path}
}

// Check refuses, before anything slow, a file that can't be written or whose
// entries of that name (a context's) are somebody else's.
func (k File) Check(ctx context.Context, key string) error {
	return k.edit(ctx, func(c *clientcmdapi.Config, _ bool) (bool, error) {
		return false, foreign(c, k.Path, key)
	})
}

// Add writes the entries that from has under the name key, and makes that
// context the current one.
func (k File) Add(ctx context.Context, key string, from *clientcmdapi.Config) error {
	return k.edit(ctx, func(c *clientcmdapi.Config, exists bool) (bool, error) {
		if err := foreign(c, k.Path, key); err != nil {
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

// Remove takes labctl's entries of that name out and goes back to the context before; a
// file that labctl made and that is empty then goes too.
func (k File) Remove(ctx context.Context, key string) error {
	if _, err := os.Stat(k.Path); errors.Is(err, fs.ErrNotExist) {
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
			return false, os.Remove(k.Path)
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
func (k File) edit(ctx context.Context, change func(c *clientcmdapi.Config, exists bool) (write bool, err error)) error {
	path := k.Path
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
	if err := renameio.WriteFile(path, b, mode, renameio.IgnoreUmask()); err != nil {
		return k.explain(err)
	}
	return nil
}

func (k File) explain(err error) error {
	return fmt.Errorf("kubeconfig %s: %w; --kubeconfig FILE or the variable KUBECONFIG names another file", k.Path, err)
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
