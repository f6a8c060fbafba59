{{/* What a role scales on: metrics of its pods, each with the value of one replica at which it has enough to do. */}}
{{- define "tandem.signals" -}}
{{- $targets := .own.autoscaling.targets -}}
{{- if eq .component "verify" }}
num_rounds_waiting: {{ $targets.roundsWaiting }}
kv_cache_usage_perc: {{ $targets.kvUsage }}
{{- else if eq .component "draft" }}
busy_share: {{ $targets.busyShare }}
queue_wait_seconds: {{ $targets.queueWaitSeconds }}
speculation_deficit: {{ $targets.speculationDeficit }}
{{- else }}
num_requests_running: {{ $targets.streams }}
{{- end }}
{{- end -}}

{{/* Up at once and by as many again, down one at a time and only after minutes of less. */}}
{{- define "tandem.behavior" -}}
{{- $own := .own.autoscaling -}}
scaleUp:
  stabilizationWindowSeconds: {{ $own.scaleUp.stabilizationSeconds }}
  selectPolicy: Max
  policies:
    - {type: Percent, value: {{ $own.scaleUp.percent }}, periodSeconds: {{ $own.scaleUp.periodSeconds }}}
    - {type: Pods, value: {{ $own.scaleUp.pods }}, periodSeconds: {{ $own.scaleUp.periodSeconds }}}
scaleDown:
  stabilizationWindowSeconds: {{ $own.scaleDown.stabilizationSeconds }}
  policies:
    - {type: Pods, value: {{ $own.scaleDown.pods }}, periodSeconds: {{ $own.scaleDown.periodSeconds }}}
{{- end -}}

{{/* The autoscaler of a role: a HorizontalPodAutoscaler, or with KEDA a ScaledObject on the same metrics. */}}
{{- define "tandem.autoscaling" -}}
{{- $own := .own.autoscaling -}}
{{- if $own.enabled }}
{{- $keda := .root.Values.keda }}
{{- if gt (int $own.minReplicas) (int $own.maxReplicas) }}
{{- fail (printf "%s.autoscaling.minReplicas is %d, more than maxReplicas %d" .component (int $own.minReplicas) (int $own.maxReplicas)) }}
{{- end }}
{{- if and (eq (int $own.minReplicas) 0) (not $keda.enabled) }}
{{- fail (printf "%s.autoscaling.minReplicas is 0, which a HorizontalPodAutoscaler cannot do: set keda.enabled, or 1" .component) }}
{{- end }}
---
{{- if $keda.enabled }}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  {{- include "tandem.metadata" . | nindent 2 }}
spec:
  scaleTargetRef: {name: {{ include "tandem.object" . }}}
  minReplicaCount: {{ $own.minReplicas }}
  maxReplicaCount: {{ $own.maxReplicas }}
  pollingInterval: 15
  cooldownPeriod: {{ $own.scaleDown.stabilizationSeconds }}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        {{- include "tandem.behavior" . | nindent 8 }}
  triggers:
    {{- range $metric, $target := include "tandem.signals" . | fromYaml }}
    - type: prometheus
      metricType: AverageValue
      metadata:
        serverAddress: {{ required "keda.prometheusAddress is needed where keda.enabled is true" $keda.prometheusAddress }}
        query: sum(avg_over_time(tandem:{{ $metric }}{namespace="{{ $.root.Release.Namespace }}",pod=~"{{ include "tandem.object" $ }}-.+"}[1m]))
        threshold: {{ $target | quote }}
    {{- end }}
    {{- if eq .component "draft" }}
    {{- /* Wakes a pool of none, which has no metrics of its own, as soon as somebody generates. */}}
    - type: prometheus
      metricType: AverageValue
      metadata:
        serverAddress: {{ $keda.prometheusAddress }}
        query: sum(max_over_time(tandem:num_requests_running{namespace="{{ .root.Release.Namespace }}",component="orchestrator",stack="{{ include "tandem.stack" .root }}"}[1m]))
        threshold: {{ $own.targets.streams | quote }}
        activationThreshold: "0"
    {{- if $own.followAdvisor }}
    - type: prometheus
      metricType: AverageValue
      metadata:
        serverAddress: {{ $keda.prometheusAddress }}
        query: max(avg_over_time(tandem:draft_replicas_per_verify_replica{namespace="{{ .root.Release.Namespace }}",stack="{{ include "tandem.stack" .root }}"}[2m])) * max(tandem:replicas{role="verify",state="accepted",namespace="{{ .root.Release.Namespace }}",stack="{{ include "tandem.stack" .root }}"})
        threshold: "1"
        activationThreshold: "1000000" # advice alone neither wakes a pool nor keeps it
    {{- end }}
    {{- end }}
{{- else }}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "tandem.metadata" . | nindent 2 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ include "tandem.object" . }}}
  minReplicas: {{ $own.minReplicas }}
  maxReplicas: {{ $own.maxReplicas }}
  behavior:
    {{- include "tandem.behavior" . | nindent 4 }}
  metrics:
    {{- range $metric, $target := include "tandem.signals" . | fromYaml }}
    - type: Pods
      pods:
        metric: {name: tandem_{{ $metric }}}
        target: {type: AverageValue, averageValue: {{ printf "%dm" (int64 (mulf 1000.0 $target)) | quote }}}
    {{- end }}
    {{- if and (eq .component "draft") $own.followAdvisor }}
    - type: External
      external:
        metric:
          name: tandem_draft_replicas_wanted
          selector:
            matchLabels: {stack: {{ include "tandem.stack" .root }}}
        target: {type: AverageValue, averageValue: "1"}
    {{- end }}
{{- end }}
{{- end }}
{{- end -}}
