package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Content is what a file is to hold: bytes, or another file of this machine.
type Content struct {
	Bytes []byte
	File  string
}

func (c Content) open() (io.ReadCloser, error) {
	if c.File != "" {
		return os.Open(c.File)
	}
	return io.NopCloser(strings.NewReader(string(c.Bytes))), nil
}

// Digest is the content's SHA-256 (hex).
func (c Content) Digest() (string, error) {
	r, err := c.open()
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Close() }() // only read
	sum := sha256.New()
	if _, err := io.Copy(sum, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// Write is a file to write.
type Write struct {
	Path string
	// Mode of a file that isn't there yet; one that is there keeps its own.
	Mode    fs.FileMode
	Content Content
	// Restart and Block are as in Entry.
	Restart bool
	Block   *Block
}

// Put writes a file, and makes the folders that it needs. It says whether
// the file changed.
func (l *Ledger) Put(w Write) (changed bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed, err = l.put(w)
	if err != nil {
		return changed, fmt.Errorf("write %s: %w", w.Path, err)
	}
	return changed, nil
}

func (l *Ledger) put(w Write) (bool, error) {
	w.Path = l.real(w.Path)
	digest, err := w.Content.Digest()
	if err != nil {
		return false, err
	}
	now, err := l.state(w.Path)
	if err != nil {
		return false, err
	}
	if now != nil && now.SHA256 == digest {
		return false, nil
	}
	if err := l.folders(path.Dir(w.Path)); err != nil {
		return false, err
	}
	if e := l.last(w.Path); e != nil && (now == nil || e.wrote(now.SHA256) || e.Before.is(now)) {
		if !slices.Contains(e.After, digest) {
			e.After = append(e.After, digest)
		}
	} else {
		// New, or somebody changed the file since: then his is what comes back.
		if err := l.backup(w.Path, now); err != nil {
			return false, err
		}
		l.d.Entries = append(l.d.Entries, Entry{Kind: File, Path: w.Path, Before: now, After: []string{digest}, Restart: w.Restart, Block: w.Block})
	}
	l.d.RestartDue = l.d.RestartDue || w.Restart
	if err := l.save(); err != nil {
		return false, err
	}
	return true, l.effect(func() error { return l.write(w.Path, w.Content, w.Mode, now) })
}

// Keep remembers a file so that it is put back if another change's way back
// removes it.
func (l *Ledger) Keep(path string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, err := l.state(path)
	if err != nil || now == nil || l.last(path) != nil {
		return err
	}
	if err := l.backup(path, now); err != nil {
		return fmt.Errorf("keep %s: %w", path, err)
	}
	l.d.Entries = append(l.d.Entries, Entry{Kind: File, Path: path, Before: now, After: []string{now.SHA256}, Restore: true})
	return l.save()
}

// Own notes a folder that isn't there yet as labctl's with all that will be in
// it. One that is there stays another's.
func (l *Ledger) Own(tree string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := os.Lstat(l.m.Path(tree)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if l.last(tree) != nil {
		return nil
	}
	above, err := l.missing(path.Dir(tree))
	if err != nil {
		return err
	}
	for _, d := range above {
		l.d.Entries = append(l.d.Entries, Entry{Kind: Folder, Path: d})
	}
	l.d.Entries = append(l.d.Entries, Entry{Kind: Tree, Path: tree})
	return l.save()
}

// Expect notes a folder that isn't there yet and that a program of labctl's
// will make: it goes if it is empty.
func (l *Ledger) Expect(folder string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := os.Lstat(l.m.Path(folder)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if l.last(folder) != nil {
		return nil
	}
	l.d.Entries = append(l.d.Entries, Entry{Kind: Folder, Path: folder})
	return l.save()
}

// real follows a symbolic link, so that what it points to is written.
func (l *Ledger) real(file string) string {
	at := l.m.Path(file)
	if info, err := os.Lstat(at); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		return file
	}
	target, err := filepath.EvalSymlinks(at)
	if err != nil {
		return file
	}
	return path.Join("/", strings.TrimPrefix(target, l.m.Path("/")))
}

// last is the newest entry of a path.
func (l *Ledger) last(path string) *Entry {
	for i := len(l.d.Entries) - 1; i >= 0; i-- {
		if l.d.Entries[i].Path == path {
			return &l.d.Entries[i]
		}
	}
	return nil
}

func (e *Entry) wrote(digest string) bool { return slices.Contains(e.After, digest) }

// is says whether two states have the same content; nil is a file that isn't there.
func (s *State) is(other *State) bool {
	if s == nil || other == nil {
		return s == other
	}
	return s.SHA256 == other.SHA256
}

// state is a file as it is now; nil if it isn't there.
func (l *Ledger) state(file string) (*State, error) {
	info, err := os.Lstat(l.m.Path(file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file (%s); labctl leaves it alone", file, info.Mode())
	}
	digest, err := Content{File: l.m.Path(file)}.Digest()
	if err != nil {
		return nil, err
	}
	s := &State{SHA256: digest, Size: info.Size(), Mode: info.Mode().Perm(), ModTime: info.ModTime()}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		s.UID, s.GID = int(stat.Uid), int(stat.Gid)
	}
	return s, nil
}

// linked is the size in bytes from which on a file isn't copied but linked:
// archives of images, which nobody writes into, and of which two would not fit
// on a small disk.
const linked = 16 << 20

func (l *Ledger) backupOf(s *State) string { return path.Join(backups, s.SHA256) }

// backup copies a file that is there, unless its copy is there already.
func (l *Ledger) backup(file string, s *State) error {
	if s == nil {
		return nil
	}
	to := l.m.Path(l.backupOf(s))
	if digest, err := (Content{File: to}).Digest(); err == nil && digest == s.SHA256 {
		return nil
	}
	if !l.saved { // labctl's folder is nobody's without a ledger in it
		if err := l.save(); err != nil {
			return err
		}
	}
	return l.effect(func() error {
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		if s.Size >= linked && os.Link(l.m.Path(file), to) == nil {
			return syncFolder(filepath.Dir(to))
		}
		from, err := os.Open(l.m.Path(file))
		if err != nil {
			return err
		}
		defer func() { _ = from.Close() }() // only read
		return replace(to, from, 0o600)
	})
}

// missing are the folders on the way to dir that aren't there, the outermost first.
func (l *Ledger) missing(dir string) ([]string, error) {
	var missing []string
	for d := dir; d != "/" && d != Dir; d = path.Dir(d) {
		_, err := os.Stat(l.m.Path(d))
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		missing = append(missing, d)
	}
	slices.Reverse(missing)
	return missing, nil
}

// folders makes the folders that are missing, each noted before.
func (l *Ledger) folders(dir string) error {
	missing, err := l.missing(dir)
	if err != nil {
		return err
	}
	for _, d := range missing {
		if l.last(d) == nil {
			l.d.Entries = append(l.d.Entries, Entry{Kind: Folder, Path: d})
			if err := l.save(); err != nil {
				return err
			}
		}
		if err := l.effect(func() error { return os.Mkdir(l.m.Path(d), 0o755) }); err != nil {
			return err
		}
	}
	return nil
}

// write replaces a file; as is its state before, whose mode and owner stay.
func (l *Ledger) write(file string, c Content, mode fs.FileMode, as *State) error {
	r, err := c.open()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // only read
	if as != nil {
		mode = as.Mode
	}
	if err := replace(l.m.Path(file), r, mode); err != nil {
		return err
	}
	return l.chown(file, as)
}

func (l *Ledger) chown(file string, as *State) error {
	if as == nil || os.Geteuid() != 0 {
		return nil
	}
	return os.Lchown(l.m.Path(file), as.UID, as.GID)
}

// unfinished is the name under which a file is written before it takes its
// place. It is known, so that what a kill leaves is found.
func unfinished(file string) string { return file + ".labctl-new" }

// replace writes a file whole or not at all; it is on disk when replace
// returns.
func replace(file string, from io.Reader, mode fs.FileMode) (err error) {
	temp := unfinished(file)
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close() // may be closed already
			_ = os.Remove(temp)
		}
	}()
	if _, err := io.Copy(f, from); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(temp, file); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(file))
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()                                    // only read
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) { // not every file system can
		return err
	}
	return nil
}
