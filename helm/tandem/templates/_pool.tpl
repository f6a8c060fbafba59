{{/* A pool of replicas that run a model: all that draft.yaml and verify.yaml have in common.
     The argument: root, component, own (the pool's values), modelFlag, numGpus, args. */}}
{{- define "tandem.pool" -}}
{{- $own := .own -}}
{{- $folder := include "tandem.modelFolder" $own.model -}}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "tandem.metadata" . | nindent 2 }}
spec:
  {{- if not $own.autoscaling.enabled }}
  replicas: {{ $own.replicas }}
  {{- end }}
  strategy:
    rollingUpdate: {maxUnavailable: {{ $own.rollingUpdate.maxUnavailable }}, maxSurge: {{ $own.rollingUpdate.maxSurge }}}
  selector:
    matchLabels:
      {{- include "tandem.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "tandem.podLabels" . | nindent 8 }}
      {{- with .root.Values.podAnnotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      serviceAccountName: {{ include "tandem.object" . }}
      automountServiceAccountToken: false
      {{- include "tandem.podSecurity" . | nindent 6 }}
      {{- if and $own.gpu.enabled $own.gpu.runtimeClassName }}
      runtimeClassName: {{ $own.gpu.runtimeClassName }}
      {{- end }}
      {{- /* Handing over takes at most five seconds, and what is behind them is a margin. */}}
      terminationGracePeriodSeconds: {{ add $own.preStopSeconds 15 }}
      {{- include "tandem.scheduling" . | nindent 6 }}
      {{- include "tandem.modelWait" (dict "root" .root "model" $own.model "image" $own.image) | nindent 6 }}
      containers:
        - name: {{ .component }}
          image: {{ include "tandem.image" (dict "root" .root "image" $own.image) }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          args:
            - --host=0.0.0.0
            - --port=7070
            - --metrics-port=9090
            {{- with $folder }}
            - {{ $.modelFlag }}={{ . }}
            {{- end }}
            {{- range .args }}
            - {{ . }}
            {{- end }}
          env:
            {{- include "tandem.settings" . | nindent 12 }}
            - {name: HF_HUB_OFFLINE, value: "1"}
            {{- if and (dig "limits" "cpu" "" $own.resources) (not (hasKey $own.settings "threads")) }}
            - name: TANDEM_{{ upper .component }}_THREADS
              valueFrom:
                resourceFieldRef: {containerName: {{ .component }}, resource: limits.cpu}
            {{- end }}
          ports:
            - {name: grpc, containerPort: 7070}
            - {name: metrics, containerPort: 9090}
          {{- include "tandem.lifecycle" (dict "own" $own "startupPath" "/readyz") | nindent 10 }}
          {{- include "tandem.containerSecurity" . | nindent 10 }}
          {{- $resources := deepCopy $own.resources }}
          {{- if $own.gpu.enabled }}
          {{- $_ := set $resources "limits" (set (default dict $resources.limits) $own.gpu.resource .numGpus) }}
          {{- end }}
          resources:
            {{- toYaml $resources | nindent 12 }}
          volumeMounts:
            {{- include "tandem.mounts" . | nindent 12 }}
            {{- include "tandem.modelMount" (dict "model" $own.model) | nindent 12 }}
            {{- if gt (int .numGpus) 1 }}
            - {name: shm, mountPath: /dev/shm}
            {{- end }}
      volumes:
        {{- include "tandem.volumes" . | nindent 8 }}
        {{- include "tandem.modelVolume" (dict "root" .root "model" $own.model) | nindent 8 }}
        {{- if gt (int .numGpus) 1 }}
        - name: shm
          emptyDir: {medium: Memory, sizeLimit: 2Gi}
        {{- end }}
---
# Headless: its EndpointSlices say which replicas there are, each of which is spoken with by itself.
apiVersion: v1
kind: Service
metadata:
  {{- include "tandem.metadata" . | nindent 2 }}
spec:
  clusterIP: None
  selector:
    {{- include "tandem.selector" . | nindent 4 }}
  ports:
    - {name: grpc, port: 7070, targetPort: grpc, appProtocol: kubernetes.io/h2c}
    - {name: metrics, port: 9090, targetPort: metrics}
{{- include "tandem.serviceAccount" . }}
{{- include "tandem.podDisruptionBudget" . }}
{{- include "tandem.autoscaling" . }}
{{- end -}}
