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
  checksum/config: {{ list (include "eventsvc.settings" .) (include "eventsvc.passwordChange" .) | toJson | sha256sum }}
  {{- with (index $root.Values $role).podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* The container of a role, but for its environment: (list $ "producer"). */}}
{{- define "eventsvc.container" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
{{- $admin := include "eventsvc.adminPort" . -}}
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
  {{- if eq $admin "admin" }}
  - name: admin
    containerPort: 8081
  {{- end }}
startupProbe:
  httpGet: {path: /health/live, port: {{ $admin }}}
  periodSeconds: 1
  timeoutSeconds: 5
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /health/live, port: {{ $admin }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /health/ready, port: {{ $admin }}}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
resources:
  {{- toYaml (index $root.Values $role).resources | nindent 2 }}
securityContext:
  {{- toYaml $root.Values.securityContext | nindent 2 }}
{{- with include "eventsvc.secretMounts" . | trim }}
volumeMounts:
  {{- . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The name of the port of a role for health and metrics: (list $ "producer"). */}}
{{- define "eventsvc.adminPort" -}}
{{- $own := and (eq (index . 1) "producer") (include "eventsvc.producerAdmin" (index . 0)) -}}
{{- ternary "admin" "http" (not (empty $own)) -}}
{{- end }}
