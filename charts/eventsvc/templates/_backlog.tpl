{{/* Where KEDA learns how far the consumers are behind; it asks from a namespace of its own. */}}
{{- define "eventsvc.backlogUrl" -}}
{{- $settings := include "eventsvc.settings" (list . "consumer") | fromYaml -}}
{{- $service := printf "%s.%s:8080" (include "eventsvc.name" (list . "event-producer-svc")) .Release.Namespace -}}
{{- if include "eventsvc.producerAdmin" . -}}
{{- $service = printf "%s.%s:8081" (include "eventsvc.name" (list . "event-producer-admin")) .Release.Namespace -}}
{{- end -}}
{{- $stream := $settings.REDIS_STREAM | default "NotificationStream" -}}
{{ .Values.consumer.keda.url | default (printf "http://%s/backlog" $service) }}?stream={{ urlquery $stream }}
{{- end }}
