package rules

import (
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/isolation-stack/labctl/pkg/docs"
)

var containerRules = []rule{
	{docs.Rule{
		ID: "capability-prefix", Severity: docs.Error,
		Title: "a capability with the prefix CAP_",
		Help:  "Kubernetes names capabilities without CAP_. The API server takes any word, and containerd puts CAP_ in front of it, so the kernel is asked for CAP_CAP_…, which it doesn't know: the container doesn't start, or starts without the capability. Write NET_ADMIN, not CAP_NET_ADMIN.",
	}, findCapabilityPrefix},
	{docs.Rule{
		ID: "capability-unknown", Severity: docs.Warning,
		Title: "a capability that Linux doesn't have",
		Help:  "The API server takes any word as a capability; the runtime then refuses the container, or ignores the word. capabilities(7) has the list; ALL means all of them.",
	}, findCapabilityUnknown},
	{docs.Rule{
		ID: "probe-port-unknown", Severity: docs.Error,
		Title: "a probe or a hook of a port that its container doesn't name",
		Help:  "A port by name is looked up in the ports of the same container. If it has none of that name the probe always fails: the container is killed again and again, or never gets ready. Name the port under ports, or give its number.",
	}, findProbePort},
	{docs.Rule{
		ID: "run-as-root-conflict", Severity: docs.Error,
		Title: "runAsNonRoot together with user 0",
		Help:  "The kubelet refuses to start a container as user 0 under runAsNonRoot: true (CreateContainerConfigError). Set runAsUser to another user.",
	}, findRunAsRoot},
	{docs.Rule{
		ID: "quantity-implausible", Severity: docs.Warning,
		Title: "a quantity that can hardly be meant",
		Help:  "Memory and storage are in bytes: 512 is half a kilobyte; write 512Mi. CPU is in cores: 500 is five hundred of them; write 500m for half a core.",
	}, findQuantity},
	{docs.Rule{
		ID: "volume-unmounted", Severity: docs.Warning,
		Title: "a volume that no container mounts",
		Help:  "The Pod has the volume, but nothing sees it: a container gets it only by volumeMounts (or volumeDevices) with the same name.",
	}, findVolumeUnmounted},
}

// capabilities are those of Linux (include/uapi/linux/capability.h, 6.18).
var capabilities = strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP
	LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO
	SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE
	AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON
	BPF CHECKPOINT_RESTORE ALL`)

// capabilityFields calls do for each capability of the document's containers.
func (p *page) capabilityFields(do func(w *workload, f field, name string)) {
	for _, w := range p.workloads {
		for _, c := range w.containers {
			set := c.get("securityContext", "capabilities")
			for _, f := range append(set.get("add").items(), set.get("drop").items()...) {
				do(w, f, strings.ToUpper(f.text()))
			}
		}
	}
}

func findCapabilityPrefix(p *page, s *sink) {
	p.capabilityFields(func(w *workload, f field, name string) {
		if plain, ok := strings.CutPrefix(name, "CAP_"); ok {
			s.field(w.object, f, "write %s, not %s: containerd puts CAP_ in front by itself", plain, quote(f.text()))
		}
	})
}

func findCapabilityUnknown(p *page, s *sink) {
	p.capabilityFields(func(w *workload, f field, name string) {
		name = strings.TrimPrefix(name, "CAP_")
		if name != "" && !slices.Contains(capabilities, name) && !open.MatchString(name) {
			s.field(w.object, f, "Linux has no capability %s", quote(f.text()))
		}
	})
}

// portName is what the API server takes as one (IsValidPortName).
var portName = regexp.MustCompile(`^[a-z0-9-]*[a-z][a-z0-9-]*$`)

func findProbePort(p *page, s *sink) {
	for _, w := range p.workloads {
		for _, c := range w.containers {
			names := map[string]bool{}
			for _, port := range c.get("ports").items() {
				names[port.get("name").text()] = true
			}
			handlers := []field{c.get("livenessProbe"), c.get("readinessProbe"), c.get("startupProbe"), c.get("lifecycle", "postStart"), c.get("lifecycle", "preStop")}
			for _, h := range handlers {
				for _, kind := range []string{"httpGet", "tcpSocket"} {
					f := h.get(kind, "port")
					// What isn't the name of a port at all the API server refuses.
					if name := f.text(); !names[name] && portName.MatchString(name) {
						s.field(w.object, f, "container %s has no port named %s", quote(c.get("name").text()), quote(name))
					}
				}
			}
		}
	}
}

func findRunAsRoot(p *page, s *sink) {
	for _, w := range p.workloads {
		of := w.pod.get("securityContext")
		for _, c := range w.containers {
			own := c.get("securityContext")
			user, nonRoot := own.get("runAsUser"), own.get("runAsNonRoot")
			if user.value == nil {
				user = of.get("runAsUser")
			}
			if nonRoot.value == nil {
				nonRoot = of.get("runAsNonRoot")
			}
			id, isNumber := user.number()
			if on, _ := nonRoot.truth(); on && isNumber && id == 0 {
				s.field(w.object, user, "container %s may not run as user 0 under runAsNonRoot: true; the kubelet doesn't start it", quote(c.get("name").text()))
			}
		}
	}
}

const (
	leastBytes = 1 << 20 // no container runs in less than a mebibyte
	mostCores  = 256     // no node of today has more for one container
)

func findQuantity(p *page, s *sink) {
	check := func(o *object, set field) {
		for _, name := range set.keys() {
			f := set.get(name)
			text := f.text()
			if n, ok := f.number(); ok {
				text = resource.NewQuantity(int64(n), resource.DecimalSI).String()
			}
			q, err := resource.ParseQuantity(text)
			if err != nil || q.Sign() <= 0 {
				continue
			}
			switch name {
			case "memory", "storage", "ephemeral-storage":
				// Of fractions of a byte (512m) the API server warns.
				if q.CmpInt64(leastBytes) < 0 && q.MilliValue()%1000 == 0 {
					s.field(o, f, "%s of %s is %d bytes; a unit such as Mi or Gi is missing or wrong", name, quote(text), q.Value())
				}
			case "cpu":
				if q.CmpInt64(mostCores) > 0 {
					s.field(o, f, "cpu of %s is %d cores; %sm are thousandths of a core", quote(text), q.Value(), text)
				}
			}
		}
	}
	for _, w := range p.workloads {
		for _, c := range w.containers {
			check(w.object, c.get("resources", "requests"))
			check(w.object, c.get("resources", "limits"))
		}
		for _, claim := range w.get("spec", "volumeClaimTemplates").items() {
			check(w.object, claim.get("spec", "resources", "requests"))
		}
	}
	for _, o := range p.of("", "PersistentVolumeClaim") {
		check(o, o.get("spec", "resources", "requests"))
	}
	for _, o := range p.of("", "PersistentVolume") {
		check(o, o.get("spec", "capacity"))
	}
}

func findVolumeUnmounted(p *page, s *sink) {
	for _, w := range p.workloads {
		if w.custom || w.pod.get("containers").empty() {
			continue
		}
		used := map[string]bool{}
		for _, c := range w.containers {
			for _, m := range append(c.get("volumeMounts").items(), c.get("volumeDevices").items()...) {
				used[m.get("name").text()] = true
			}
		}
		for _, v := range w.pod.get("volumes").items() {
			if f := v.get("name"); f.text() != "" && !used[f.text()] {
				s.field(w.object, f, "no container mounts volume %s", quote(f.text()))
			}
		}
	}
}
