{{/* The name of a part: (list $ "event-producer"). */}}
{{- define "eventsvc.name" -}}
{{- $override := (index . 0).Values.fullnameOverride -}}
{{- ternary (index . 1) (printf "%s-%s" $override (index . 1)) (empty $override) -}}
{{- end }}

{{/* What is not empty if the producer has a port of its own for health and metrics. */}}
{{- define "eventsvc.producerAdmin" -}}
{{- if or .Values.producer.admin.enabled .Values.producer.tls.existingSecret }}on{{ end -}}
{{- end }}

{{- define "eventsvc.redisSecret" -}}
{{- $external := .Values.externalRedis -}}
{{- $given := ternary .Values.redis.auth.existingSecret $external.existingSecret .Values.redis.enabled -}}
{{- $made := or .Values.redis.enabled $external.password -}}
{{- if $given }}{{ $given }}{{ else if $made }}{{ include "eventsvc.name" (list . "redis") }}{{ end -}}
{{- end }}

{{/*
What picks the pods of a part, for ever: selectors cannot be changed.
(list $ "event-producer"); the labels of Redis are those of its image's kin.
*/}}
{{- define "eventsvc.selector" -}}
{{- if eq (index . 1) "redis" -}}
app.kubernetes.io/name: {{ include "eventsvc.name" . }}
app.kubernetes.io/component: master
{{- else -}}
app: {{ include "eventsvc.name" . }}
{{- end }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
{{- end }}

{{/* The labels of an object: (list $ "event-producer"), or (list $ "") if it is of no part. */}}
{{- define "eventsvc.labels" -}}
{{- $root := index . 0 -}}
{{- if index . 1 -}}
{{ include "eventsvc.selector" . }}
{{- else -}}
app.kubernetes.io/instance: {{ $root.Release.Name }}
{{- end }}
app.kubernetes.io/part-of: eventsvc
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name ($root.Chart.Version | replace "+" "_") }}
{{- end }}

{{- define "eventsvc.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
