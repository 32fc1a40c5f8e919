package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
)

// Release says where K3s's releases are. The zero value is where the project
// publishes them.
type Release struct {
	// Address is the one below which download/VERSION/FILE lies.
	Address string
	// Channels is the one below which CHANNEL leads (by a redirect) to the
	// address of its newest release.
	Channels string
	// Client fetches; nil is http.DefaultClient.
	Client *http.Client
}

// Where K3s is published, as its own installer has it.
const (
	releaseAddress = "https://github.com/k3s-io/k3s/releases"
	channelAddress = "https://update.k3s.io/v1-release/channels"
)

// published is a release with its checksums.
type published struct {
	client       *http.Client
	address      string // of the release's files
	version      string
	architecture string
	sums         []sum
}

// find reads the checksums of a release; version "" is the channel's newest.
func (r Release) find(ctx context.Context, version, channel, architecture string) (published, error) {
	if r.Address == "" {
		r.Address = releaseAddress
	}
	if r.Channels == "" {
		r.Channels = channelAddress
	}
	if version == "" {
		var err error
		if version, err = r.newest(ctx, channel); err != nil {
			return published{}, err
		}
	}
	p := published{
		client: r.Client, version: version, architecture: architecture,
		address: r.Address + "/download/" + url.PathEscape(version) + "/",
	}
	name := "sha256sum-" + architecture + ".txt"
	response, err := get(ctx, p.client, p.address+name, 0)
	if err != nil {
		return p, err
	}
	defer func() { _ = response.Body.Close() }() // only read
	text, err := io.ReadAll(io.LimitReader(response.Body, maxIndex))
	if err != nil {
		return p, fmt.Errorf("read %s: %w", p.address+name, err)
	}
	if p.sums, err = parseSums(string(text)); err != nil {
		return p, fmt.Errorf("%s: %w", p.address+name, err)
	}
	return p, nil
}

// newest follows the channel's redirect to the address of its release, whose
// last part is the version.
func (r Release) newest(ctx context.Context, channel string) (string, error) {
	if channel == "" {
		channel = "stable"
	}
	client := *r.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	address := r.Channels + "/" + url.PathEscape(channel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	_ = response.Body.Close() // the answer is in its header
	location, err := response.Location()
	if err != nil {
		return "", fmt.Errorf("%s answers %s and names no release: is %q a channel? Name a release with --k3s-version", address, response.Status, channel)
	}
	version := path.Base(location.Path)
	if !strings.HasPrefix(version, "v") {
		return "", fmt.Errorf("%s leads to %s, which ends in no version", address, location)
	}
	return version, nil
}

// binary is the name of the program in a release.
func (p published) binary() string {
	switch p.architecture {
	case "amd64":
		return "k3s"
	case "arm":
		return "k3s-armhf"
	}
	return "k3s-" + p.architecture
}

// images is the name of the archive of images: the smallest that the
// checksums name.
func (p published) images() string {
	for _, ending := range []string{".tar.zst", ".tar.gz", ".tar"} {
		name := "k3s-airgap-images-" + p.architecture + ending
		if slices.ContainsFunc(p.sums, func(s sum) bool { return s.name == name }) {
			return name
		}
	}
	return "k3s-airgap-images-" + p.architecture + ".tar"
}

// download fetches a file of the release and checks it against the release's
// checksums. A file that is there and right isn't fetched, and one that was
// begun goes on where it was.
func (p published) download(ctx context.Context, name, dst string, mode os.FileMode) error {
	i := slices.IndexFunc(p.sums, func(s sum) bool { return s.name == name })
	if i < 0 {
		return fmt.Errorf("the checksums of K3s %s don't name %s", p.version, name)
	}
	want := p.sums[i].sha256
	if got, err := digest(ctx, dst); err == nil && got == want {
		return nil
	}
	begun := dst + ".begun"
	// What was begun may be of another release: then it is fetched once more,
	// from its start.
	for again := range 2 {
		if err := p.fetch(ctx, p.address+name, begun); err != nil {
			return err
		}
		got, err := digest(ctx, begun)
		if err != nil {
			return err
		}
		if got == want {
			break
		}
		if err := os.Remove(begun); err != nil {
			return err
		}
		if again == 1 {
			return fmt.Errorf("%s has the SHA-256 %s, not %s as the release's checksums say: something between here and there changes it; try another network, or give the file yourself", p.address+name, got, want)
		}
	}
	if err := os.Chmod(begun, mode); err != nil {
		return err
	}
	return os.Rename(begun, dst)
}

// fetch appends to the file what it lacks.
func (p published) fetch(ctx context.Context, address, file string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = p.fetchInto(ctx, address, f)
	return errors.Join(err, f.Close())
}

func (p published) fetchInto(ctx context.Context, address string, f *os.File) error {
	from, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	response, err := get(ctx, p.client, address, from)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // only read
	if response.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return nil // it was whole already
	}
	if response.StatusCode != http.StatusPartialContent { // it is sent from its start
		if err := f.Truncate(0); err != nil {
			return err
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	if _, err := io.Copy(f, response.Body); err != nil {
		return fmt.Errorf("download %s: %w", address, err)
	}
	return nil
}

// get asks for an address, from a byte on. Any answer but success is an error,
// except that there is nothing more from that byte on.
func get(ctx context.Context, client *http.Client, address string, from int64) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	if from > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	switch response.StatusCode {
	case http.StatusOK, http.StatusPartialContent:
		return response, nil
	case http.StatusRequestedRangeNotSatisfiable:
		if from > 0 {
			return response, nil
		}
	}
	_ = response.Body.Close() // it isn't read
	return nil, fmt.Errorf("%s answers %s", address, response.Status)
}
