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
key: {{ include "eventsvc.eventsvcKey" $root | default "redis-password" }}
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
{{- $user := include "eventsvc.eventsvcKey" . }}
{{- if $user }}
REDIS_USERNAME: eventsvc
{{- end }}
{{- if include "eventsvc.sentinels" . }}
REDIS_SENTINELS: {{ printf "%s:26379" (include "eventsvc.redisNodes" . | replace " " ":26379,") }}
REDIS_SENTINEL_SERVICE: {{ include "eventsvc.name" (list . "redis-master") }}
{{- if $user }}
REDIS_SENTINEL_USERNAME: eventsvc
{{- end }}
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

{{/*
A password of the release's own Redis in its Secret, and the one before, if this
upgrade changes it: (list $ "redis-password" "what the values say, or empty").
*/}}
{{- define "eventsvc.password" -}}
{{- $root := index . 0 -}}
{{- $key := index . 1 -}}
{{- $found := include "eventsvc.found" (list $root "v1" "Secret" (include "eventsvc.name" (list $root "redis"))) | fromJson -}}
{{- $kept := dig "data" $key "" $found -}}
{{- $rotation := dig "metadata" "annotations" "eventsvc/rotation" "0" $found -}}
{{- $new := b64enc (index . 2) -}}
{{- if and (not $new) $kept (eq $rotation (toString $root.Values.redis.auth.rotation)) }}{{ $new = $kept }}{{ end -}}
{{- $new = $new | default (randAlphaNum 32 | b64enc) -}}
{{ $key }}: {{ $new }}
{{- if and $kept (ne $kept $new) }}
{{ $key }}-previous: {{ $kept }}
{{- end }}
{{- end }}

{{/* The key in the Secret of the release's own Redis with the password of the user eventsvc; empty: there is no such user. */}}
{{- define "eventsvc.eventsvcKey" -}}
{{- $auth := .Values.redis.auth -}}
{{- ternary $auth.eventsvcKey "eventsvc-password" (ne $auth.existingSecret "") -}}
{{- end }}

{{/* The keys and commands of the user eventsvc, as words of redis.conf: as docs/install.md has them, for all streams. */}}
{{- define "eventsvc.redisRights" -}}
{{- $values := .Values -}}
{{- $streams := prepend $values.producer.streams ($values.settings.REDIS_STREAM | default "NotificationStream") -}}
{{- range list $values.producer $values.consumer -}}
{{- with .settings.REDIS_STREAM }}{{ $streams = append $streams . }}{{ end -}}
{{- end -}}
{{- range $streams | uniq | sortAlpha -}}
{{- $pattern := regexReplaceAll "[*?\\[\\]\\\\]" (toString .) "\\${0}" -}}
{{ printf "~%s" $pattern | quote }} {{ printf "~{%s}:*" $pattern | quote }} {{ end -}}
+@read +@write +@stream +@scripting +@connection -@dangerous +select +info +command +time +role
{{- $durability := $values.producer.settings.REDIS_DURABILITY -}}
{{- if eq $durability "replicas" }} +wait{{ else if eq $durability "disk" }} +waitaof +config|get{{ end -}}
{{- end }}

{{/* The rights of the user eventsvc on the Sentinels, as docs/security.md has them. */}}
{{- define "eventsvc.sentinelRights" -}}
resetchannels &+failover-state-wait-promotion &+promoted-slave &+switch-master +ping +subscribe +sentinel|master +sentinel|get-master-addr-by-name
{{- end }}

{{/* What differs if an upgrade changes the password of Redis for a role: (list $ "producer"). It is not the password. */}}
{{- define "eventsvc.passwordChange" -}}
{{- $values := (index . 0).Values -}}
{{- $auth := $values.redis.auth -}}
{{- if include "eventsvc.usesOwnRedis" . -}}
{{- list (ternary $auth.eventsvcPassword $auth.password (ne (include "eventsvc.eventsvcKey" (index . 0)) "")) $auth.rotation | toJson -}}
{{- else -}}
{{- $values.externalRedis.password -}}
{{- end -}}
{{- end }}
