package rules

func init() {
	cases["missing-separator"] = []example{
		{"three objects", []string{`
# the first
apiVersion: v1
kind: Namespace
metadata:
  name: shop

# 第二个对象
apiVersion: v1
kind: ServiceAccount
metadata: {name: till, namespace: shop}
kind: ConfigMap
apiVersion: v1
metadata: {name: prices}
`}, []string{`9:1 "Namespace shop" would be lost, only the last of the 3`, `12:1 "Namespace shop", "ServiceAccount shop/till" would be lost`}},
		{"with separators", []string{`
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: till}
`}, nil},
		{"only one key twice", []string{`
apiVersion: v1
kind: Namespace
kind: ServiceAccount
metadata: {name: till}
`}, nil},
		{"blocks of their own", []string{"apiVersion: v1\nkind: Namespace\nmetadata: {name: a}", "apiVersion: v1\nkind: Namespace\nmetadata: {name: b}"}, nil},
	}
	cases["duplicate-key"] = []example{
		{"label", []string{`
apiVersion: v1
kind: Service
metadata:
  name: web
  labels:
    app: web
  labels:
    tier: front
`}, []string{`8:3 "metadata.labels" is already given on line 6`}},
		{"in an object after a missing separator", []string{`
apiVersion: v1
kind: Namespace
metadata: {name: a}
apiVersion: v1
kind: Namespace
metadata: {name: b, name: c}
`}, []string{`7:21 "metadata.name" is already given`}},
		{"a missing separator alone", []string{`
apiVersion: v1
kind: Namespace
metadata: {name: a}
apiVersion: v1
kind: Namespace
metadata: {name: b}
`}, nil},
		{"several merges", []string{"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  <<: &a {x: y}\n  <<: &b {z: y}"}, nil},
		{"the same key elsewhere", []string{`
apiVersion: v1
kind: Pod
metadata: {name: a}
spec: {containers: [{name: a, image: nginx}, {name: b, image: nginx}]}
`}, nil},
	}
	cases["object-twice"] = []example{
		{"two namespaces", []string{`
apiVersion: v1
kind: Namespace
metadata:
  name: shop
  labels: {a: b}
---
apiVersion: v1
kind: Namespace
metadata:
  name: shop
  labels: {c: d}
`}, []string{`11:9 "Namespace shop" stands on line 2 already`}},
		{"other namespace", []string{`
apiVersion: v1
kind: ServiceAccount
metadata: {name: till, namespace: a}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: till, namespace: b}
`}, nil},
		{"alternatives in two blocks", []string{"apiVersion: v1\nkind: Namespace\nmetadata: {name: a}", "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {x: y}}"}, nil},
		{"names by the server", []string{"apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: a-}\n---\napiVersion: batch/v1\nkind: Job\nmetadata: {generateName: a-}"}, nil},
	}
}
