{{/* What the pods of a part have in common with all others: (list $ .Values.producer). The part beats what is said of all. */}}
{{- define "eventsvc.podCommons" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
enableServiceLinks: false
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml $root.Values.podSecurityContext | nindent 2 }}
{{- range $name := list "nodeSelector" "tolerations" "affinity" }}
{{- with index $part $name | default (index $root.Values $name) }}
{{ $name }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with $part.priorityClassName | default $root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* The same of the pods of Redis. */}}
{{- define "eventsvc.podBasics" -}}
{{- include "eventsvc.podCommons" (list . .Values.redis) -}}
{{- end }}

{{/*
The metadata of the pods of a role: (list $ "producer").  The checksum has what
pods read only when they start: a change of it restarts them.
*/}}
{{- define "eventsvc.podMetadata" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
{{- $values := index $root.Values $role -}}
{{- $own := include "eventsvc.ownLabels" (list $root (printf "event-%s" $role)) | fromYaml -}}
{{- $read := list (include "eventsvc.settings" .) (include "eventsvc.readAtStart" .) (include "eventsvc.passwordChange" .) -}}
{{- if eq $role "consumer" }}{{ $read = append $read $values.handlers }}{{ end -}}
{{- $checksum := dict "checksum/config" ($read | toJson | sha256sum) -}}
labels:
  {{- merge $own $values.podLabels $root.Values.commonLabels | toYaml | nindent 2 }}
annotations:
  {{- merge $checksum $values.podAnnotations $root.Values.commonAnnotations | toYaml | nindent 2 }}
{{- end }}

{{/* The pods of a role, but for their containers: (list $ "producer"). */}}
{{- define "eventsvc.podSpec" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
{{- $values := index $root.Values $role -}}
{{- $account := $values.serviceAccount -}}
automountServiceAccountToken: false
{{- if or $account.create $account.name }}
serviceAccountName: {{ include "eventsvc.serviceAccount" . }}
{{- end }}
{{ include "eventsvc.podCommons" (list $root $values) }}
# Above the time that a drain takes.
terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds | default (include "eventsvc.grace" .) }}
topologySpreadConstraints:
  {{- $nodes := dict "maxSkew" 1 "topologyKey" "kubernetes.io/hostname" "whenUnsatisfiable" "ScheduleAnyway" }}
  {{- $selector := dict "matchLabels" (include "eventsvc.selector" (list $root (printf "event-%s" $role)) | fromYaml) }}
  {{- range $values.topologySpreadConstraints | default (list $nodes) }}
  - {{- merge (deepCopy .) (dict "labelSelector" $selector) | toYaml | nindent 4 }}
  {{- end }}
{{- with $values.initContainers }}
initContainers:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $volumes := include "eventsvc.secretVolumes" . | fromYamlArray }}
{{- if and (eq $role "consumer") $values.handlers }}
{{- $volumes = append $volumes (dict "name" "handlers" "configMap" (dict "name" (include "eventsvc.name" (list $root "event-consumer-handlers")))) }}
{{- end }}
{{- with concat $volumes $values.extraVolumes }}
volumes:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The name of the ServiceAccount of a role: (list $ "producer"). */}}
{{- define "eventsvc.serviceAccount" -}}
{{- $root := index . 0 -}}
{{- (index $root.Values (index . 1)).serviceAccount.name | default (include "eventsvc.name" (list $root (printf "event-%s" (index . 1)))) -}}
{{- end }}

{{/*
The container of a role: (list $ "producer"), and perhaps a list of environment
variables that the chart sets.
*/}}
{{- define "eventsvc.container" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
{{- $values := index $root.Values $role -}}
{{- $admin := include "eventsvc.adminPort" (list $root $role) -}}
{{- $environment := $values.extraEnv -}}
{{- if gt (len .) 2 }}{{ $environment = concat (index . 2) $environment }}{{ end -}}
name: {{ $role }}
image: {{ include "eventsvc.imageOf" (list $root.Values.image $root.Chart.AppVersion) }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
args: [{{ $role }}]
envFrom:
  - configMapRef:
      name: {{ include "eventsvc.name" (list $root (printf "event-%s" $role)) }}
  {{- with $values.extraEnvFrom }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $environment }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - name: http
    containerPort: 8080
  {{- if eq $admin "admin" }}
  - name: admin
    containerPort: 8081
  {{- end }}
{{- $live := dict "httpGet" (dict "path" "/health/live" "port" $admin) "timeoutSeconds" 5 }}
{{- $ready := dict "httpGet" (dict "path" "/health/ready" "port" $admin) "timeoutSeconds" 2 }}
startupProbe:
  {{- merge (deepCopy $values.startupProbe) $live (dict "periodSeconds" 1 "failureThreshold" 60) | toYaml | nindent 2 }}
livenessProbe:
  {{- merge (deepCopy $values.livenessProbe) $live (dict "periodSeconds" 10 "failureThreshold" 3) | toYaml | nindent 2 }}
readinessProbe:
  {{- merge (deepCopy $values.readinessProbe) $ready (dict "periodSeconds" 2 "failureThreshold" 2) | toYaml | nindent 2 }}
resources:
  {{- toYaml $values.resources | nindent 2 }}
securityContext:
  {{- toYaml $root.Values.securityContext | nindent 2 }}
{{- $mounts := include "eventsvc.secretMounts" (list $root $role) | fromYamlArray }}
{{- if and (eq $role "consumer") $values.handlers }}
{{- $mounts = append $mounts (dict "name" "handlers" "mountPath" "/handlers" "readOnly" true) }}
{{- end }}
{{- with concat $mounts $values.extraVolumeMounts }}
volumeMounts:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The name of the port of a role for health and metrics: (list $ "producer"). */}}
{{- define "eventsvc.adminPort" -}}
{{- $own := and (eq (index . 1) "producer") (include "eventsvc.producerAdmin" (index . 0)) -}}
{{- ternary "admin" "http" (not (empty $own)) -}}
{{- end }}
