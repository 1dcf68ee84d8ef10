{{/* What all pods of the release have in common. */}}
{{- define "eventsvc.podBasics" -}}
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* The pods of a role, but for the spec: (list $ "producer"). */}}
{{- define "eventsvc.podMetadata" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
labels:
  {{- include "eventsvc.selector" (list $root (printf "event-%s" $role)) | nindent 2 }}
  app.kubernetes.io/part-of: eventsvc
annotations:
  checksum/config: {{ list (include "eventsvc.settings" .) $root.Values.redis.auth.password $root.Values.externalRedis.password | toJson | sha256sum }}
  {{- with (index $root.Values $role).podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* The container of a role, but for its environment: (list $ "producer"). */}}
{{- define "eventsvc.container" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
name: {{ $role }}
image: {{ include "eventsvc.image" $root }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
args: [{{ $role }}]
envFrom:
  - configMapRef:
      name: {{ include "eventsvc.name" (list $root (printf "event-%s" $role)) }}
ports:
  - name: http
    containerPort: 8080
startupProbe:
  httpGet: {path: /health/live, port: http}
  periodSeconds: 1
  timeoutSeconds: 5
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /health/live, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /health/ready, port: http}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
resources:
  {{- toYaml (index $root.Values $role).resources | nindent 2 }}
securityContext:
  {{- toYaml $root.Values.securityContext | nindent 2 }}
{{- if ne $role "simulator" }}
{{- with include "eventsvc.secretMounts" . | trim }}
volumeMounts:
  {{- . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* The secrets that a role needs, as files: (list $ "producer"). */}}
{{- define "eventsvc.secretMounts" -}}
{{- $root := index . 0 -}}
{{- if include "eventsvc.redisSecret" $root }}
- {name: redis, mountPath: /etc/eventsvc/redis, readOnly: true}
{{- end }}
{{- if and $root.Values.externalRedis.tls.enabled $root.Values.externalRedis.tls.caSecret }}
- {name: redis-ca, mountPath: /etc/eventsvc/redis-ca, readOnly: true}
{{- end }}
{{- if and (eq (index . 1) "consumer") $root.Values.consumer.webhook.existingSecret }}
- {name: webhook, mountPath: /etc/eventsvc/webhook, readOnly: true}
{{- end }}
{{- end }}

{{- define "eventsvc.secretVolumes" -}}
{{- $root := index . 0 -}}
{{- with include "eventsvc.redisSecret" $root }}
- name: redis
  secret:
    secretName: {{ . }}
    items: [{key: redis-password, path: redis-password}]
{{- end }}
{{- if $root.Values.externalRedis.tls.enabled }}
{{- with $root.Values.externalRedis.tls.caSecret }}
- name: redis-ca
  secret:
    secretName: {{ . }}
    items: [{key: ca.crt, path: ca.crt}]
{{- end }}
{{- end }}
{{- if eq (index . 1) "consumer" }}
{{- with $root.Values.consumer.webhook.existingSecret }}
- name: webhook
  secret:
    secretName: {{ . }}
    items: [{key: {{ $root.Values.consumer.webhook.secretKey | quote }}, path: webhook-secret}]
{{- end }}
{{- end }}
{{- end }}
