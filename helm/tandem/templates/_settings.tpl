{{/* Environment of a service. */}}

{{/* A value of `settings` as the text of a variable; numbers are never written 1e+06. */}}
{{- define "tandem.settingText" -}}
{{- ternary . (toJson .) (kindIs "string" .) -}}
{{- end -}}

{{/* Variables of a role: `settings` of its values, and what holds for all roles. */}}
{{- define "tandem.settings" -}}
{{- $role := upper .component -}}
- {name: TANDEM_LOG_LEVEL, value: {{ .root.Values.logLevel | quote }}}
- {name: HOME, value: /tmp}
{{- if .root.Values.tls.services.enabled }}
- {name: TANDEM_TLS_CERT, value: /etc/tandem/tls/tls.crt}
- {name: TANDEM_TLS_KEY, value: /etc/tandem/tls/tls.key}
- {name: TANDEM_TLS_CA, value: /etc/tandem/tls/ca.crt}
- {name: TANDEM_TLS_NAME, value: {{ include "tandem.tlsName" .root }}}
{{- end }}
{{- range $name, $value := .own.settings }}
- name: TANDEM_{{ $role }}_{{ $name | snakecase | upper }}
  value: {{ include "tandem.settingText" $value | quote }}
{{- end }}
{{- end -}}

{{/* Name that the services' certificates carry. */}}
{{- define "tandem.tlsName" -}}
{{- default (printf "%s.%s.svc" (include "tandem.stack" .) .Release.Namespace) .Values.tls.services.name -}}
{{- end -}}

{{- define "tandem.tlsSecret" -}}
{{- default (printf "%s-services-tls" (include "tandem.fullname" .)) .Values.tls.services.existingSecret -}}
{{- end -}}

{{- define "tandem.publicTlsSecret" -}}
{{- default (printf "%s-public-tls" (include "tandem.fullname" .)) .Values.tls.public.existingSecret -}}
{{- end -}}

{{/* Mounts and volumes that every service has. */}}
{{- define "tandem.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if .root.Values.tls.services.enabled }}
- {name: services-tls, mountPath: /etc/tandem/tls, readOnly: true}
{{- end }}
{{- end -}}

{{- define "tandem.volumes" -}}
- name: tmp
  emptyDir: {}
{{- if .root.Values.tls.services.enabled }}
- name: services-tls
  secret:
    secretName: {{ include "tandem.tlsSecret" .root }}
    defaultMode: 0440
{{- end }}
{{- end -}}
