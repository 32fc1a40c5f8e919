package main

import (
	"fmt"
	"strings"
)

// templates are objects as documents have them. #N is the object's number; a
// line that begins with + is only in broken objects, one with - only in
// others.
var templates = []string{
	`apiVersion: apps/v1
kind: Deployment
metadata:
  name: web-#N
  labels: {app.kubernetes.io/name: web-#N}
spec:
  replicas: 3
+  replica: 3
  selector:
    matchLabels: {app.kubernetes.io/name: web-#N}
  template:
    metadata:
      labels: {app.kubernetes.io/name: web-#N}
    spec:
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: web
          image: registry.example.com/web:1.#N
          ports:
            - name: http
              containerPort: 8080
          env:
            - name: MODE # 模式
              value: "production"
            - name: POD
              valueFrom: {fieldRef: {fieldPath: metadata.name}}
          resources:
            requests: {cpu: 100m, memory: 64Mi}
            limits: {memory: 128Mi}
          readinessProbe:
            httpGet: {path: /ready, port: http}
            periodSeconds: 5
          volumeMounts:
            - {name: data, mountPath: /data}
      volumes:
        - name: data
          emptyDir: {sizeLimit: 1Gi}
`,
	`apiVersion: v1
kind: Service
metadata:
  name: web-#N
spec:
  type: ClusterIP
  selector: {app.kubernetes.io/name: web-#N}
  ports:
    - name: http
-      port: 80
+      port: "80"
      targetPort: http
`,
	`apiVersion: v1
kind: ConfigMap
metadata:
  name: settings-#N
data:
-  level: "3"
+  level: 3
  settings.yaml: |
    server:
      listen: 0.0.0.0:8080
      workers: #N
    log: {level: info, format: json}
`,
	`apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  name: web-#N
spec:
  dnsNames: [web-#N.example.com]
-  secretName: web-#N-tls
  issuerRef:
    name: letsencrypt
    kind: ClusterIssuer
`,
	`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: web-#N
spec:
  hosts: [web-#N.example.com]
  http:
    - match:
        - uri: {prefix: /api}
+          header: {}
      route:
        - destination: {host: web-#N, subset: v1}
          weight: 90
        - destination: {host: web-#N, subset: v2}
          weight: 10
      timeout: 5s
`,
}

// generate writes objects, of each template in turn.
func generate(n int) []string {
	texts := make([]string, n)
	for i := range n {
		// The template changes with the round, so that broken ones are of all.
		bad := i%broken == broken/2
		template := templates[i%len(templates)]
		if bad {
			template = templates[i/broken%len(templates)]
		}
		var b strings.Builder
		for line := range strings.Lines(template) {
			switch {
			case line[0] == '+' && !bad, line[0] == '-' && bad:
				continue
			case line[0] == '+', line[0] == '-':
				line = line[1:]
			}
			b.WriteString(line)
		}
		texts[i] = strings.ReplaceAll(b.String(), "#N", fmt.Sprint(i))
	}
	return texts
}
