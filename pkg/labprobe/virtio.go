package labprobe

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

var virtioOutputs = []evidence.Output{
	{Name: "virtio.devices", Type: evidence.Int, Unit: "count", Doc: "devices on the virtio bus"},
	{Name: "virtio.types", Type: evidence.List, Doc: "their types, each once: net, block, rng, balloon, vsock, …"},
	{Name: "virtio.drivers", Type: evidence.List, Doc: "the drivers bound to them, each once"},
	{Name: "virtio.transports", Type: evidence.List, Doc: "what carries them, each once: pci, mmio, other"},
	{Name: "virtio.modules.loaded", Type: evidence.List, Doc: "loaded modules with virtio in their name, as lsmod shows them"},
	{Name: "virtio.modules.builtin", Type: evidence.List, Doc: "parts of the kernel image with virtio in their name, which lsmod doesn't show"},
	{Name: "pci.devices", Type: evidence.Int, Unit: "count", Doc: "devices on PCI buses; 0 where there is no PCI"},
	{Name: "pci.virtio", Type: evidence.Int, Unit: "count", Doc: "virtio devices among them (vendor 1af4), as lspci shows them"},
	{Name: "net.devices", Type: evidence.List, Doc: "network devices that aren't software alone, NAME=DRIVER"},
	{Name: "net.drivers", Type: evidence.List, Doc: "their drivers, each once"},
	{Name: "block.devices", Type: evidence.List, Doc: "block devices that aren't software alone, NAME=DRIVER of what carries them"},
	{Name: "block.drivers", Type: evidence.List, Doc: "their drivers, each once"},
	{Name: "emulated.devices", Type: evidence.List, Doc: "PCI devices under a hypervisor that imitate real hardware, each once: e1000, ahci, vga, …"},
}

// virtioTypes are the device ids of the virtio specification 1.3, section 5.
var virtioTypes = map[uint64]string{
	1: "net", 2: "block", 3: "console", 4: "rng", 5: "balloon", 7: "rpmsg", 8: "scsi", 9: "9p", 16: "gpu",
	18: "input", 19: "vsock", 20: "crypto", 23: "iommu", 24: "mem", 25: "sound", 26: "fs", 27: "pmem",
}

// emulatedModels are devices that QEMU, VMware, VirtualBox, Hyper-V and bhyve
// imitate, by PCI vendor and device (pci.ids). Under a hypervisor they are
// imitations; vendors' own virtual devices and passed-through ones are not
// listed.
var emulatedModels = map[string]string{
	"8086:100e": "e1000", "8086:100f": "e1000", "8086:10d3": "e1000e", "10ec:8139": "rtl8139", "10ec:8029": "ne2k", "1022:2000": "pcnet",
	"1011:0009": "tulip",
	"8086:7010": "ide", "8086:7111": "ide", "8086:2922": "ahci", "8086:2829": "ahci", "8086:2821": "ahci",
	"1000:0012": "lsi53c895a", "1000:0030": "lsi53c1030", "1000:0054": "lsisas1068", "1b36:0010": "nvme",
	"1234:1111": "vga", "1013:00b8": "cirrus", "15ad:0405": "vmware-svga", "1414:5353": "hyperv-vga",
}

type device struct{ name, driver, path string }

// hardwareDevices puts what is on the buses. guest says that a hypervisor
// lies beneath.
func hardwareDevices(r *record, tree fs.FS, guest bool) {
	hardwareVirtio(r, tree)
	hardwarePCI(r, tree, guest)
	for _, class := range []struct{ output, dir string }{{"net", "sys/class/net"}, {"block", "sys/block"}} {
		var named, drivers []string
		for _, d := range classDevices(tree, class.dir) {
			named = append(named, d.name+"="+d.driver)
			drivers = append(drivers, d.driver)
		}
		r.put(class.output+".devices", named, "file", "/"+class.dir)
		r.put(class.output+".drivers", distinct(drivers), "file", "/"+class.dir)
	}
}

func hardwareVirtio(r *record, tree fs.FS) {
	const bus = "sys/bus/virtio/devices"
	var types, drivers, transports []string
	found := names(tree, bus)
	for _, name := range found {
		id, err := readText(tree, path.Join(bus, name, "device"))
		if err != nil {
			continue
		}
		types = append(types, virtioType(id))
		drivers = append(drivers, uevent(tree, path.Join(bus, name))["DRIVER"])
		transports = append(transports, transport(tree, path.Join(bus, name)))
	}
	r.put("virtio.devices", len(found), "file", "/"+bus)
	r.put("virtio.types", distinct(types), "file", "/"+bus+"/*/device")
	r.put("virtio.drivers", distinct(drivers), "file", "/"+bus+"/*/uevent")
	r.put("virtio.transports", distinct(transports), "file", "/"+bus+"/*")

	// A kernel without module support has no /proc/modules.
	var loaded, builtin []string
	if text, err := readText(tree, "proc/modules"); err == nil {
		for line := range strings.Lines(text) {
			if name, _, _ := strings.Cut(line, " "); strings.Contains(name, "virtio") {
				loaded = append(loaded, name)
			}
		}
	}
	for _, name := range names(tree, "sys/module") {
		if strings.Contains(name, "virtio") && !slices.Contains(loaded, name) {
			builtin = append(builtin, name)
		}
	}
	r.put("virtio.modules.loaded", distinct(loaded), "file", "/proc/modules")
	r.put("virtio.modules.builtin", distinct(builtin), "file", "/sys/module, without what is in /proc/modules")
}

func virtioType(id string) string {
	n, err := strconv.ParseUint(id, 0, 32)
	if err != nil {
		return "unreadable"
	}
	return cmp.Or(virtioTypes[n], fmt.Sprintf("id-%d", n))
}

// transport tells by the parent of a virtio device in /sys/devices. Devices
// of virtio-mmio are named so, or after their ACPI id, LNRO0005.
func transport(tree fs.FS, link string) string {
	target, err := fs.ReadLink(tree, link)
	if err != nil {
		return "other"
	}
	parent := path.Base(path.Dir(target))
	switch {
	case isPCIAddress(parent):
		return "pci"
	case strings.Contains(parent, "virtio-mmio"), strings.Contains(parent, "virtio_mmio"), strings.HasPrefix(parent, "LNRO0005"):
		return "mmio"
	}
	return "other"
}

func hardwarePCI(r *record, tree fs.FS, guest bool) {
	const bus = "sys/bus/pci/devices"
	found := names(tree, bus)
	virtio := 0
	var emulated []string
	for _, name := range found {
		id := strings.ToLower(uevent(tree, path.Join(bus, name))["PCI_ID"])
		if strings.HasPrefix(id, "1af4:") {
			virtio++
		}
		if model := emulatedModels[id]; guest && model != "" {
			emulated = append(emulated, model)
		}
	}
	r.put("pci.devices", len(found), "file", "/"+bus)
	r.put("pci.virtio", virtio, "file", "/"+bus+"/*/uevent PCI_ID=1AF4:*")
	r.put("emulated.devices", distinct(emulated), "file", "/"+bus+"/*/uevent PCI_ID")
}

// classDevices lists the devices of a class that stand on a bus, with the
// driver of the nearest bus device beneath: a disk's own driver is sd, what
// matters is the controller's.
func classDevices(tree fs.FS, dir string) []device {
	var found []device
	for _, name := range names(tree, dir) {
		target, err := fs.ReadLink(tree, path.Join(dir, name))
		if err != nil || strings.Contains(target, "/devices/virtual/") {
			continue
		}
		parts := strings.Split(target, "/")
		for _, part := range slices.Backward(parts) {
			if driver, ok := busDriver(tree, part); ok {
				found = append(found, device{name: name, driver: driver, path: target})
				break
			}
		}
	}
	return found
}

// busDriver finds a device by name on the buses that carry network devices
// and disks.
func busDriver(tree fs.FS, name string) (string, bool) {
	if name == "" || strings.HasPrefix(name, ".") {
		return "", false
	}
	for _, bus := range []string{"virtio", "vmbus", "xen", "pci", "usb", "mmc", "platform"} {
		if driver, ok := uevent(tree, path.Join("sys/bus", bus, "devices", name))["DRIVER"]; ok {
			return driver, true
		}
	}
	return "", false
}

// uevent reads a device's KEY=VALUE lines.
func uevent(tree fs.FS, dir string) map[string]string {
	text, err := readText(tree, path.Join(dir, "uevent"))
	if err != nil {
		return nil
	}
	values := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[key] = value
		}
	}
	return values
}

// isPCIAddress: DOMAIN:BUS:DEVICE.FUNCTION, as in 0000:00:01.0.
func isPCIAddress(s string) bool {
	var domain, bus, dev, function uint
	n, err := fmt.Sscanf(s, "%x:%x:%x.%x", &domain, &bus, &dev, &function)
	return err == nil && n == 4
}

// distinct sorts and drops duplicates and empty names.
func distinct(s []string) []string {
	s = slices.DeleteFunc(slices.Clone(s), func(x string) bool { return x == "" })
	slices.Sort(s)
	return slices.Compact(s)
}
