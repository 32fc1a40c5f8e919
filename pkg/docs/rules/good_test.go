package rules

// good is a document in which everything belongs together and nothing is
// wrong, in the way in which pages about Kubernetes show things.
var good = []string{`
apiVersion: v1
kind: Namespace
metadata:
  name: shop
  labels:
    pod-security.kubernetes.io/enforce: restricted
    istio-injection: enabled
`, `
apiVersion: v1
kind: ConfigMap
metadata:
  name: prices
  namespace: shop
data:
  prices.json: |
    {"tea": "<b>2</b>", "template": "{{ .price }} ${CURRENCY}"}
  CURRENCY: EUR
---
apiVersion: v1
kind: Secret
metadata:
  name: database
  namespace: shop
type: Opaque
stringData:
  password: changeme
`, `
# Frontend 前端
apiVersion: apps/v1
kind: Deployment
metadata:
  name: till
  namespace: shop
  labels: {app.kubernetes.io/name: till}
spec:
  replicas: 3
  selector:
    matchLabels: {app.kubernetes.io/name: till}
  template:
    metadata:
      labels: {app.kubernetes.io/name: till, app.kubernetes.io/part-of: shop}
      annotations: {prometheus.io/scrape: "true"}
    spec:
      serviceAccountName: till
      securityContext: {runAsNonRoot: true, runAsUser: 101, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: till
        image: nginxinc/nginx-unprivileged:1.27-alpine@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
        command: ["sh", "-c", "echo ${HOSTNAME} $(POD) <none> && exec nginx -g 'daemon off;'"]
        ports:
        - {name: http, containerPort: 8080}
        - {name: metrics, containerPort: 9113}
        env:
        - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: PASSWORD, valueFrom: {secretKeyRef: {name: database, key: password}}}
        - {name: CURRENCY, valueFrom: {configMapKeyRef: {name: prices, key: CURRENCY}}}
        readinessProbe: {httpGet: {path: /, port: http}}
        livenessProbe: {httpGet: {path: /, port: 8080}}
        resources:
          requests: {cpu: 100m, memory: 64Mi}
          limits: {memory: 128Mi}
        securityContext:
          allowPrivilegeEscalation: false
          capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}
        volumeMounts: [{name: prices, mountPath: /prices}]
      volumes:
      - name: prices
        configMap: {name: prices, items: [{key: prices.json, path: prices.json}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: till, namespace: shop}
---
apiVersion: v1
kind: Service
metadata: {name: till, namespace: shop}
spec:
  selector: {app.kubernetes.io/name: till}
  ports:
  - {name: http, port: 80, targetPort: http}
  - {name: metrics, port: 9113}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: till, namespace: shop}
spec:
  ingressClassName: nginx
  rules:
  - host: shop.example.com
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: till, port: {name: http}}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: till, namespace: shop}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: till}
  minReplicas: 3
  maxReplicas: 10
  metrics:
  - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: till, namespace: shop}
spec:
  minAvailable: 2
  selector: {matchLabels: {app.kubernetes.io/name: till}}
`, `
# Deny everything, then allow what is needed.
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: default-deny-all, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow-dns, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Egress]
  egress:
  - to:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
      podSelector: {matchLabels: {k8s-app: kube-dns}}
    ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: till, namespace: shop}
spec:
  podSelector: {matchLabels: {app.kubernetes.io/name: till}}
  policyTypes: [Ingress, Egress]
  ingress:
  - ports: [{port: http}]
  egress:
  - to: [{podSelector: {matchLabels: {app.kubernetes.io/name: database}}}]
    ports: [{port: 5432}]
`, `
apiVersion: v1
kind: Service
metadata: {name: database, namespace: shop}
spec:
  clusterIP: None
  selector: {app.kubernetes.io/name: database}
  ports: [{name: sql, port: 5432}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: database, namespace: shop}
spec:
  serviceName: database
  selector: {matchLabels: {app.kubernetes.io/name: database}}
  template:
    metadata: {labels: {app.kubernetes.io/name: database}}
    spec:
      containers:
      - name: postgres
        image: postgres:17
        ports: [{name: sql, containerPort: 5432}]
        envFrom: [{secretRef: {name: database}}]
        volumeMounts: [{name: data, mountPath: /var/lib/postgresql/data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Gi}}}
`, `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: till, namespace: shop}
rules:
- {apiGroups: [""], resources: [pods, pods/log, configmaps], verbs: [get, list, watch]}
- {apiGroups: [apps], resources: [deployments], verbs: [get]}
- {apiGroups: [serving.knative.dev], resources: [services], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: till, namespace: shop}
subjects: [{kind: ServiceAccount, name: till, namespace: shop}]
roleRef: {kind: Role, name: till, apiGroup: rbac.authorization.k8s.io}
`, `
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: sandbox}
handler: runsc
overhead: {podFixed: {memory: 64Mi}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: report, namespace: shop}
spec:
  schedule: "0 3 * * *"
  jobTemplate:
    spec:
      template:
        spec:
          runtimeClassName: sandbox
          restartPolicy: OnFailure
          containers:
          - name: report
            image: busybox:1.37
            command: [sh, -c, "date > /report/$(date +%F) 2>/dev/null"]
            volumeMounts: [{name: report, mountPath: /report}]
          volumes: [{name: report, emptyDir: {sizeLimit: 10Mi}}]
`, `
apiVersion: argoproj.io/v1alpha1
kind: ApplicationSet
metadata: {name: shops, namespace: argocd}
spec:
  generators: [{list: {elements: [{city: bern, url: "https://bern.example.com"}]}}]
  template:
    metadata: {name: "shop-{{city}}"}
    spec:
      project: default
      source: {repoURL: "https://git.example.com/shop.git", path: "cities/{{city}}", targetRevision: HEAD}
      destination: {server: "{{url}}", namespace: shop}
---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata: {name: till, namespace: shop}
spec:
  groups:
  - name: till
    rules:
    - alert: Down
      expr: up{job="till"} < 1
      annotations: {summary: "{{ $labels.pod }} is down since {{ $value }}"}
`, "#!\nkubectl apply -f - <<EOF\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: ${CITY}\nEOF"}
