{{/* What is not empty if a role uses the release's own Redis: (list $ "producer"). */}}
{{- define "eventsvc.usesOwnRedis" -}}
{{- $values := (index . 0).Values -}}
{{- $moved := and (eq $values.externalRedis.moved "producers") (eq (index . 1) "producer") -}}
{{- if and $values.redis.enabled (not $moved) }}on{{ end -}}
{{- end }}

{{/* The Secret with the password of Redis for a role, and the key in it: (list $ "producer"). No name: there is no password. */}}
{{- define "eventsvc.redisPassword" -}}
{{- $root := index . 0 -}}
{{- $external := $root.Values.externalRedis -}}
{{- if include "eventsvc.usesOwnRedis" . -}}
name: {{ include "eventsvc.redisSecret" $root }}
key: redis-password
{{- else if $external.existingSecret -}}
name: {{ $external.existingSecret }}
key: {{ $external.existingSecretKey }}
{{- else if $external.password -}}
name: {{ include "eventsvc.name" (list $root "redis") }}
key: redis-password
{{- end -}}
{{- end }}

{{/* Where Redis is, and who asks it: (list $ "producer"). */}}
{{- define "eventsvc.redisSettings" -}}
{{- $root := index . 0 -}}
{{- if include "eventsvc.usesOwnRedis" . }}
{{- include "eventsvc.ownRedisSettings" $root }}
{{- else }}
{{- include "eventsvc.externalRedisSettings" $root.Values.externalRedis }}
{{- end }}
{{- if include "eventsvc.redisPassword" . }}
REDIS_PASSWORD_FILE: /etc/eventsvc/redis/redis-password
{{- end }}
{{- end }}

{{- define "eventsvc.ownRedisSettings" }}
REDIS_HOST: {{ include "eventsvc.name" (list . "redis-master") }}
REDIS_PORT: "6379"
{{- if include "eventsvc.sentinels" . }}
REDIS_SENTINELS: {{ printf "%s:26379" (include "eventsvc.redisNodes" . | replace " " ":26379,") }}
REDIS_SENTINEL_SERVICE: {{ include "eventsvc.name" (list . "redis-master") }}
REDIS_SENTINEL_PASSWORD_FILE: /etc/eventsvc/redis/redis-password
{{- end }}
{{- if .Values.redis.tls.enabled }}
REDIS_TLS: "on"
REDIS_TLS_CA: /etc/eventsvc/redis-ca/ca.crt
{{- end }}
{{- end }}

{{- define "eventsvc.externalRedisSettings" }}
{{- if .sentinels }}
REDIS_SENTINELS: {{ join "," .sentinels | quote }}
REDIS_SENTINEL_SERVICE: {{ .sentinelService | quote }}
{{- with .sentinelUsername }}
REDIS_SENTINEL_USERNAME: {{ . | quote }}
{{- end }}
{{- if .sentinelExistingSecret }}
REDIS_SENTINEL_PASSWORD_FILE: /etc/eventsvc/sentinel/sentinel-password
{{- end }}
{{- else }}
REDIS_HOST: {{ .host | quote }}
REDIS_PORT: {{ include "eventsvc.text" .port | quote }}
{{- end }}
REDIS_DB: {{ include "eventsvc.text" .database | quote }}
{{- with .username }}
REDIS_USERNAME: {{ . | quote }}
{{- end }}
{{- if .tls.enabled }}
REDIS_TLS: "on"
{{- with .tls.caSecret }}
REDIS_TLS_CA: /etc/eventsvc/redis-ca/ca.crt
{{- end }}
{{- end }}
{{- end }}
