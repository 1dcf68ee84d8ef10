{{/*
The Secrets that a role reads as files, those without a name left out: (list $ "producer").
The role "robot" is that of helm test.
*/}}
{{- define "eventsvc.secrets" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
{{- $producer := $root.Values.producer -}}
{{- $external := $root.Values.externalRedis -}}
{{- if ne $role "simulator" }}
{{- with include "eventsvc.redisPassword" . | fromYaml }}
- {name: redis, secret: {{ .name | quote }}, files: { {{- .key | quote }}: redis-password}}
{{- end }}
{{- if include "eventsvc.usesOwnRedis" . }}
{{- if $root.Values.redis.tls.enabled }}
- {name: redis-ca, secret: {{ $root.Values.redis.tls.existingSecret | quote }}, files: {ca.crt: ca.crt}}
{{- end }}
{{- else }}
{{- if $external.sentinels }}
- {name: sentinel, secret: {{ $external.sentinelExistingSecret | quote }}, files: {sentinel-password: sentinel-password}}
{{- end }}
{{- if $external.tls.enabled }}
- {name: redis-ca, secret: {{ $external.tls.caSecret | quote }}, files: {ca.crt: ca.crt}}
{{- end }}
{{- end }}
{{- end }}
{{- if eq $role "producer" }}
- {name: tokens, secret: {{ $producer.tokens.existingSecret | quote }}, files: { {{- $producer.tokens.key | quote }}: tokens.toml}}
- {name: tls, secret: {{ $producer.tls.existingSecret | quote }}, files: {tls.crt: tls.crt, tls.key: tls.key}}
- {name: client-ca, secret: {{ $producer.tls.clientCASecret | quote }}, files: {ca.crt: ca.crt}}
{{- else if eq $role "consumer" }}
{{- $webhook := $root.Values.consumer.webhook }}
- {name: webhook, secret: {{ $webhook.existingSecret | quote }}, files: { {{- $webhook.secretKey | quote }}: webhook-secret}}
{{- else }}
{{- $token := ternary $root.Values.simulator.tokenSecret $root.Values.tests.tokenSecret (eq $role "simulator") }}
- {name: token, secret: {{ $token | quote }}, files: {token: token}}
- {name: producer-ca, secret: {{ $producer.tls.caSecret | quote }}, files: {ca.crt: ca.crt}}
{{- end }}
{{- end }}

{{- define "eventsvc.secretMounts" -}}
{{- range include "eventsvc.secrets" . | fromYamlArray }}
{{- if .secret }}
- {name: {{ .name }}, mountPath: /etc/eventsvc/{{ .name }}, readOnly: true}
{{- end }}
{{- end }}
{{- end }}

{{/* A whole directory each: a mount of a single file (subPath) does not follow a change of the Secret. */}}
{{- define "eventsvc.secretVolumes" -}}
{{- range include "eventsvc.secrets" . | fromYamlArray }}
{{- if .secret }}
- name: {{ .name }}
  secret:
    secretName: {{ .secret }}
    items:
      {{- range $key, $file := .files }}
      - {key: {{ $key | quote }}, path: {{ $file }}}
      {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/*
What is in the Secrets that a role reads only when it starts, the chart's own left
out: (list $ "producer").  `helm template` sees none of them.
*/}}
{{- define "eventsvc.readAtStart" -}}
{{- $root := index . 0 -}}
{{- $others := list "" (include "eventsvc.name" (list $root "redis")) -}}
{{- range include "eventsvc.secrets" . | fromYamlArray }}
{{- if not (or (has .secret $others) (has .name (list "tokens" "tls" "client-ca"))) }}
{{ .secret }}: {{ (lookup "v1" "Secret" $root.Release.Namespace .secret).data | toJson }}
{{- end }}
{{- end }}
{{- end }}
