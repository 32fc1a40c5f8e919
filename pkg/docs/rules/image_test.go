package rules

func init() {
	pod := func(image string) string {
		return "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: a\n    image: " + image
	}
	cases["image-invalid"] = []example{
		{"upper case", []string{pod("registry.k8s.io/MyApp:1")}, []string{`8:12 "registry.k8s.io/MyApp:1" is no image reference: repository name`}},
		{"space", []string{pod(`"nginx :1"`)}, []string{`8:12 is no image reference`}},
		{"scheme", []string{pod("https://ghcr.io/a/b:1")}, []string{`8:12 is no image reference`}},
		{"digest too short", []string{pod("nginx@sha256:abc")}, []string{`8:12 is no image reference`}},
		{"init container of a CronJob", []string{`
apiVersion: batch/v1
kind: CronJob
metadata: {name: a}
spec:
  jobTemplate:
    spec:
      template:
        spec:
          initContainers: [{name: a, image: "a b"}]
`}, []string{`10:45 is no image reference`}},
		{"right ones", []string{pod("nginx"), pod("ghcr.io/a_b/c--d.e:v1.2_3-X"), pod("localhost:5000/a@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"), pod("ko://example.com/cmd")}, nil},
		{"what others name", []string{pod("<IMAGE>"), pod("${IMAGE}"), pod("$(IMAGE)"), pod(`"{{ .Values.image }}"`), pod("YOUR_IMAGE")}, nil},
	}
	cases["image-placeholder"] = []example{
		{"no official image", []string{pod("myapp:latest")}, []string{`8:12 "myapp:latest" means docker.io/library/myapp`}},
		{"typing mistake", []string{pod("ngnix")}, []string{`8:12 means docker.io/library/ngnix`}},
		{"reserved domain", []string{pod("registry.example.com/shop/till:1")}, []string{`8:12 reserved for examples`}},
		{"stand-ins", []string{pod("your-registry/till:1"), pod("myregistry.io:5000/till"), pod("docker.io/yourname/till")}, []string{`8:12 "your-registry" in`, `18:12 "myregistry.io:5000" in`, `28:12 "yourname" in`}},
		{"real ones", []string{pod("nginx:1.27"), pod("docker.io/library/redis"), pod("grafana/grafana"), pod("registry.k8s.io/pause:3.10"), pod("mysql"), pod("quay.io/myteam-tools/x"), pod("ghcr.io/yours/x")}, nil},
		{"built in the document", []string{"#!\ndocker build \\\n  -t till:v1 .", "#!\nkind load docker-image local/drawer:v2 && docker push --tag=registry.example.com/x:1", pod("till:v1"), pod("registry.example.com/x:1")}, nil},
		{"run is not built", []string{"#!\nkubectl run --image=till:v1", pod("till:v1")}, []string{`12:12 means docker.io/library/till`}},
	}
}
