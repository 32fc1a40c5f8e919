package formats

import "testing"

func TestTOML(t *testing.T) {
	run1(t, []testCase{
		{name: "right", language: "toml", content: "a = 1\n[b]\nc = \"d\"\n"},
		{name: "wrong", language: "toml", content: "a = 1\nb = c\n", want: []string{"toml-invalid 2:5"}, message: "doesn't parse"},
		{name: "a table twice", language: "toml", content: "[a]\nx = 1\n[a]\ny = 2\n", want: []string{"toml-invalid 3:2"}, message: "already"},
		{name: "a template", language: "toml", content: "{{ template \"base\" . }}\n[a]\n"},
		{name: "left out", language: "toml", content: "[a]\n...\n"},
		{name: "left out in a line", language: "toml", content: "a = { ... }\n"},
		{name: "another language", language: "text", content: "b = c\n"},
	})
}

func TestContainerdTables(t *testing.T) {
	run1(t, []testCase{
		{name: "version 2", language: "toml", content: `
version = 2
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runsc]
  runtime_type = "io.containerd.runsc.v1"
`},
		{name: "version 3", language: "toml", content: `
version = 3
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runsc]
  runtime_type = "io.containerd.runsc.v1"
[plugins.'io.containerd.grpc.v1.cri']
  stream_server_port = "10010"
[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = "/etc/containerd/certs.d"
`},
		{name: "tables of version 2 in version 3", language: "toml", content: `
version = 3
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.10"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runsc]
    runtime_type = "io.containerd.runsc.v1"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "/etc/containerd/certs.d"
`, want: []string{"containerd-v2-tables 3:3", "containerd-v2-tables 4:3", "containerd-v2-tables 6:3"},
			message: "io.containerd.cri.v1.images", field: `plugins."io.containerd.grpc.v1.cri".sandbox_image`},
		{name: "tables of version 3 in version 2", language: "toml", content: `
version = 2
[plugins]
[plugins."io.containerd.cri.v1.runtime"]
  enable_selinux = true
`, want: []string{"containerd-v2-tables 3:1"}, message: "version = 3", field: `plugins."io.containerd.cri.v1.runtime"`},
		{name: "a part", language: "toml", content: `
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
`},
	})
}
