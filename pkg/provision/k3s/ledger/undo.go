package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"
)

// Left is something that Undo left alone because somebody else changed it.
type Left struct {
	Path string
	Why  string
	// Backup is the file as it was before labctl; "" if there was none.
	Backup string
}

func (l Left) String() string {
	s := l.Path + ": " + l.Why
	if l.Backup != "" {
		s += "; as it was before labctl it is in " + l.Backup
	}
	return s
}

// Block marks labctl's part of a file that is otherwise another's.
type Block struct {
	Begin string `json:"begin"`
	End   string `json:"end"`
}

// Find is where the block is in a text, with its two lines; false if it isn't
// there whole.
func (b Block) Find(text []byte) (start, end int, ok bool) {
	start = bytes.Index(text, []byte(b.Begin))
	if start < 0 {
		return 0, 0, false
	}
	n := bytes.Index(text[start:], []byte(b.End))
	if n < 0 {
		return 0, 0, false
	}
	end = start + n + len(b.End)
	if end < len(text) && text[end] == '\n' {
		end++
	}
	return start, end, true
}

// Cut takes the block out of a text, and the empty line before it.
func (b Block) Cut(text []byte) []byte {
	start, end, ok := b.Find(text)
	if !ok {
		return text
	}
	before := text[:start]
	if bytes.HasSuffix(before, []byte("\n\n")) {
		before = before[:len(before)-1]
	}
	return append(bytes.Clone(before), text[end:]...)
}

// Undo takes all changes back, the last one first, and forgets each. Changes
// of the kinds that the ledger doesn't know are taken back by other. What
// somebody else changed since is left alone and returned. After an error, or
// a kill, it goes on where it was.
func (l *Ledger) Undo(ctx context.Context, other func(context.Context, Entry) error) ([]Left, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []Left
	for n := len(l.d.Entries); n > 0; n = len(l.d.Entries) {
		if err := ctx.Err(); err != nil {
			return all, err
		}
		left, err := l.undo(ctx, l.d.Entries[n-1], other)
		if err != nil {
			return all, err
		}
		if left != nil {
			all = append(all, *left)
		}
		l.d.Entries = l.d.Entries[:n-1]
		if err := l.save(); err != nil {
			return all, err
		}
	}
	return all, nil
}

// Revert takes the newest change of one file back.
func (l *Ledger) Revert(file string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	file = l.real(file)
	for i := len(l.d.Entries) - 1; i >= 0; i-- {
		e := l.d.Entries[i]
		if e.Kind != File || e.Path != file {
			continue
		}
		if _, err := l.undoFile(e); err != nil {
			return err
		}
		l.d.Entries = append(l.d.Entries[:i:i], l.d.Entries[i+1:]...)
		return l.save()
	}
	return nil
}

func (l *Ledger) undo(ctx context.Context, e Entry, other func(context.Context, Entry) error) (*Left, error) {
	switch e.Kind {
	case File:
		left, err := l.undoFile(e)
		if err != nil {
			return nil, fmt.Errorf("put %s back: %w", e.Path, err)
		}
		return left, nil
	case Folder:
		return nil, l.effect(func() error {
			err := os.Remove(l.m.Path(e.Path))
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTEMPTY) {
				return nil // gone, or in use by another
			}
			return err
		})
	case Tree:
		return nil, l.effect(func() error { return os.RemoveAll(l.m.Path(e.Path)) })
	default:
		return nil, l.effect(func() error { return other(ctx, e) })
	}
}

func (l *Ledger) undoFile(e Entry) (*Left, error) {
	if err := os.Remove(l.m.Path(unfinished(e.Path))); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return nil, err
	}
	now, err := l.state(e.Path)
	if err != nil {
		return nil, err
	}
	left := &Left{Path: e.Path}
	if e.Before != nil {
		left.Backup = l.backupOf(e.Before)
	}
	switch {
	case e.Before.is(now):
		return nil, l.effect(func() error { return l.attributes(e) })
	case now == nil && !e.Restore:
		left.Why = "somebody removed it after labctl wrote it"
		return left, nil
	case now == nil, e.wrote(now.SHA256):
		if err := l.due(e); err != nil {
			return nil, err
		}
		return nil, l.effect(func() error { return l.restore(e) })
	}
	if e.Block != nil {
		text, err := l.m.ReadFile(e.Path)
		if err != nil {
			return nil, err
		}
		if cut := e.Block.Cut(text); len(cut) < len(text) {
			if err := l.due(e); err != nil {
				return nil, err
			}
			left.Why = "somebody changed it after labctl wrote it, so only labctl's block was cut out"
			return left, l.effect(func() error { return l.write(e.Path, Content{Bytes: cut}, now.Mode, now) })
		}
	}
	left.Why = "somebody changed it after labctl wrote it, so it stays"
	return left, nil
}

// due notes, before a file goes back, that K3s has to read it.
func (l *Ledger) due(e Entry) error {
	if !e.Restart || l.d.RestartDue {
		return nil
	}
	l.d.RestartDue = true
	return l.save()
}

// restore puts the file back as it was.
func (l *Ledger) restore(e Entry) error {
	if e.Before == nil {
		if err := os.Remove(l.m.Path(e.Path)); err != nil {
			return err
		}
		return nil
	}
	// K3s's uninstall script takes whole folders.
	if err := os.MkdirAll(l.m.Path(path.Dir(e.Path)), 0o755); err != nil {
		return err
	}
	if _, err := os.Lstat(l.m.Path(e.Path)); e.Before.Size >= linked && errors.Is(err, fs.ErrNotExist) &&
		os.Link(l.m.Path(l.backupOf(e.Before)), l.m.Path(e.Path)) == nil {
		return l.attributes(e)
	}
	if err := l.write(e.Path, Content{File: l.m.Path(l.backupOf(e.Before))}, e.Before.Mode, e.Before); err != nil {
		return err
	}
	return l.attributes(e)
}

// attributes gives a file that has its old bytes its old mode, owner and time.
func (l *Ledger) attributes(e Entry) error {
	if e.Before == nil {
		return nil
	}
	at := l.m.Path(e.Path)
	if err := os.Chmod(at, e.Before.Mode); err != nil {
		return err
	}
	if err := l.chown(e.Path, e.Before); err != nil {
		return err
	}
	return os.Chtimes(at, e.Before.ModTime, e.Before.ModTime)
}
