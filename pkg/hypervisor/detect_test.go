package hypervisor_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/tools/txtar"

	"github.com/isolation-stack/labctl/pkg/hypervisor"
)

// load reads a captured tree: its files, the leaves in "cpuid", and what is
// to be detected in "want".
func load(t *testing.T, file string) (tree fstest.MapFS, cpuid, want string) {
	t.Helper()
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	tree = fstest.MapFS{}
	for _, f := range a.Files {
		tree[f.Name] = &fstest.MapFile{Data: f.Data}
	}
	take := func(name string) string {
		f, ok := tree[name]
		if !ok {
			t.Fatalf("%s has no file %s", file, name)
		}
		delete(tree, name)
		return strings.TrimSpace(string(f.Data))
	}
	return tree, take("cpuid"), take("want")
}

func detect(t *testing.T, tree fstest.MapFS, cpuid string) hypervisor.Detection {
	t.Helper()
	var leaves hypervisor.Leaves
	if cpuid != "" {
		var err error
		if leaves, err = hypervisor.ParseLeaves(cpuid); err != nil {
			t.Fatal(err)
		}
	}
	return hypervisor.Detect(hypervisor.Tree{FS: tree, CPUID: leaves})
}

func words(d hypervisor.Detection) string {
	return fmt.Sprintf("present=%s name=%s mode=%s monitor=%s machine=%s", d.Present, d.Name, d.Mode, d.Monitor, d.Machine)
}

func TestDetect(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no trees in testdata: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			tree, cpuid, want := load(t, file)
			d := detect(t, tree, cpuid)
			if got := words(d); got != want {
				t.Errorf("got  %s\nwant %s\nsigns %q", got, want, d.Signs)
			}
			if len(d.Signs) == 0 {
				t.Error("an answer without signs")
			}
		})
	}
}

// TestDetectTurns takes the tree of each hypervisor and changes what decides:
// the answer must turn.
func TestDetectTurns(t *testing.T) {
	const (
		dmi      = "sys/class/dmi/id/"
		hardware = "0x00000001 0x00: eax=0x00050654 ebx=0 ecx=0x7ffefbff edx=0xbfebfbff"
	)
	none := map[string]string{}
	cases := []struct {
		tree  string
		cpuid string            // instead of the tree's; "-" is no CPUID at all
		set   map[string]string // files to set; "-" removes one
		want  string
	}{
		{"firecracker", "-", none, "present=yes name=kvm mode=hvm monitor=firecracker machine=microvm"},
		{"firecracker", "-", map[string]string{"sys/firmware/acpi/tables/FACP": "-"}, "present=unknown name= mode= monitor= machine=microvm"},
		{"firecracker", "", map[string]string{dmi + "sys_vendor": "QEMU"}, "present=yes name=kvm mode=hvm monitor=firecracker machine="},
		{"kvm-hyperv-interface", hardware, map[string]string{dmi + "sys_vendor": "Dell Inc.", dmi + "product_name": "R640", "sys/firmware/acpi/tables/FACP": "-"}, "present=no name= mode= monitor= machine="},
		{"tcg", "-", none, "present=yes name=qemu mode=hvm monitor=qemu machine=i440fx"},
		{"qemu-hidden", "", map[string]string{dmi + "sys_vendor": "LENOVO", dmi + "product_name": "20XW"}, "present=no name= mode= monitor= machine="},
		{"vmware", "-", none, "present=yes name=vmware mode=hvm monitor= machine="},
		{"vmware", hardware, map[string]string{dmi + "sys_vendor": "HPE", dmi + "product_name": "ProLiant"}, "present=no name= mode= monitor= machine="},
		// Microsoft's own computers are no virtual machines.
		{"hyperv", hardware, map[string]string{dmi + "product_name": "Surface Laptop", "sys/firmware/acpi/tables/FACP": "-", "sys/bus/vmbus/devices/00000000-0000-8899-0000-000000000000/uevent": "-"}, "present=no name= mode= monitor= machine="},
		// Hyper-V's signature alone, with QEMU's tables: someone speaks its interface.
		{"hyperv", "", map[string]string{dmi + "sys_vendor": "QEMU", dmi + "product_name": "Standard PC (Q35 + ICH9, 2009)", "sys/firmware/acpi/tables/FACP": "-", "sys/bus/vmbus/devices/00000000-0000-8899-0000-000000000000/uevent": "-"}, "present=yes name=qemu mode=hvm monitor=qemu machine=q35"},
		{"hyperv-root", hardware, none, "present=no name= mode= monitor= machine="},
		{"xen-hvm", "", map[string]string{"sys/hypervisor/guest_type": "PVH"}, "present=yes name=xen mode=pvh monitor= machine="},
		{"xen-hvm", "", map[string]string{"sys/hypervisor/guest_type": "-"}, "present=yes name=xen mode=hvm monitor= machine="},
		{"xen-hvm", "", map[string]string{"sys/hypervisor/guest_type": "-", dmi + "product_name": "-", dmi + "sys_vendor": "-"}, "present=yes name=xen mode= monitor= machine="},
		{"xen-pv", "", map[string]string{"sys/hypervisor/type": "-", "proc/xen/capabilities": "-"}, "present=unknown name= mode= monitor= machine="},
		{"xen-dom0", "", map[string]string{"proc/xen/capabilities": ""}, "present=yes name=xen mode=pv monitor= machine="},
		{"bhyve", "-", none, "present=yes name=bhyve mode=hvm monitor= machine="},
		{"bhyve", hardware, map[string]string{dmi + "product_name": "Puffer"}, "present=no name= mode= monitor= machine="},
		{"bare-metal", "-", none, "present=unknown name= mode= monitor= machine="},
		// The bit is set and nobody says who set it.
		{"bare-metal", strings.Replace(hardware, "0x7ffefbff", "0xfffefbff", 1), none, "present=yes name= mode= monitor= machine="},
		{"sandbox", "", map[string]string{dmi + "sys_vendor": "ASUS"}, "present=no name= mode= monitor= machine="},
	}
	for _, c := range cases {
		t.Run(c.tree, func(t *testing.T) {
			tree, cpuid, before := load(t, filepath.Join("testdata", c.tree+".txtar"))
			switch c.cpuid {
			case "":
			case "-":
				cpuid = ""
			default:
				cpuid = strings.ReplaceAll(c.cpuid, "ebx=0 ", "ebx=0x00000000 ")
			}
			for name := range maps.Keys(c.set) {
				if c.set[name] == "-" {
					delete(tree, name)
					continue
				}
				tree[name] = &fstest.MapFile{Data: []byte(c.set[name] + "\n")}
			}
			d := detect(t, tree, cpuid)
			if got := words(d); got != c.want {
				t.Errorf("got  %s\nwant %s (unchanged tree: %s)\nsigns %q", got, c.want, before, d.Signs)
			}
		})
	}
}

func TestIs(t *testing.T) {
	cases := []struct {
		d    hypervisor.Detection
		name hypervisor.Name
		want hypervisor.Answer
	}{
		{hypervisor.Detection{Present: hypervisor.Yes, Name: hypervisor.KVM}, hypervisor.KVM, hypervisor.Yes},
		{hypervisor.Detection{Present: hypervisor.Yes, Name: hypervisor.KVM}, hypervisor.Xen, hypervisor.No},
		{hypervisor.Detection{Present: hypervisor.Yes, Name: hypervisor.QEMU}, hypervisor.KVM, hypervisor.Unknown},
		{hypervisor.Detection{Present: hypervisor.Yes, Name: hypervisor.QEMU}, hypervisor.TCG, hypervisor.Unknown},
		{hypervisor.Detection{Present: hypervisor.Yes, Name: hypervisor.QEMU}, hypervisor.HyperV, hypervisor.No},
		{hypervisor.Detection{Present: hypervisor.Yes}, hypervisor.KVM, hypervisor.Unknown},
		{hypervisor.Detection{Present: hypervisor.Unknown}, hypervisor.KVM, hypervisor.Unknown},
		{hypervisor.Detection{Present: hypervisor.No}, hypervisor.KVM, hypervisor.No},
	}
	for _, c := range cases {
		if got := c.d.Is(c.name); got != c.want {
			t.Errorf("%+v is %s: %s, want %s", c.d, c.name, got, c.want)
		}
	}
}

func TestLeaves(t *testing.T) {
	leaves := func(s string) hypervisor.Leaves {
		l, err := hypervisor.ParseLeaves(s)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	intel := leaves("CPU 0:\n   0x00000001 0x00: eax=0x00050654 ebx=0x00200800 ecx=0x00000020 edx=0x0\n   0x00000021 0x00: eax=0x0 ebx=0x65746e49 ecx=0x20202020 edx=0x5844546c\n   0x00000021 0x01: eax=0x0 ebx=0x0 ecx=0x0 edx=0x0")
	amd := leaves("0x80000001 0x00: eax=0x0 ebx=0x0 ecx=0x00000004 edx=0x0\n0x8000000a 0x00: eax=0x0 ebx=0x0 ecx=0x0 edx=0x1\n0x8000001f 0x00: eax=0x0000001b ebx=0x0 ecx=0x0 edx=0x0")
	cases := []struct {
		name                                       string
		l                                          hypervisor.Leaves
		vmx, svm, npt, sme, sev, seves, sevsnp, td bool
	}{
		{"intel in a trust domain", intel, true, false, false, false, false, false, false, true},
		{"amd with memory encryption", amd, false, true, true, true, true, true, true, false},
		{"no instruction", nil, false, false, false, false, false, false, false, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := []bool{c.l.VMX(), c.l.SVM(), c.l.NestedPaging(), c.l.SME(), c.l.SEV(), c.l.SEVES(), c.l.SEVSNP(), c.l.TDXGuest()}
			want := []bool{c.vmx, c.svm, c.npt, c.sme, c.sev, c.seves, c.sevsnp, c.td}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
	if _, err := hypervisor.ParseLeaves("rubbish"); err == nil {
		t.Error("rubbish was read as CPUID leaves")
	}
}
