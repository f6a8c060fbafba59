{{/* Where a pool's model comes from: the image, a folder in a volume, or a Hugging Face id that a Job fetches. */}}

{{/* Folder of a model in a pod, empty for the one in the image. The argument: `model` of a pool. */}}
{{- define "tandem.modelFolder" -}}
{{- if .id -}}
/var/lib/tandem/models/{{ ternary (printf "%s@%s" .id .revision) .id (ne .revision "") | replace "/" "--" }}
{{- else if .path -}}
/var/lib/tandem/models/{{ .path | trimAll "/" }}
{{- end -}}
{{- end -}}

{{/* Claim of its volume. */}}
{{- define "tandem.modelClaim" -}}
{{- coalesce .model.existingClaim .root.Values.modelCache.existingClaim (printf "%s-models" (include "tandem.fullname" .root)) -}}
{{- end -}}

{{- define "tandem.modelVolume" -}}
{{- if or .model.id .model.path }}
- name: models
  persistentVolumeClaim:
    claimName: {{ include "tandem.modelClaim" . }}
    readOnly: true
{{- end }}
{{- end -}}

{{- define "tandem.modelMount" -}}
{{- if or .model.id .model.path }}
- {name: models, mountPath: /var/lib/tandem/models, readOnly: true}
{{- end }}
{{- end -}}

{{/* Waits until the Job has fetched the model: a service that finds none would end, and be started ever more rarely. */}}
{{- define "tandem.modelWait" -}}
{{- if .model.id }}
initContainers:
  - name: wait-for-model
    image: {{ include "tandem.image" . }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    command: [sh, -c]
    args: ['until [ -e "$0/.complete" ]; do echo "waiting for $0"; sleep 5; done', {{ include "tandem.modelFolder" .model }}]
    {{- include "tandem.containerSecurity" . | nindent 4 }}
    resources:
      requests: {cpu: 10m, memory: 16Mi}
      limits: {memory: 32Mi}
    volumeMounts:
      {{- include "tandem.modelMount" . | nindent 6 }}
{{- end }}
{{- end -}}

{{/* The pod that fetches a model. The argument: root, pool. */}}
{{- define "tandem.fetchPod" -}}
metadata:
  labels:
    {{- include "tandem.podLabels" (dict "root" .root "component" "fetch") | nindent 4 }}
  {{- with .root.Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  restartPolicy: OnFailure
  automountServiceAccountToken: false
  {{- include "tandem.podSecurity" . | nindent 2 }}
  {{- with .pool.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .pool.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: fetch
      image: {{ include "tandem.image" (dict "root" .root "image" .root.Values.orchestrator.image) }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      command: [tandem, fetch]
      args:
        - {{ .pool.model.id }}
        - --into={{ include "tandem.modelFolder" .pool.model }}
        {{- with .pool.model.revision }}
        - --revision={{ . }}
        {{- end }}
      env:
        - {name: HOME, value: /tmp}
        {{- with .root.Values.modelCache.tokenSecret }}
        - name: HF_TOKEN
          valueFrom:
            secretKeyRef: {name: {{ . }}, key: token}
        {{- end }}
      {{- include "tandem.containerSecurity" . | nindent 6 }}
      resources:
        {{- toYaml .root.Values.modelCache.resources | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        - {name: models, mountPath: /var/lib/tandem/models}
  volumes:
    - name: tmp
      emptyDir: {}
    - name: models
      persistentVolumeClaim:
        claimName: {{ include "tandem.modelClaim" (dict "root" .root "model" .pool.model) }}
{{- end -}}
