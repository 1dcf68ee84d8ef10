{{/* What the objects of helm test have in common: they are there while it runs. (list $ "-5") is before (list $ "0"). */}}
{{- define "eventsvc.testMetadata" -}}
name: {{ include "eventsvc.name" (list (index . 0) "event-test") }}
labels:
  {{- include "eventsvc.labels" (list (index . 0) "event-test") | nindent 2 }}
annotations:
  helm.sh/hook: test
  helm.sh/hook-weight: {{ index . 1 | quote }}
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
