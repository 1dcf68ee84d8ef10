{{/*
Which parts are on, by the names that alerts have in `needs`.  An alert is
rendered if all that it needs is on.
*/}}
{{- define "eventsvc.alertNeeds" -}}
{{- $consumer := include "eventsvc.settings" (list . "consumer") | fromYaml -}}
{{- $keda := .Values.consumer.keda -}}
{{- $atLeast := ternary $keda.minReplicas .Values.consumer.replicas $keda.enabled -}}
producer: {{ .Values.producer.enabled }}
consumer: {{ .Values.consumer.enabled }}
producer-or-consumer: {{ or .Values.producer.enabled .Values.consumer.enabled }}
# Whether there is always a consumer, also while there is nothing to do.
consumers-always: {{ gt (int $atLeast) 0 }}
consumers-on-demand: {{ eq (int $atLeast) 0 }}
redis: {{ .Values.redis.enabled }}
failover: {{ or (not (empty .Values.externalRedis.sentinels)) (not (empty (include "eventsvc.sentinels" .))) }}
tokens: {{ not (empty .Values.producer.tokens.existingSecret) }}
tls: {{ not (empty .Values.producer.tls.existingSecret) }}
webhook: {{ eq ($consumer.CONSUMER_HANDLER | default "log") "webhook" }}
{{- end }}

{{/*
The alerts of a file as rules for Prometheus: (list $ "files/alerts/redis.yaml").
Names in angle brackets become those of the release: Prometheus calls what it
scrapes by the Service, which is unique in the namespace.
*/}}
{{- define "eventsvc.alerts" -}}
{{- $root := index . 0 -}}
{{- $own := $root.Values.monitoring.prometheusRule -}}
{{- $on := include "eventsvc.alertNeeds" $root | fromYaml -}}
{{- $consumer := include "eventsvc.settings" (list $root "consumer") | fromYaml -}}
{{- $text := $root.Files.Get (index . 1) -}}
{{- $pods := "(<producer>|<consumer>)-[a-z0-9]+-[a-z0-9]{5}|<redis>-[0-9]+" -}}
{{- $text = $text | replace "<pods>" $pods | replace "<namespace>" $root.Release.Namespace -}}
{{- $text = $text | replace "<stream>" ($consumer.REDIS_STREAM | default "NotificationStream") -}}
{{- $text = $text | replace "<producer>" (include "eventsvc.name" (list $root "event-producer")) -}}
{{- $text = $text | replace "<consumer>" (include "eventsvc.name" (list $root "event-consumer")) -}}
{{- $text = $text | replace "<redis>" (include "eventsvc.name" (list $root "redis-master")) -}}
{{- $text = $text | replace "<keys>" ($root.Values.producer.settings.IDEMPOTENCY_MAX_KEYS | default 1000000 | int64 | toString) -}}
{{- $rules := list -}}
{{- range $text | fromYamlArray -}}
{{- $wanted := not (has .alert $own.disabled) -}}
{{- range .needs }}{{ $wanted = and $wanted (index $on .) }}{{ end -}}
{{- if $wanted -}}
{{- $labels := dict "severity" .severity "namespace" $root.Release.Namespace "release" $root.Release.Name -}}
{{- $runbook := printf "%s#%s" $own.runbookUrl (lower .alert) -}}
{{- $annotations := dict "summary" .summary "description" .description "runbook_url" $runbook -}}
{{- $rule := dict "alert" .alert "expr" .expr "labels" (merge $labels $own.alertLabels) "annotations" $annotations -}}
{{- with .for }}{{ $_ := set $rule "for" . }}{{ end -}}
{{- $rules = append $rules $rule -}}
{{- end -}}
{{- end -}}
{{- with $rules }}{{ toYaml . }}{{ end -}}
{{- end }}

{{/* Refuses a name to leave out that no alert has. */}}
{{- define "eventsvc.checkAlerts" -}}
{{- $known := list -}}
{{- range $path, $_ := .Files.Glob "files/alerts/*.yaml" -}}
{{- range $.Files.Get $path | fromYamlArray }}{{ $known = append $known .alert }}{{ end -}}
{{- end -}}
{{- range .Values.monitoring.prometheusRule.disabled -}}
{{- if not (has . $known) -}}
{{- fail (printf "monitoring.prometheusRule.disabled has %s, which is no alert of the chart: %s." . (join ", " $known)) -}}
{{- end -}}
{{- end -}}
{{- end }}
