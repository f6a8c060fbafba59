{{/* Names and labels. The argument of all: the root, or (dict "root" $ "component" "verify"). */}}

{{- define "tandem.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "tandem.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $whole := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $whole .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "tandem.object" -}}
{{- printf "%s-%s" (include "tandem.fullname" .root) .component -}}
{{- end -}}

{{- define "tandem.stack" -}}
{{- default .Release.Name .Values.stack | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels that selectors of this release's own objects use; they never change. */}}
{{- define "tandem.selector" -}}
app.kubernetes.io/name: {{ include "tandem.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels by which network policies know a component of the whole stack, whichever release it is of. */}}
{{- define "tandem.stackSelector" -}}
app.kubernetes.io/part-of: {{ include "tandem.stack" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "tandem.podLabels" -}}
{{ include "tandem.selector" . }}
app.kubernetes.io/part-of: {{ include "tandem.stack" .root }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "tandem.labels" -}}
{{ include "tandem.podLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "tandem.metadata" -}}
name: {{ include "tandem.object" . }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "tandem.labels" . | nindent 2 }}
{{- end -}}

{{/* A service account whose token no pod gets unless it asks for it. */}}
{{- define "tandem.serviceAccount" }}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "tandem.metadata" . | nindent 2 }}
  {{- with .root.Values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end -}}

{{/* The image of a role; `image` are the role's own values. */}}
{{- define "tandem.image" -}}
{{- $all := .root.Values.image -}}
{{- $name := ternary (printf "%s/%s" $all.registry .image.repository) .image.repository (ne $all.registry "") -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $name .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (coalesce .image.tag $all.tag .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
