package compare

// Names of metrics that pairs of Pods give.
const (
	MemoryFirst = "memory.first"
	MemoryNext  = "memory.next"
)

// Metrics are the metrics, in the order of reports.
func Metrics() []Metric {
	return []Metric{
		{"pod.start", "s", "from sending the create request (labctl's clock) to containerd's StartedAt of the container (the node's clock, difference taken off); the Pod names its node, so no scheduler takes part"},
		{"pod.runtime_start", "s", "the part of it from containerd's record of the sandbox to the container started: runtime, CNI, and kubelet between its two calls"},
		{"pod.ready", "s", "from sending the create request to the API server's event that the Pod is Ready; kubelet looks at containers once a second"},
		{"pod.deleted", "s", "from sending the delete request to the API server's event that the Pod is gone; what doesn't end on SIGTERM is killed after the grace period of 1 s"},
		{"cpu", "ns/op", "a pass of a loop of integer and floating point arithmetic in registers, median round within the Pod"},
		{"syscall", "ns/op", "getpid(2), the bare way into the kernel and back, median round within the Pod"},
		{"pread", "ns/op", "one byte read from an open file (pread(2), in WASI fd_pread), median round within the Pod"},
		{"write", "ns/op", "a file of 1 MiB in the container's root opened and emptied, written in pieces of 64 KiB, closed; no fsync: the page cache, not the disk"},
		{"read", "ns/op", "that file opened, read in pieces of 64 KiB, closed; from the page cache"},
		{MemoryFirst, "bytes", "one Pod at rest after its work, the only one of its class here: Pss of its shim and all processes below it, as the node's /proc has it"},
		{MemoryNext, "bytes", "what a second Pod of the class adds: Pss of both Pods less that of the first alone"},
	}
}
