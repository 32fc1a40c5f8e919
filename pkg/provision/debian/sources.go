package debian

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Source is one entry of apt's sources (sources.list(5)).
type Source struct {
	Types      []string // deb, deb-src
	URIs       []string
	Suites     []string
	Components []string
	Disabled   bool
}

// ParseOneLine reads the one-line format of sources.list(5). Lines that it
// can't read are left out: they are apt's to complain about, not ours.
func ParseOneLine(text string) []Source {
	var out []Source
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 || (fields[0] != "deb" && fields[0] != "deb-src") {
			continue
		}
		kind, rest := fields[0], fields[1:]
		if len(rest) > 0 && strings.HasPrefix(rest[0], "[") {
			end := slices.IndexFunc(rest, func(f string) bool { return strings.HasSuffix(f, "]") })
			if end < 0 {
				continue
			}
			rest = rest[end+1:]
		}
		if len(rest) < 2 {
			continue
		}
		out = append(out, Source{Types: []string{kind}, URIs: rest[:1], Suites: rest[1:2], Components: rest[2:]})
	}
	return out
}

// ParseDeb822 reads the deb822 format of sources.list(5).
func ParseDeb822(text string) []Source {
	var out []Source
	stanza := map[string]string{}
	flush := func() {
		if len(stanza["types"]) > 0 {
			out = append(out, Source{
				Types:      strings.Fields(stanza["types"]),
				URIs:       strings.Fields(stanza["uris"]),
				Suites:     strings.Fields(stanza["suites"]),
				Components: strings.Fields(stanza["components"]),
				Disabled:   isNo(stanza["enabled"]),
			})
		}
		stanza = map[string]string{}
	}
	field := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "#"): // a comment does not end a stanza
		case strings.TrimSpace(line) == "":
			flush()
			field = ""
		case line[0] == ' ' || line[0] == '\t': // continues the field above
			stanza[field] += " " + strings.TrimSpace(line)
		default:
			name, value, ok := strings.Cut(line, ":")
			if !ok {
				continue
			}
			field = strings.ToLower(strings.TrimSpace(name))
			stanza[field] = strings.TrimSpace(value)
		}
	}
	flush()
	return out
}

// isNo follows apt's reading of booleans (StringToBool in apt-pkg).
func isNo(v string) bool {
	return slices.Contains([]string{"no", "false", "without", "off", "disable", "0"}, strings.ToLower(v))
}

// Mirror is an archive that may carry Debian.
type Mirror struct {
	// URI of the archive, below which dists/ and pool/ lie.
	URI string
	// Security is the URI of the security archive; "" if there is none.
	Security string
}

// releases are the names under which Debian publishes suites; a suite of
// another archive may have the same name, so it is only a hint.
var releases = []string{
	"bullseye", "bookworm", "trixie", "forky", "duke", "sid",
	"oldoldstable", "oldstable", "stable", "testing", "unstable",
}

// Mirrors gives the archives among the sources that may carry Debian, the
// likeliest first. Which one does is shown by its signature, not by its name.
func Mirrors(sources []Source) []Mirror {
	var likely, possible []Mirror
	security := ""
	for _, s := range sources {
		if s.Disabled || !slices.Contains(s.Types, "deb") || !slices.Contains(s.Components, "main") {
			continue
		}
		for _, uri := range s.URIs {
			uri = strings.TrimRight(uri, "/")
			if !strings.HasPrefix(uri, "http://") && !strings.HasPrefix(uri, "https://") {
				continue // cdrom:, file: and the like can't be reached from a build container
			}
			for _, suite := range s.Suites {
				base, pocket, _ := strings.Cut(suite, "-")
				switch {
				case !slices.Contains(releases, base):
				case pocket == "security" && security == "":
					security = uri
				case pocket != "":
				case strings.HasSuffix(uri, "/debian"):
					likely = append(likely, Mirror{URI: uri})
				default:
					possible = append(possible, Mirror{URI: uri})
				}
			}
		}
	}
	var out []Mirror
	for _, m := range append(likely, possible...) {
		m.Security = security
		if !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	return out
}

// MachineSources reads the apt sources of the system whose root folder is
// given ("/" for the machine itself), in apt's own order. No sources at all
// is no error: the system may not be Debian.
func MachineSources(root string) ([]Source, error) {
	files := []string{filepath.Join(root, "etc/apt/sources.list")}
	for _, pattern := range []string{"*.list", "*.sources"} {
		more, err := filepath.Glob(filepath.Join(root, "etc/apt/sources.list.d", pattern))
		if err != nil {
			return nil, fmt.Errorf("apt sources: %w", err)
		}
		files = append(files, more...)
	}
	var out []Source
	for _, f := range files {
		b, err := os.ReadFile(f)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("apt sources: %w", err)
		}
		parse := ParseOneLine
		if strings.HasSuffix(f, ".sources") {
			parse = ParseDeb822
		}
		for _, s := range parse(string(b)) {
			if s.URIs, err = resolveMirrorFiles(root, s.URIs); err != nil {
				return nil, fmt.Errorf("%s: %w", f, err)
			}
			out = append(out, s)
		}
	}
	return out, nil
}

// resolveMirrorFiles replaces mirror+file: (apt-transport-mirror(1)), which
// Debian's cloud images use, by the archives that the file lists.
func resolveMirrorFiles(root string, uris []string) ([]string, error) {
	var out []string
	for _, uri := range uris {
		path, ok := strings.CutPrefix(uri, "mirror+file:")
		if !ok {
			out = append(out, uri)
			continue
		}
		f, err := os.Open(filepath.Join(root, strings.TrimPrefix(path, "//")))
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			line, _, _ := strings.Cut(lines.Text(), "#")
			if fields := strings.Fields(line); len(fields) > 0 {
				out = append(out, fields[0])
			}
		}
		err = lines.Err()
		_ = f.Close() // read only
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
