// Package ledger remembers what labctl did to a machine, so that all of it can
// be taken back: every change is on disk in the ledger before it is made, with
// what was there before. A process that is killed between two steps loses
// nothing: the changes can be made again, or taken back, from any point.
package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"sync"
	"time"

	"github.com/isolation-stack/labctl/pkg/provision/machine"
)

// Dir is labctl's folder on a machine: all that is in it is labctl's and goes
// with the ledger.
const Dir = "/var/lib/labctl"

// Path is the ledger.
const Path = Dir + "/ledger.json"

// backups holds the files that were there before, named by their SHA-256.
const backups = Dir + "/backup"

// version of the ledger's format.
const version = 1

// Kind is a kind of change.
type Kind string

// The kinds. Files, folders and trees are taken back by this package, the
// others by the caller of Undo.
const (
	File       Kind = "file"       // a file written, or kept from being lost
	Folder     Kind = "folder"     // a folder made; it goes if it is empty
	Tree       Kind = "tree"       // a folder made that is labctl's with all that is in it
	Packages   Kind = "packages"   // packages installed
	K3s        Kind = "k3s"        // K3s installed
	Images     Kind = "images"     // images loaded into containerd
	Units      Kind = "units"      // units of systemd started
	Kubeconfig Kind = "kubeconfig" // a context added to a kubeconfig
)

// Entry is one change.
type Entry struct {
	Kind Kind `json:"kind"`
	// Path is that of the file, folder, tree or kubeconfig, or of K3s's
	// uninstall script.
	Path string `json:"path,omitempty"`
	// Before is the file that was there; nil if there was none.
	Before *State `json:"before,omitempty"`
	// After are the SHA-256 (hex) of every content that labctl meant to write:
	// it may have been killed before it wrote the last of them.
	After []string `json:"after,omitempty"`
	// Restore says that the file is put back also if it is missing, because
	// another change's way back removes it.
	Restore bool `json:"restore,omitempty"`
	// Restart says that K3s reads the file only when it starts.
	Restart bool `json:"restart,omitempty"`
	// Block are the lines that begin and end labctl's part of a file that is
	// otherwise another's.
	Block *Block `json:"block,omitempty"`
	// Names are packages, references of images, units, the paths that were not
	// there before K3s was installed, or a context and the folders that were
	// made for its kubeconfig.
	Names []string `json:"names,omitempty"`
	// Done says that the installation of K3s came to its end.
	Done bool `json:"done,omitempty"`
}

// State is a file as it was.
type State struct {
	SHA256  string      `json:"sha256"`
	Size    int64       `json:"size"` // bytes
	Mode    fs.FileMode `json:"mode"`
	UID     int         `json:"uid"`
	GID     int         `json:"gid"`
	ModTime time.Time   `json:"modTime"`
}

// Ledger is what labctl did to one machine. It is safe for concurrent use by
// one process; processes are kept apart by the caller's lock.
type Ledger struct {
	m  machine.Machine
	mu sync.Mutex
	d  data
	// saved says that the ledger is on disk.
	saved bool
	// fault stands for a kill in tests: it is asked before and after every effect.
	fault func() error
}

type data struct {
	Version int `json:"version"`
	// Cluster is the name under which the machine is a lab.
	Cluster string `json:"cluster"`
	// RestartDue says that a file changed that K3s hasn't read yet.
	RestartDue bool    `json:"restartDue,omitempty"`
	Entries    []Entry `json:"entries"`
}

// Open reads the machine's ledger. Where there is none the error is
// fs.ErrNotExist.
func Open(m machine.Machine) (*Ledger, error) {
	raw, err := m.ReadFile(Path)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	l := &Ledger{m: m, saved: true}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	err = d.Decode(&l.d)
	if err == nil && l.d.Version != version {
		err = fmt.Errorf("its version is %d, and this labctl knows %d", l.d.Version, version)
	}
	if err != nil {
		return nil, fmt.Errorf("%s, which says what labctl changed on this machine, can't be read (%w); put it back from a backup or use the labctl that wrote it. To give it up, move %s away: labctl then takes the machine as it is, and `down` leaves the earlier changes where they are (files that were there before are in %s)", Path, err, Dir, backups)
	}
	return l, nil
}

// New is the ledger of a machine that has none, for a cluster's name. It is
// written with the first change.
func New(m machine.Machine, cluster string) *Ledger {
	return &Ledger{m: m, d: data{Version: version, Cluster: cluster}}
}

// Cluster is the name under which the machine is a lab.
func (l *Ledger) Cluster() string { return l.d.Cluster }

// Entries are the changes so far of a kind, in the order in which they were made.
func (l *Ledger) Entries(kind Kind) []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []Entry
	for _, e := range l.d.Entries {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	return found
}

// RestartDue says whether a file changed that K3s hasn't read yet.
func (l *Ledger) RestartDue() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.d.RestartDue
}

// Restarted notes that K3s has read its files.
func (l *Ledger) Restarted() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.d.RestartDue {
		return nil
	}
	l.d.RestartDue = false
	return l.save()
}

// Record notes a change that the caller is about to make.
func (l *Ledger) Record(e Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.d.Entries = append(l.d.Entries, e)
	return l.save()
}

// Finish notes that the installation of K3s came to its end.
func (l *Ledger) Finish() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.d.Entries {
		if l.d.Entries[i].Kind == K3s {
			l.d.Entries[i].Done = true
		}
	}
	return l.save()
}

func (l *Ledger) save() error {
	raw, err := json.MarshalIndent(l.d, "", "  ")
	if err != nil {
		return err
	}
	return l.effect(func() error {
		if err := os.MkdirAll(l.m.Path(Dir), 0o755); err != nil {
			return fmt.Errorf("labctl's folder: %w", err)
		}
		if err := replace(l.m.Path(Path), bytes.NewReader(append(raw, '\n')), 0o600); err != nil {
			return fmt.Errorf("ledger: %w", err)
		}
		l.saved = true
		return nil
	})
}

// effect does what changes the machine.
func (l *Ledger) effect(do func() error) error {
	if l.fault != nil {
		if err := l.fault(); err != nil {
			return err
		}
	}
	if err := do(); err != nil {
		return err
	}
	if l.fault != nil {
		return l.fault()
	}
	return nil
}

// Close removes the ledger and labctl's folder after everything was undone,
// but for the backups of the files that Undo left alone.
func (l *Ledger) Close(left []Left) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.d.Entries); n > 0 {
		return fmt.Errorf("the ledger still has %d changes", n)
	}
	keep := map[string]bool{}
	for _, f := range left {
		if f.Backup != "" {
			keep[path.Base(f.Backup)] = true
		}
	}
	return l.effect(func() error { return empty(l.m, keep) })
}

// empty clears labctl's folder; the ledger goes last, so that a kill in
// between is seen.
func empty(m machine.Machine, keep map[string]bool) error {
	entries, err := os.ReadDir(m.Path(Dir))
	if err != nil {
		return fmt.Errorf("labctl's folder: %w", err)
	}
	for _, e := range entries {
		if p := path.Join(Dir, e.Name()); p != Path && p != backups {
			if err := os.RemoveAll(m.Path(p)); err != nil {
				return err
			}
		}
	}
	saved, err := os.ReadDir(m.Path(backups))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range saved {
		if !keep[e.Name()] {
			if err := os.Remove(m.Path(path.Join(backups, e.Name()))); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(m.Path(Path)); err != nil {
		return err
	}
	// What isn't empty holds backups that are kept.
	_ = os.Remove(m.Path(backups))
	_ = os.Remove(m.Path(Dir))
	return nil
}

// Sweep removes what is left in labctl's folder without a ledger, by a Close or
// a look that was killed; backups of files that Undo left alone stay.
func Sweep(m machine.Machine) error {
	entries, err := os.ReadDir(m.Path(Dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("labctl's folder: %w", err)
	}
	for _, e := range entries {
		if p := path.Join(Dir, e.Name()); p != backups {
			if err := os.RemoveAll(m.Path(p)); err != nil {
				return fmt.Errorf("labctl's folder: %w", err)
			}
		}
	}
	// What isn't empty holds backups that are kept.
	_ = os.Remove(m.Path(backups))
	_ = os.Remove(m.Path(Dir))
	return nil
}
