{{/* What all pods have in common: who they run as, what they may do, where they run. */}}

{{/* Of every pod: Pod Security "restricted", no variables of services (unknown TANDEM_ ones are refused by name). */}}
{{- define "tandem.podSecurity" -}}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "tandem.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* Nodes of a role; `own` are its values. */}}
{{- define "tandem.scheduling" -}}
{{- with .own.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .own.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .own.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .own.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if ne .own.topologySpread "none" }}
topologySpreadConstraints:
  {{- /* Zones are never required: where nodes have none, no pod would be placed. */}}
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: {{ ternary "DoNotSchedule" "ScheduleAnyway" (and (eq $.own.topologySpread "require") (eq . "kubernetes.io/hostname")) }}
    labelSelector:
      matchLabels:
        {{- include "tandem.selector" $ | nindent 8 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Life cycle of a service's container. Start-up covers loading, liveness is the process's own watchdog, and
     readiness is for whoever sends it work. On the metrics port, which stays plain HTTP under TLS. */}}
{{- define "tandem.lifecycle" -}}
{{- $own := .own -}}
startupProbe:
  httpGet: {path: {{ .startupPath }}, port: metrics}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: {{ div (add $own.startupSeconds 1) 2 }}
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
{{- if $own.preStopSeconds }}
lifecycle:
  preStop:
    exec: {command: [sleep, {{ $own.preStopSeconds | quote }}]}
{{- end }}
{{- end -}}

{{/* A pod disruption budget of a role; `own` are its values. */}}
{{- define "tandem.podDisruptionBudget" -}}
{{- if .own.podDisruptionBudget.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "tandem.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ .own.podDisruptionBudget.maxUnavailable }}
  selector:
    matchLabels:
      {{- include "tandem.selector" . | nindent 6 }}
{{- end }}
{{- end -}}
