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
