{{/* The text of a setting: a whole number has no exponent, however large. */}}
{{- define "eventsvc.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end }}

{{/* Who may post to the producer, and how. */}}
{{- define "eventsvc.accessSettings" -}}
{{- with include "eventsvc.streams" . | fromJsonArray }}
REDIS_STREAMS: {{ join "," . | quote }}
{{- end }}
{{- if include "eventsvc.producerAdmin" . }}
ADMIN_PORT: "8081"
{{- end }}
{{- if .Values.producer.tokens.existingSecret }}
REST_SERVER_TOKENS: /etc/eventsvc/tokens/tokens.toml
{{- end }}
{{- if .Values.producer.tls.existingSecret }}
REST_SERVER_TLS_CERT: /etc/eventsvc/tls/tls.crt
REST_SERVER_TLS_KEY: /etc/eventsvc/tls/tls.key
{{- end }}
{{- if .Values.producer.tls.clientCASecret }}
REST_SERVER_TLS_CLIENT_CA: /etc/eventsvc/client-ca/ca.crt
{{- end }}
{{- end }}

{{/* How a client of the release posts: (list $ "the Secret with its token, or empty"). */}}
{{- define "eventsvc.clientSettings" -}}
{{- $tls := (index . 0).Values.producer.tls -}}
{{- if index . 1 }}
EVENT_PRODUCER_TOKEN_FILE: /etc/eventsvc/token/token
{{- end }}
{{- if $tls.existingSecret }}
EVENT_PRODUCER_TLS: "on"
{{- end }}
{{- if $tls.caSecret }}
EVENT_PRODUCER_TLS_CA: /etc/eventsvc/producer-ca/ca.crt
{{- end }}
{{- end }}

{{/*
All settings of a role, a line each: (list $ "producer").  What the values say
of a role beats what they say of all.
*/}}
{{- define "eventsvc.settings" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
{{- $all := dict -}}
{{- if eq $role "simulator" -}}
{{- $_ := set $all "EVENT_PRODUCER_HOST" (include "eventsvc.name" (list $root "event-producer-svc")) -}}
{{- $_ := set $all "LOG_LEVEL" ($root.Values.settings.LOG_LEVEL | default "INFO") -}}
{{- with $root.Values.settings.LOG_FORMAT }}{{ $_ := set $all "LOG_FORMAT" . }}{{ end -}}
{{- $all = merge (include "eventsvc.clientSettings" (list $root $root.Values.simulator.tokenSecret) | fromYaml) $all -}}
{{- else -}}
{{- $all = merge (include "eventsvc.redisSettings" . | fromYaml) $root.Values.settings -}}
{{- end -}}
{{- /* The consumer trims so that the producer does not come to its limit: it must know the same one. */ -}}
{{- with $root.Values.producer.settings.REDIS_STREAM_HARD_MAX -}}
{{- if eq $role "consumer" }}{{ $_ := set $all "REDIS_STREAM_HARD_MAX" . }}{{ end -}}
{{- end -}}
{{- /* The producer tells how far the consumers are behind: it must know their group. */ -}}
{{- with $root.Values.consumer.settings.REDIS_CONSUMER_GROUP -}}
{{- if eq $role "producer" }}{{ $_ := set $all "REDIS_CONSUMER_GROUP" . }}{{ end -}}
{{- end -}}
{{- if eq $role "producer" -}}
{{- $_ := set $all "REST_SERVER_PORT" "8080" -}}
{{- /* Clients behind the Service take time to use each of their connections once more. */ -}}
{{- $_ := set $all "REST_SERVER_GRACE" (dig "REST_SERVER_GRACE" 5 $root.Values.settings) -}}
{{- $all = merge (include "eventsvc.accessSettings" $root | fromYaml) $all -}}
{{- else -}}
{{- $_ := set $all "ADMIN_PORT" "8080" -}}
{{- end -}}
{{- if and (eq $role "consumer") $root.Values.consumer.webhook.existingSecret -}}
{{- $_ := set $all "WEBHOOK_SECRET_FILE" "/etc/eventsvc/webhook/webhook-secret" -}}
{{- end -}}
{{- range $name, $value := merge (deepCopy (index $root.Values $role).settings) $all }}
{{ $name }}: {{ include "eventsvc.text" $value | quote }}
{{- end }}
{{- end }}

{{/*
What a pod has time for when it is to end: its pause, its drain, and more.
(list $ "producer")
*/}}
{{- define "eventsvc.grace" -}}
{{- $root := index . 0 -}}
{{- $own := (index $root.Values (index . 1)).settings -}}
{{- if eq (index . 1) "producer" -}}
{{- $request := $own.REST_SERVER_WRITE_TIMEOUT | default 10 -}}
{{- $write := $own.REDIS_WRITE_TIMEOUT | default 5 -}}
{{- $grace := $own.REST_SERVER_GRACE | default $root.Values.settings.REST_SERVER_GRACE | default 5 -}}
{{- add $root.Values.producer.lameDuckSeconds (ceil $grace) (ceil $request) (ceil $write) 10 -}}
{{- else if eq (index . 1) "consumer" -}}
{{- add (ceil ($own.CONSUMER_DRAIN_TIMEOUT | default 10)) 15 -}}
{{- else -}}
30
{{- end -}}
{{- end }}
