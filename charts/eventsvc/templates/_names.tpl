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

{{/* What the chart itself labels the objects and pods of a part with: (list $ "event-producer"), or (list $ "") if it is of no part. */}}
{{- define "eventsvc.ownLabels" -}}
{{- $part := index . 1 -}}
{{- if $part -}}
{{ include "eventsvc.selector" . }}
{{- else -}}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
{{- end }}
{{- if ne $part "redis" }}
app.kubernetes.io/name: eventsvc
{{- with $part }}
app.kubernetes.io/component: {{ trimPrefix "event-" . }}
{{- end }}
{{- end }}
app.kubernetes.io/part-of: eventsvc
{{- end }}

{{/* The labels of an object: (list $ "event-producer"), and perhaps more of them. */}}
{{- define "eventsvc.labels" -}}
{{- $root := index . 0 -}}
{{- $labels := include "eventsvc.ownLabels" . | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/version" $root.Chart.AppVersion -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" $root.Release.Service -}}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" $root.Chart.Name ($root.Chart.Version | replace "+" "_")) -}}
{{- if gt (len .) 2 }}{{ $labels = merge $labels (index . 2) }}{{ end -}}
{{ merge $labels $root.Values.commonLabels | toYaml }}
{{- end }}

{{/*
The metadata of an object: (list $ "its part" "its name"), and perhaps annotations
and labels of its own.
*/}}
{{- define "eventsvc.metadata" -}}
{{- $root := index . 0 -}}
{{- $annotations := dict -}}
{{- if gt (len .) 3 }}{{ $annotations = deepCopy (index . 3) }}{{ end -}}
{{- $labels := dict -}}
{{- if gt (len .) 4 }}{{ $labels = index . 4 }}{{ end -}}
name: {{ include "eventsvc.name" (list $root (index . 2)) }}
labels:
  {{- include "eventsvc.labels" (list $root (index . 1) $labels) | nindent 2 }}
{{- with merge $annotations $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* An image by its digest, or by its tag: (list .Values.image "the tag if it names none"). */}}
{{- define "eventsvc.imageOf" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default (index . 1) }}
{{- end -}}
{{- end }}
