{{/* Egress to where names are asked: port 53, and 5353 for the pods of OpenShift's. */}}
{{- define "eventsvc.egressToNames" -}}
- ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
    - {protocol: UDP, port: 5353}
    - {protocol: TCP, port: 5353}
  {{- with .Values.networkPolicy.dns }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* Egress of a role to Redis, and to the Sentinels that know it: (list $ "producer"). */}}
{{- define "eventsvc.egressToRedis" -}}
{{- $root := index . 0 -}}
{{- if include "eventsvc.usesOwnRedis" . -}}
- to:
    - podSelector:
        matchLabels:
          {{- include "eventsvc.selector" (list $root "redis") | nindent 10 }}
  ports:
    {{- include "eventsvc.redisPorts" $root | nindent 4 }}
{{- else -}}
{{- $external := $root.Values.externalRedis -}}
{{- $ports := list (include "eventsvc.text" $external.port) -}}
{{- range $external.sentinels }}{{ $ports = append $ports (regexFind "[0-9]+$" .) }}{{ end -}}
- ports:
    {{- range uniq $ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- end }}
{{- end }}

{{/* The ports of the release's own Redis: also that of its Sentinels, and the one behind the Service redis-master. */}}
{{- define "eventsvc.redisPorts" -}}
- {protocol: TCP, port: 6379}
{{- if include "eventsvc.sentinels" . }}
- {protocol: TCP, port: 6380}
- {protocol: TCP, port: 26379}
{{- end }}
{{- end }}
