package installer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/machine"
)

// Run runs the script on the machine as a file, after the binary, if the
// settings give one, is in its place. Running it again converges: the
// installer writes its files anew.
func Run(ctx context.Context, m machine.Machine, script Script, s Settings, log progress.Log) (err error) {
	step := log.Start("Installing K3s")
	defer func() { step.End(err) }()
	if err := unchanged(script); err != nil {
		return err
	}
	if s.Binary != "" {
		if s.BinDir == "" {
			s.BinDir = DefaultBinDir // else the installer may choose another
		}
		step.Update(0, 2, "the binary")
		if err := place(ctx, m, s); err != nil {
			return fmt.Errorf("K3s's binary %s: %w", s.Binary, err)
		}
	}
	step.Update(1, 2, "the installer")
	// env -i: nothing of labctl's own environment reaches the script.
	argv := append([]string{"env", "-i"}, s.Environment(os.Environ())...)
	exit, err := m.Run(ctx, machine.Command{Argv: append(argv, script.Path), Log: log.Output()})
	if err != nil {
		return fmt.Errorf("run K3s's installer %s: %w", script.Path, err)
	}
	if exit.Code != 0 {
		said := tail(exit.Stdout) + tail(exit.Stderr)
		return fmt.Errorf("K3s's installer %s ended with %d:\n%s%s", script.Path, exit.Code, said, remedy(said))
	}
	return nil
}

// unchanged checks that the stored file still is what was shown.
func unchanged(script Script) error {
	b, err := os.ReadFile(script.Path)
	if err != nil {
		return fmt.Errorf("K3s's installer: %w", err)
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != script.SHA256 {
		return fmt.Errorf("K3s's installer %s was changed after it was checked; remove it and run again", script.Path)
	}
	return nil
}

// place copies the binary to BinDir/k3s, checked and whole or not at all.
func place(ctx context.Context, m machine.Machine, s Settings) error {
	if err := CheckArchitecture(s.Binary, runtime.GOARCH); err != nil {
		return err
	}
	src, err := os.Open(s.Binary)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }() // only read
	dir := m.Path(s.BinDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	want := strings.ToLower(strings.TrimSpace(s.BinarySHA256))
	h := sha256.New()
	return writeFile(filepath.Join(dir, "k3s"), 0o755, io.TeeReader(src, h), func() error {
		if got := hex.EncodeToString(h.Sum(nil)); want != "" && got != want {
			return fmt.Errorf("its SHA-256 is %s, not %s; get it again, and compare it with the release's sha256sum file", got, want)
		}
		return ctx.Err()
	})
}

// machines are the ELF machines of the architectures (GOARCH) that K3s is
// published for.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "arm": elf.EM_ARM, "s390x": elf.EM_S390, "riscv64": elf.EM_RISCV}

// CheckArchitecture refuses a program that is built for another architecture
// (GOARCH). What is no ELF file, such as a script, passes.
func CheckArchitecture(file, architecture string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	// e_ident and e_machine of the ELF header, elf(5).
	header := make([]byte, 20)
	if _, err := io.ReadFull(f, header); err != nil || !bytes.HasPrefix(header, []byte(elf.ELFMAG)) {
		return nil
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if elf.Data(header[elf.EI_DATA]) == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	if is := elf.Machine(order.Uint16(header[18:])); is != machines[architecture] {
		return fmt.Errorf("it is built for %s, not for %s", strings.TrimPrefix(is.String(), "EM_"), architecture)
	}
	return nil
}

// toldLines is how many of the script's last lines an error holds.
const toldLines = 12

func tail(b []byte) string {
	text := strings.TrimSpace(string(b))
	if text == "" {
		return ""
	}
	lines := strings.Split(text, "\n")
	lines = lines[max(0, len(lines)-toldLines):]
	return "  " + strings.Join(lines, "\n  ") + "\n"
}

// remedies are what to do about what the installer says. Its wording has been
// the same since K3s 1.17.
var remedies = []struct{ says, do string }{
	{"systemd or openrc", "K3s needs a machine that systemd or OpenRC boots; use --provider kind here."},
	{"Download failed", "Where GitHub can't be reached, give the binary with --k3s-binary FILE, or everything with --airgap DIR."},
	{"curl or wget", "Install curl, or give the binary with --k3s-binary FILE."},
	{"sha256 does not match", "The download is damaged; run the same command again."},
	{"Unsupported architecture", "K3s is published for amd64, arm64, arm and s390x; give a binary of your own with --k3s-binary FILE."},
	{"k3s-selinux", "Install the SELinux policy as it says, then run the same command again."},
	{"Job for k3s", "K3s's own log says why it doesn't start: journalctl -u k3s. Then run the same command again."},
}

func remedy(said string) string {
	for _, r := range remedies {
		if strings.Contains(said, r.says) {
			return r.do
		}
	}
	return "Mend what it says and run the same command again; labctl goes on from there, and `labctl down --provider k3s` takes away what there is."
}
