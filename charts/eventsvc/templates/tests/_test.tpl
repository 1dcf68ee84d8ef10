{{/* What is not empty if the suites can post: they need a token if clients need one, have no certificate of their own, and read the Redis that producers write to. */}}
{{- define "eventsvc.hasTest" -}}
{{- $producer := .Values.producer -}}
{{- $known := or .Values.tests.tokenSecret (not $producer.tokens.existingSecret) -}}
{{- $moving := and .Values.redis.enabled .Values.externalRedis.moved -}}
{{- if and $producer.enabled $known (not $producer.tls.clientCASecret) (not $moving) }}on{{ end -}}
{{- end }}

{{/* What the objects of helm test have in common: they are there while it runs. (list $ "-5") is before (list $ "0"). */}}
{{- define "eventsvc.testMetadata" -}}
{{- $hook := dict "helm.sh/hook" "test" "helm.sh/hook-weight" (index . 1) "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded" -}}
{{- include "eventsvc.metadata" (list (index . 0) "event-test" "event-test" $hook) -}}
{{- end }}

{{/* The stream of the producers, without others. */}}
{{- define "eventsvc.stream" -}}
{{- .Values.producer.settings.REDIS_STREAM | default .Values.settings.REDIS_STREAM | default "NotificationStream" -}}
{{- end }}

{{/*
The stream that helm test posts to, or nothing.  In a Redis of others the chart does
not begin one by itself: its user may lack the right, and the producers were not ready.
*/}}
{{- define "eventsvc.testStream" -}}
{{- $known := append .Values.producer.streams (include "eventsvc.stream" .) -}}
{{- if or (has .Values.tests.stream $known) (and .Values.redis.enabled (not .Values.externalRedis.moved)) -}}
{{ .Values.tests.stream }}
{{- end -}}
{{- end }}

{{/* The streams of the producers beside REDIS_STREAM, as JSON. */}}
{{- define "eventsvc.streams" -}}
{{- $known := append .Values.producer.streams (include "eventsvc.stream" .) -}}
{{- $test := include "eventsvc.testStream" . -}}
{{- if and (include "eventsvc.hasTest" .) $test (not (has $test $known)) -}}
{{ append .Values.producer.streams $test | toJson }}
{{- else -}}
{{ .Values.producer.streams | toJson }}
{{- end -}}
{{- end }}
