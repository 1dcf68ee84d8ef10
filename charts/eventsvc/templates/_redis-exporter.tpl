{{/*
The container that gives figures of the Redis of its pod to Prometheus.  It reads its
password once, when it starts.  Without the password it runs nevertheless and says
redis_up 0: a pod is ready only while all its containers run, and Redis must not wait.
*/}}
{{- define "eventsvc.redisExporter" -}}
{{- $exporter := .Values.redis.exporter -}}
{{- $tls := .Values.redis.tls.enabled -}}
name: exporter
image: {{ include "eventsvc.imageOf" (list $exporter.image "") }}
imagePullPolicy: {{ $exporter.image.pullPolicy }}
env:
  - {name: REDIS_ADDR, value: {{ ternary (printf "rediss://%s:6379" (include "eventsvc.name" (list . "redis-master"))) "redis://127.0.0.1:6379" $tls }}}
  {{- if $tls }}
  - {name: REDIS_EXPORTER_TLS_CA_CERT_FILE, value: /etc/redis-tls/ca.crt}
  {{- end }}
  - {name: REDIS_USER, value: exporter}
  - name: REDIS_PASSWORD
    valueFrom: {secretKeyRef: {name: {{ include "eventsvc.redisSecret" . }}, key: exporter-password, optional: true}}
  # What its user may not do. CONFIG shows the password of the default user.
  - {name: REDIS_EXPORTER_CONFIG_COMMAND, value: "-"}
  - {name: REDIS_EXPORTER_EXCLUDE_LATENCY_HISTOGRAM_METRICS, value: "true"}
  # It would send the password to any host that a request names.
  - {name: REDIS_EXPORTER_DISABLE_SCRAPE_ENDPOINT, value: "true"}
ports:
  - {name: exporter, containerPort: 9121}
resources:
  {{- toYaml $exporter.resources | nindent 2 }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
{{- if $tls }}
volumeMounts:
  - {name: redis-ca, mountPath: /etc/redis-tls, readOnly: true}
{{- end }}
{{- end }}

{{/* The commands of the user exporter. It has no keys, so it reads no event; SLOWLOG GET would show some. */}}
{{- define "eventsvc.exporterRights" -}}
+info +slowlog|len +client|setname
{{- end }}

{{/* The password of the user exporter: made once and kept, because the exporter reads it only when it starts. */}}
{{- define "eventsvc.exporterPassword" -}}
{{- $found := include "eventsvc.found" (list . "v1" "Secret" (include "eventsvc.name" (list . "redis"))) | fromJson -}}
{{- dig "data" "exporter-password" (randAlphaNum 32 | b64enc) $found -}}
{{- end }}
