{{- define "tandem.autoscaling" -}}{{- end -}}
