{{/* What is not empty if Redis has replicas and Sentinels. */}}
{{- define "eventsvc.sentinels" -}}
{{- if and .Values.redis.enabled (gt (int .Values.redis.replicas) 1) }}on{{ end -}}
{{- end }}

{{/* The names of the pods of Redis, and of their Services, as a list. */}}
{{- define "eventsvc.redisPods" -}}
{{- range until (int .Values.redis.replicas) }}
- {{ include "eventsvc.name" (list $ "redis-master") }}-{{ . }}
{{- end }}
{{- end }}

{{/* The host names of the pods of Redis, which any pod of the cluster can resolve, between blanks. */}}
{{- define "eventsvc.redisNodes" -}}
{{- $nodes := list -}}
{{- range include "eventsvc.redisPods" . | fromYamlArray -}}
{{- $nodes = append $nodes (printf "%s.%s.svc" . $.Release.Namespace) -}}
{{- end -}}
{{- join " " $nodes -}}
{{- end }}

{{- define "eventsvc.redisFiles" -}}
redis.conf: |
  bind * -::*
  protected-mode no
  dir /data
  appendonly yes
  appendfsync {{ .Values.redis.appendfsync }}
  save ""
  maxmemory {{ .Values.redis.maxmemory }}
  maxmemory-policy noeviction
  {{- if include "eventsvc.sentinels" . }}
  # A primary that has lost all its replicas, because it is cut off from them, refuses.
  min-replicas-to-write 1
  min-replicas-max-lag 10
  repl-diskless-sync-delay 0
  {{- end }}
  {{- with .Values.redis.extraConfig }}
  {{- . | nindent 2 }}
  {{- end }}
# How the Sentinels watch the primary: the options of SENTINEL SET.
watch: |
  down-after-milliseconds {{ include "eventsvc.text" .Values.redis.sentinel.downAfterMilliseconds }}
  failover-timeout {{ include "eventsvc.text" .Values.redis.sentinel.failoverTimeoutMilliseconds }}
  parallel-syncs 1
  master-reboot-down-after-period {{ include "eventsvc.text" .Values.redis.sentinel.downAfterMilliseconds }}
{{- range $path, $text := .Files.Glob "files/redis/*" }}
{{ base $path }}: |
  {{- $text | toString | nindent 2 }}
{{- end }}
{{- end }}

{{/* The environment of the containers of a Redis pod: see files/redis/common. */}}
{{- define "eventsvc.redisEnv" -}}
- name: POD
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- {name: ME, value: $(POD).{{ .Release.Namespace }}.svc}
- {name: NODES, value: {{ include "eventsvc.redisNodes" . }}}
- {name: SET, value: {{ include "eventsvc.name" (list . "redis-master") }}}
{{- if .Values.redis.tls.enabled }}
- {name: TLS, value: "on"}
{{- end }}
- {name: USER_KEY, value: {{ include "eventsvc.eventsvcKey" . | quote }}}
# So that redis-cli in this container needs no password, until that changes.
- name: REDISCLI_AUTH
  valueFrom: {secretKeyRef: {name: {{ include "eventsvc.redisSecret" . }}, key: redis-password}}
{{- end }}

{{/* What the containers of a Redis pod have in common, but for name, command, ports, probes and resources. Mounts come last. */}}
{{- define "eventsvc.redisContainer" -}}
image: {{ include "eventsvc.imageOf" (list .Values.redis.image "") }}
imagePullPolicy: {{ .Values.redis.image.pullPolicy }}
env:
  {{- include "eventsvc.redisEnv" . | nindent 2 }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
volumeMounts:
  - {name: data, mountPath: /data}
  - {name: config, mountPath: /etc/redis-config, readOnly: true}
  - {name: secret, mountPath: /etc/redis-secret, readOnly: true}
  {{- if .Values.redis.tls.enabled }}
  - {name: tls, mountPath: /etc/redis-tls, readOnly: true}
  {{- end }}
{{- end }}

{{/* Pods of Redis on nodes of their own: soft, hard, or none. */}}
{{- define "eventsvc.redisSpread" -}}
{{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" (include "eventsvc.selector" (list . "redis") | fromYaml)) -}}
{{- if eq .Values.redis.spread "hard" -}}
{{- dict "podAntiAffinity" (dict "requiredDuringSchedulingIgnoredDuringExecution" (list $term)) | toYaml -}}
{{- else if eq .Values.redis.spread "soft" -}}
{{- dict "podAntiAffinity" (dict "preferredDuringSchedulingIgnoredDuringExecution" (list (dict "weight" 100 "podAffinityTerm" $term))) | toYaml -}}
{{- end -}}
{{- end }}
