package k3s

import (
	"context"
	"fmt"
	"strings"

	"github.com/isolation-stack/labctl/pkg/provision/bundle"
	"github.com/isolation-stack/labctl/pkg/provision/installer"
	"github.com/isolation-stack/labctl/pkg/provision/k3s/ledger"
)

// source is where parts come from that no package has.
type source struct {
	programs  []bundle.File
	images    []bundle.File
	debs      []string
	installer installer.Source
	binary    string
	sha256    string
	release   string
}

// parts checks what the user gave.
func (p *Provider) parts(ctx context.Context) (source, error) {
	s := source{
		installer: installer.Source{Location: p.o.Installer, SHA256: p.o.InstallerSHA256},
		binary:    p.o.Binary, sha256: p.o.BinarySHA256, release: p.o.Version,
	}
	if s.binary != "" && s.sha256 != "" {
		digest, err := (ledger.Content{File: s.binary}).Digest()
		if err != nil {
			return s, fmt.Errorf("K3s's program: %w", err)
		}
		if !strings.EqualFold(digest, s.sha256) {
			return s, fmt.Errorf("K3s's program %s has the SHA-256 %s, not %s; get it again, and compare it with the release's sha256sum file", s.binary, digest, s.sha256)
		}
	}
	if p.o.RuntimeFiles != "" {
		files, err := bundle.ReadSums(ctx, p.o.RuntimeFiles)
		if err != nil {
			return s, err
		}
		s.programs = files
	}
	if p.o.Airgap == "" {
		return s, nil
	}
	b, err := bundle.Open(ctx, p.o.Airgap)
	if err != nil {
		return s, err
	}
	script, err := b.File(bundle.Installer)
	if err != nil {
		return s, err
	}
	k3s, err := b.File(bundle.K3s)
	if err != nil {
		return s, err
	}
	s.installer = installer.Source{Location: script.Path, SHA256: script.SHA256}
	s.binary, s.sha256, s.release = k3s.Path, k3s.SHA256, b.K3sVersion
	s.programs, s.images = b.Files(bundle.Program), b.Files(bundle.Images)
	for _, deb := range b.Files(bundle.Package) {
		s.debs = append(s.debs, deb.Path)
	}
	return s, nil
}
