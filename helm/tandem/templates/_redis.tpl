{{/* Value of the variable with the URL of the session store. */}}
{{- define "tandem.redisUrl" -}}
{{- $external := .Values.redis.external -}}
{{- if .Values.redis.bundled.enabled -}}
{{- if or $external.url $external.existingSecret -}}
{{- fail "redis.bundled.enabled and redis.external are both set: to use your own Redis, set redis.bundled.enabled to false" -}}
{{- end -}}
value: redis://{{ include "tandem.object" (dict "root" . "component" "redis") }}:6379/0
{{- else if $external.existingSecret -}}
valueFrom:
  secretKeyRef: {name: {{ $external.existingSecret }}, key: {{ $external.key }}}
{{- else -}}
value: {{ required "redis.external.url or redis.external.existingSecret is needed where redis.bundled.enabled is false" $external.url | quote }}
{{- end -}}
{{- end -}}
