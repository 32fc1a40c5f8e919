package formats

import "testing"

func TestCompose(t *testing.T) {
	run1(t, []testCase{
		{name: "right", language: "yaml", format: "compose", content: `
services:
  web:
    image: registry.example/web:${TAG:-1.2}
    restart: no
    ports: ["${PORT}:80"]
    env_file: [missing.env]
    environment:
      - TOKEN=${TOKEN:?is needed}
    networks: [front]
    depends_on: [db]
    deploy: {replicas: "${REPLICAS}"}
  db:
    build: ./db
    volumes: ["data:/var/lib"]
networks:
  front: {}
volumes:
  data:
`},
		{name: "several mistakes", language: "yaml", format: "compose", content: `
version: "3.8"
services:
  web:
    image: web:1
    prots: ["80:80"]
    networks: [back]
    depends_on: [cache, db]
  db:
    image: db:1
    ports: 80
    volumes:
      - type: volume
        source: store
        target: /x
`, want: []string{"compose-version 1:1", "compose-invalid 5:5", "compose-invalid 6:16", "compose-invalid 7:18", "compose-invalid 10:5", "compose-invalid 12:9"}},
		{name: "message", language: "yaml", format: "compose", content: `
services:
  web.v1:
    image: web:1
    ports: [[]]
`, want: []string{"compose-invalid 4:13"}, message: "Compose refuses the file: services.web.v1.ports", field: "services[web.v1].ports[0]"},
		{name: "part for another file", language: "yaml", format: "compose", content: `
services:
  web:
    networks: [front]
`},
		{name: "wrong part", language: "yaml", format: "compose", content: `
services:
  web:
    netwroks: [front]
`, want: []string{"compose-invalid 3:5"}, message: "netwroks", field: "services.web.netwroks"},
		{name: "fragment", language: "yaml", format: "compose", content: "web:\n  image: a\n  prots: []\n"},
		{name: "bomb", language: "yaml", format: "compose", content: `
x-a: &a [x, x, x, x, x, x, x, x, x, x]
x-b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]
x-c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]
x-d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]
x-e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]
x-f: &f [*e, *e, *e, *e, *e, *e, *e, *e, *e, *e]
x-g: &g [*f, *f, *f, *f, *f, *f, *f, *f, *f, *f]
services: {web: {image: a, command: *g}}
`, want: []string{"format-unchecked 1:1"}, message: "aliases"},
		{name: "something else", language: "yaml", format: "helm-values", content: "services: {web: {prots: []}}\n"},
	})
}
