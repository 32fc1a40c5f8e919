package main

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

//go:embed manifests/*.yaml
var packaged embed.FS

// parts are the versions in the names of the packaged images, written into
// the archive when it is put together.
type parts struct{ CoreDNS, LocalPath, Busybox string }

// deploy keeps what lies in server/manifests applied, as K3s's deploy
// controller does: a file that is new or changed is applied, one with a .skip
// file beside it or of a disabled component isn't. It looks every 15 seconds.
// Only an error that no later look mends comes out of the channel.
func (s *supervisor) deploy(ctx context.Context) <-chan error {
	failed := make(chan error, 1)
	dir := s.path("server/manifests")
	if err := s.writeManifests(ctx, dir); err != nil {
		failed <- err
		return failed
	}
	go func() {
		done := map[string][32]byte{}
		for ctx.Err() == nil {
			if err := s.applyManifests(ctx, dir, done); err != nil && ctx.Err() == nil {
				logf("error", "Failed to process config: %v", err)
				pause(ctx, 2*time.Second)
				continue
			}
			pause(ctx, 15*time.Second)
		}
	}()
	return failed
}

// writeManifests writes the packaged components and removes disabled ones.
func (s *supervisor) writeManifests(ctx context.Context, dir string) error {
	var p parts
	b, err := os.ReadFile(filepath.Join(s.dir, partsFile))
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		return fmt.Errorf("versions of the parts: %w", err)
	}
	fill := strings.NewReplacer(
		"COREDNS_VERSION", p.CoreDNS, "LOCAL_PATH_VERSION", p.LocalPath, "BUSYBOX_VERSION", p.Busybox,
		"CLUSTER_DNS", s.clusterDNS, "CLUSTER_DOMAIN", s.domain, "STORAGE_PATH", s.localStorage)
	entries, err := packaged.ReadDir("manifests")
	if err != nil {
		return err
	}
	for _, e := range entries {
		b, err := packaged.ReadFile("manifests/" + e.Name())
		if err != nil {
			return err
		}
		file := filepath.Join(dir, e.Name())
		if slices.Contains(s.disable, strings.TrimSuffix(e.Name(), ".yaml")) {
			if err := s.undeploy(ctx, file); err != nil {
				return err
			}
			continue
		}
		if skipped(file) {
			continue
		}
		if err := replaceFile(file, []byte(fill.Replace(string(b))), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// undeploy deletes the objects of a component that was there before it was
// disabled.
func (s *supervisor) undeploy(ctx context.Context, file string) error {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := s.kubectl(ctx, "delete", "--ignore-not-found", "--wait=false", "-f", file); err != nil {
		return err
	}
	return os.Remove(file)
}

func skipped(file string) bool {
	_, err := os.Stat(file + ".skip")
	return err == nil
}

func (s *supervisor) applyManifests(ctx context.Context, dir string, done map[string][32]byte) error {
	var errs []error
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(file)) || skipped(file) {
			return err
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if sum := sha256.Sum256(b); done[file] != sum {
			if _, err := s.kubectl(ctx, "apply", "-f", file); err != nil {
				errs = append(errs, err) // the others are still tried
				return nil
			}
			logf("info", "Applied manifest at %s", file)
			done[file] = sum
		}
		return nil
	})
	return errors.Join(append(errs, err)...)
}
