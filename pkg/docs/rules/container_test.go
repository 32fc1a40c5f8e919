package rules

func init() {
	pod := func(container, more string) string {
		return "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: a\n    image: nginx\n" + container + "\n" + more
	}
	capability := func(list string) string {
		return pod("    securityContext:\n      capabilities:\n        add:\n        - "+list, "")
	}
	cases["capability-prefix"] = []example{
		{"prefix", []string{capability("CAP_NET_ADMIN\n        drop: [cap_chown]")}, []string{`12:11 write NET_ADMIN, not "CAP_NET_ADMIN"`, `13:16 write CHOWN`}},
		{"none", []string{capability("NET_ADMIN\n        drop: [ALL]")}, nil},
	}
	cases["capability-unknown"] = []example{
		{"typing mistake", []string{capability("NET_ADMN")}, []string{`12:11 Linux has no capability "NET_ADMN"`}},
		{"known", []string{capability("sys_ptrace\n        drop: [ALL, CHECKPOINT_RESTORE, CAP_BPF]")}, nil},
	}
	ports := "    ports: [{name: http, containerPort: 80}]\n"
	cases["probe-port-unknown"] = []example{
		{"readiness", []string{pod(ports+"    readinessProbe:\n      httpGet: {path: /, port: web}", "")}, []string{`11:32 container "a" has no port named "web"`}},
		{"hook", []string{pod(ports+"    lifecycle: {preStop: {tcpSocket: {port: metrics}}}", "")}, []string{`10:45 no port named "metrics"`}},
		{"named", []string{pod(ports+"    readinessProbe:\n      httpGet: {path: /, port: http}\n    livenessProbe: {tcpSocket: {port: 81}}", "")}, nil},
		{"no name at all", []string{pod(ports+"    readinessProbe:\n      httpGet: {path: /, port: \"${PORT}\"}", "")}, nil},
	}
	cases["run-as-root-conflict"] = []example{
		{"container", []string{pod("    securityContext: {runAsNonRoot: true, runAsUser: 0}", "")}, []string{`9:54 container "a" may not run as user 0`}},
		{"Pod's user, container's rule", []string{pod("    securityContext: {runAsNonRoot: true}", "  securityContext:\n    runAsUser: 0")}, []string{`11:16 container "a"`}},
		{"the container has another", []string{pod("    securityContext: {runAsUser: 1000}", "  securityContext: {runAsUser: 0, runAsNonRoot: true}"), pod("    securityContext: {runAsUser: 0}", "")}, nil},
	}
	resources := func(q string) string { return pod("    resources: {limits: {"+q+"}}", "") }
	cases["quantity-implausible"] = []example{
		{"no unit", []string{resources("memory: 512")}, []string{`9:34 memory of "512" is 512 bytes`}},
		{"cores", []string{resources("cpu: 500")}, []string{`9:31 cpu of "500" is 500 cores`}},
		{"claim", []string{"apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: a}\nspec: {resources: {requests: {storage: 10}}}"}, []string{`5:40 storage of "10" is 10 bytes`}},
		{"plausible", []string{resources("memory: 128Mi, cpu: 500m"), resources("memory: 134217728, cpu: 64"), resources("memory: 1e9, cpu: 0.5"), resources("memory: x"), resources("memory: 512m"), resources("memory: 0")}, nil},
	}
	cases["volume-unmounted"] = []example{
		{"one of two", []string{pod("    volumeMounts: [{name: data, mountPath: /data}]", "  volumes:\n  - name: data\n    emptyDir: {}\n  - name: scripts\n    configMap: {name: a, optional: true}")}, []string{`13:11 no container mounts volume "scripts"`}},
		{"init container, block device", []string{pod("    volumeDevices: [{name: disk, devicePath: /dev/x}]", "  initContainers: [{name: b, image: nginx, volumeMounts: [{name: data, mountPath: /a}]}]\n  volumes: [{name: data, emptyDir: {}}, {name: disk, emptyDir: {}}]")}, nil},
	}
}
