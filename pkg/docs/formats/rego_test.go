package formats

import "testing"

func TestRego(t *testing.T) {
	run1(t, []testCase{
		{name: "v1", language: "rego", content: `
package shop.admission

import rego.v1

deny contains msg if {
	some c in input.request.object.spec.containers
	not startswith(c.image, "registry.example/")
	msg := sprintf("%s comes from elsewhere", [c.image])
}
`},
		{name: "v1 import with v0 heads", language: "rego", content: `
package shop.admission

import rego.v1

deny[msg] {
  msg := "no"
}

allow {
  input.ok
}
`, want: []string{"rego-invalid 5:1", "rego-invalid 9:1"}, message: "OPA refuses the policy"},
		{name: "v0", language: "rego", content: `
package shop.admission

deny[msg] {
  input.kind == "Pod"
  msg := "无"
}
`, want: []string{"rego-v0-syntax 3:1"}, message: "v0"},
		{name: "empty body", language: "rego", content: `
package shop
check(image) {
  # later
}
`, want: []string{"rego-invalid 4:1"}},
		{name: "what other files may define", language: "rego", content: `
package shop
allow if {
	input.price > limit
}
`},
		{name: "conflicting rules", language: "rego", content: `
package shop
f(x) := 1
f := 2
`, want: []string{"rego-invalid 2:1"}, message: "conflicting rules"},
		{name: "left out in a line", language: "rego", content: "package shop\nallow if { ... }\n"},
		{name: "functions of other packages", language: "rego", content: `
package shop
import data.lib.images
allow if {
	images.signed(input.image)
	helper(input.image) == 3
}
`},
		{name: "part of a module", language: "rego", content: `
deny[msg] { not input.x; msg := "x" }
}
`},
		{name: "left out", language: "rego", content: `
package shop
allow if {
	...
}
`},
		{name: "two files", language: "rego", content: `
# a.rego
package a
x := 1
# b.rego
package b
x := := 1
`, want: []string{"rego-invalid 6:6"}},
		{name: "another language", language: "go", content: "package a\nfunc f( {\n"},
	})
}

func TestRegoOfConstraintTemplates(t *testing.T) {
	template := func(rest string) string {
		return `
apiVersion: templates.gatekeeper.sh/v1
kind: ConstraintTemplate
metadata:
  name: shopimages
spec:
  targets:
    - target: admission.k8s.gatekeeper.sh
` + rest
	}
	run1(t, []testCase{
		{name: "right", language: "yaml", content: template(`
      rego: |
        package shopimages
        import data.lib.names
        violation[{"msg": msg}] {
          not names.good(input.review.object.metadata.name)
          r := external_data({"provider": "p", "keys": []})
          msg := sprintf("%v", [r])
        }
      libs:
        - |
          package lib.names
          good(n) { startswith(n, "shop-") }
`)},
		{name: "empty body", language: "yaml", content: template(`
      rego: |
        # 检查
        package shopimages

        violation[{"msg": msg}] { not signed(input.x); msg := "x" }

        signed(image) {
        }
`), want: []string{"rego-invalid 16:9"}, message: "Gatekeeper refuses", field: "spec.targets[0].rego"},
		{name: "an unknown function", language: "yaml", content: template(`
      rego: |
        package shopimages
        violation[{"msg": msg}] {
          not verify(input.x)
          msg := "x"
        }
`), want: []string{"rego-invalid 12:11"}, message: "undefined function", field: "spec.targets[0].rego"},
		{name: "an unsafe variable", language: "yaml", content: template(`
      rego: |
        package shopimages
        violation[{"msg": "x"}] { input.price > limit }
`), want: []string{"rego-invalid 11:35"}, message: "limit", field: "spec.targets[0].rego"},
		{name: "no violation", language: "yaml", content: template(`
      rego: |
        package shopimages
        deny[msg] { msg := "x" }
`), want: []string{"rego-invalid 10:9"}, message: "violation", field: "spec.targets[0].rego"},
		{name: "library elsewhere", language: "yaml", content: template(`
      rego: |
        package shopimages
        violation[{"msg": "x"}] { true }
      libs:
        - |
          package names
`), want: []string{"rego-invalid 14:11"}, message: "below lib", field: "spec.targets[0].libs[0]"},
		{name: "a library that is no string", language: "yaml", content: template(`
      rego: |
        package shopimages
        violation[{"msg": "x"}] { data.lib.names.good(input.x) }
        empty { }
      libs:
        - name: names
`), want: []string{"rego-invalid 12:17"}, field: "spec.targets[0].rego"},
		{name: "v1 in a v0 template", language: "yaml", content: template(`
      rego: |
        package shopimages
        violation contains {"msg": "x"} if { input.x }
`), want: []string{"rego-invalid 11:34"}, message: "it is Rego v1", field: "spec.targets[0].rego"},
		{name: "v1 by its source", language: "yaml", content: template(`
      code:
        - engine: Rego
          source:
            version: v1
            rego: |
              package shopimages
              violation contains {"msg": "x"} if { input.x }
        - engine: K8sNativeValidation
          source: {}
`)},
		{name: "a block that says how it is indented", language: "yaml", content: template(`
      rego: |2
          package shopimages
          violation[{"msg": "x"}] { }
`), want: []string{"rego-invalid 11:37"}, field: "spec.targets[0].rego"},
		{name: "another group", language: "yaml", content: `
apiVersion: example.org/v1
kind: ConstraintTemplate
spec: {targets: [{rego: "package a b"}]}
`},
	})
}

func TestRegoOfConfigMaps(t *testing.T) {
	run1(t, []testCase{
		{name: "wrong", language: "yaml", content: `
apiVersion: v1
kind: ConfigMap
metadata: {name: policies, namespace: opa}
data:
  main.rego: |
    package main
    allow if { input.x = }
`, want: []string{"rego-invalid 7:26"}, field: "data[main.rego]"},
		{name: "right", language: "yaml", content: `
apiVersion: v1
kind: ConfigMap
metadata: {name: policies}
data:
  main.rego: |
    package main
    allow if { input.x }
  owner: me
`},
	})
}
